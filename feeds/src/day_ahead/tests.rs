//! Real shapes, long and short days, repeats that are left out, and documents that are wrong.

use super::*;
use crate::offer::{Plan, Rates};
use alloc::format;
use alloc::string::ToString;
use nom_money::{PerCoreNs, Prices};

const XML: &str = include_str!("../../fixtures/day-ahead.xml");
const NONE: &str = include_str!("../../fixtures/day-ahead-none.xml");
const JSON: &str = include_str!("../../fixtures/energy-charts.json");
const WATTS_10: u32 = 10_000;

fn at(offer: &Offer, time: &str) -> Option<String> {
    let unix_ns = parse_unix_ns(time).unwrap();
    let slot = offer.slots().iter().find(|slot| slot.begin_unix_ns <= unix_ns && unix_ns < slot.end_unix_ns);
    slot.map(|slot| slot.price.to_string())
}

fn quarters(offer: &Offer) -> u64 {
    offer.slots().iter().map(|slot| (slot.end_unix_ns - slot.begin_unix_ns) / (HOUR_NS / 4)).sum()
}

#[test]
fn a_day_of_the_first_auction_with_repeats_left_out() {
    let offer = read(XML, WATTS_10).unwrap().remove(0);
    assert_eq!((offer.currency, quarters(&offer)), (Currency::EUR, 92));
    // The second auction stands first in the document and says 1.23 all day.
    for (time, price) in [
        ("2026-03-28T23:00Z", "92.35"),
        ("2026-03-28T23:29:59Z", "92.35"),
        ("2026-03-28T23:30Z", "88.1"),
        ("2026-03-29T11:40Z", "-16.7"),
        ("2026-03-29T21:59:59Z", "74.5"),
    ] {
        assert_eq!(at(&offer, time).as_deref(), Some(price), "{time}");
    }
    assert_eq!(at(&offer, "2026-03-29T22:00Z"), None);
}

#[test]
fn a_core_costs_what_its_watts_cost() {
    let rates = Rates::parse("EUR:1.2").unwrap();
    let base = Prices { core: Some("0.01 $/core/h".parse().unwrap()), ..Prices::NONE };
    let unix_ns = parse_unix_ns("2026-03-28T23:10Z").unwrap();
    let plan = Plan::new(&read(XML, WATTS_10).unwrap(), &rates, &base, unix_ns).unwrap();
    // 92.35 EUR/MWh * 1.2 * 10 W = 0.0011082 $ an hour: 307.8 attodollars a nanosecond beside the core's own 2,778.
    assert_eq!(plan.now.prices.core, Some(PerCoreNs(2_778 + 308)));
    assert!(plan.next.len() > 50);
    assert!(plan.next.windows(2).all(|pair| pair[0].begin_unix_ns < pair[1].begin_unix_ns));
    let least = plan.next.iter().filter_map(|change| change.prices.core).min();
    assert!(
        least < base.core,
        "in the hour of the negative price a core is cheaper than without electricity"
    );
}

#[test]
fn energy_charts_says_the_same_but_for_its_gap() {
    let (xml, json) = (read(XML, WATTS_10).unwrap(), read(JSON, WATTS_10).unwrap());
    assert_eq!(quarters(&json[0]), 91);
    for quarter in 0..92 {
        let time = parse_unix_ns("2026-03-28T23:00Z").unwrap() + quarter * HOUR_NS / 4;
        let price = |offer: &Offer| {
            offer
                .slots()
                .iter()
                .find(|slot| slot.begin_unix_ns <= time && time < slot.end_unix_ns)
                .map(|slot| slot.price)
        };
        assert_eq!(price(&json[0]), price(&xml[0]).filter(|_| quarter != 20), "{quarter}");
    }
    for (from, to) in [
        ("EUR / MWh", "EUR / kWh"),
        ("EUR / MWh", "MWh"),
        ("\"price\":[", "\"price\":[1,"),
        ("92.35", "\"92.35\""),
        ("[1774738800,", "[1774739700,"),
        ("[1774738800,", "[-1774738800,"),
        ("\"unix_seconds\"", "\"seconds\""),
    ] {
        let text = JSON.replacen(from, to, 1);
        assert_ne!(text, JSON, "{from}");
        assert!(read(&text, 1).is_err(), "{from} -> {to}");
    }
}

fn document(start: &str, end: &str, resolution: &str, curve: &str, points: &[(usize, &str)]) -> String {
    let points: String = points
        .iter()
        .map(|(position, price)| {
            format!("<Point><position>{position}</position><price.amount>{price}</price.amount></Point>")
        })
        .collect();
    format!(
        "<Publication_MarketDocument><type>A44</type><TimeSeries><currency_Unit.name>EUR</currency_Unit.name>\
         <price_Measure_Unit.name>MWH</price_Measure_Unit.name><curveType>{curve}</curveType><Period><timeInterval>\
         <start>{start}</start><end>{end}</end></timeInterval><resolution>{resolution}</resolution>{points}\
         </Period></TimeSeries></Publication_MarketDocument>"
    )
}

#[test]
fn long_and_short_days_have_their_own_numbers_of_parts() {
    for (start, end, count) in [
        ("2026-03-28T23:00Z", "2026-03-29T22:00Z", 92),
        ("2026-06-01T22:00Z", "2026-06-02T22:00Z", 96),
        ("2026-10-24T22:00Z", "2026-10-25T23:00Z", 100),
    ] {
        let prices: Vec<(usize, String)> = (1..=count).map(|place| (place, format!("{place}.5"))).collect();
        let points: Vec<(usize, &str)> =
            prices.iter().map(|(place, price)| (*place, price.as_str())).collect();
        for curve in ["A01", "A03"] {
            let offer = read(&document(start, end, "PT15M", curve, &points), 1).unwrap().remove(0);
            assert_eq!((offer.slots().len(), quarters(&offer)), (count, count as u64));
        }
        // One too few is a repeat in one kind of curve and an error in the other; one too many is wrong in both.
        let few = &points[..count - 1];
        assert!(read(&document(start, end, "PT15M", "A01", few), 1).is_err());
        let offer = read(&document(start, end, "PT15M", "A03", few), 1).unwrap().remove(0);
        assert_eq!(quarters(&offer), count as u64);
        let more = [points.clone(), alloc::vec![(count + 1, "1")]].concat();
        for curve in ["A01", "A03"] {
            assert!(read(&document(start, end, "PT15M", curve, &more), 1).is_err());
        }
    }
    let hours = read(&document("2026-06-01T22:00Z", "2026-06-02T00:00Z", "PT60M", "A03", &[(1, "-5")]), 1);
    assert_eq!(hours.map(|offers| quarters(&offers[0])), Ok(8));
}

#[test]
fn no_data_is_said_as_such() {
    let said = |text: &str| read(text, 1).unwrap_err().to_string();
    assert!(said(NONE).contains("no prices for that time"));
    assert!(said(&NONE.replace("999", "402")).contains("refuses"));
    assert!(said("<html><body>busy</body></html>").contains("no price document"));
}

#[test]
fn what_is_wrong_in_a_document_is_refused() {
    for (from, to) in [
        ("<type>A44</type>", "<type>A65</type>"),
        ("PT15M", "P1D"),
        ("A03", "A02"),
        (">MWH<", ">KWH<"),
        (">EUR<", ">euro<"),
        ("2026-03-29T22:00Z", "2026-03-29T22:01Z"),
        ("2026-03-29T22:00Z", "2026-03-28T22:00Z"),
        ("<position>3</position>", "<position>1</position>"),
        ("<position>1</position>", "<position>0</position>"),
        ("<price.amount>88.1</price.amount>", ""),
        (">88.1<", ">NaN<"),
        // Now both auctions are the first: two prices for one moment.
        (".position>2<", ".position>1<"),
        ("</Period>", ""),
    ] {
        let text = XML.replace(from, to);
        assert_ne!(text, XML, "{from}");
        assert!(read(&text, 1).is_err(), "{from} -> {to}");
    }
}
