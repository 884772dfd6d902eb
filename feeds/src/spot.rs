//! AWS's history of spot prices: the XML of the wire (DescribeSpotPriceHistory, version 2016-11-15) and the JSON of
//! its command line.
//!
//! A row says from when on an instance type costs so many dollars an hour in a zone. What is billed here is core
//! time, so the price of an hour is divided among the instance's cores. The history begins with the last change
//! *before* the time that was asked for; the newest price holds until there is another one.

use crate::json::{Value, parse_large};
use crate::offer::{Currency, Offer, SLOTS_MAX, Slot, Trouble, Unit};
use crate::time::parse_unix_ns;
use crate::xml::{Event, Reader};
use alloc::string::String;
use alloc::vec::Vec;
use nom_abi::board::Resource;
use nom_money::Decimal;

/// Most values in the JSON: five members and the object itself for each of some thousands of rows.
const VALUES_MAX: usize = 32 * 1024;
const HOUR_NS: u128 = 3_600_000_000_000;

/// Which rows matter, and what an hour of them buys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// The instance type, such as `c7g.large`.
    pub kind: String,
    /// The availability zone, such as `us-west-1b`, or its id.
    pub zone: String,
    /// The product description, such as `Linux/UNIX`.
    pub product: String,
    /// Cores of the instance.
    pub cores: u32,
}

#[derive(Default)]
struct Row<'a> {
    kind: &'a str,
    product: &'a str,
    zones: [&'a str; 2],
    price: &'a str,
    time: &'a str,
}

/// Reads a history, whichever of the two it is.
pub fn read(text: &str, instance: &Instance) -> Result<Vec<Offer>, Trouble> {
    let mut changes = Vec::new();
    if text.trim_start().starts_with('{') {
        json(text, instance, &mut changes)
    } else {
        xml(text, instance, &mut changes)
    }?;
    changes.sort_by_key(|(begin_unix_ns, _)| *begin_unix_ns);
    changes.dedup();
    let ends = changes.iter().skip(1).map(|(begin, _)| *begin).chain([u64::MAX]);
    let slots = changes
        .iter()
        .zip(ends)
        .map(|((begin_unix_ns, price), end_unix_ns)| Slot {
            begin_unix_ns: *begin_unix_ns,
            end_unix_ns,
            price: *price,
        })
        .collect();
    let unit = Unit {
        resource: Resource::Core,
        numerator: 1,
        denominator: HOUR_NS * u128::from(instance.cores.max(1)),
    };
    Ok(Vec::from([Offer::new("AWS spot", Currency::USD, unit, slots)?]))
}

type Changes = Vec<(u64, Decimal)>;

fn take(row: &Row, instance: &Instance, changes: &mut Changes) -> Result<(), Trouble> {
    if row.kind != instance.kind
        || row.product != instance.product
        || !row.zones.contains(&instance.zone.as_str())
    {
        return Ok(());
    }
    let begin_unix_ns = parse_unix_ns(row.time).ok_or(Trouble::about("a time stamp is none", row.time))?;
    let price = row.price.parse().map_err(|_| Trouble::about("a price is no number", row.price))?;
    if changes.len() == SLOTS_MAX {
        return Err(Trouble::new("there are too many prices in it"));
    }
    changes.push((begin_unix_ns, price));
    Ok(())
}

fn json(text: &str, instance: &Instance, changes: &mut Changes) -> Result<(), Trouble> {
    let value = parse_large(text, VALUES_MAX).map_err(|error| Trouble(alloc::format!("no JSON: {error}")))?;
    let rows = value.get("SpotPriceHistory").and_then(Value::as_list);
    for row in rows.ok_or(Trouble::new("SpotPriceHistory is missing"))? {
        // What is no text here is not the row that is looked for.
        let text = |key: &str| row.get(key).and_then(Value::as_text).unwrap_or("");
        let row = Row {
            kind: text("InstanceType"),
            product: text("ProductDescription"),
            zones: [text("AvailabilityZone"), text("AvailabilityZoneId")],
            price: text("SpotPrice"),
            time: text("Timestamp"),
        };
        take(&row, instance, changes)?;
    }
    Ok(())
}

fn xml(text: &str, instance: &Instance, changes: &mut Changes) -> Result<(), Trouble> {
    let mut reader = Reader::new(text);
    let mut next = || reader.advance().map_err(|error| Trouble(alloc::format!("no XML: {error}")));
    // Names of the open elements below the root.
    let mut path: Vec<&str> = Vec::new();
    let mut fields: [String; 6] = Default::default();
    const NAMES: [&str; 6] = [
        "instanceType",
        "productDescription",
        "availabilityZone",
        "availabilityZoneId",
        "spotPrice",
        "timestamp",
    ];
    loop {
        match next()? {
            Event::Open(name) if path.is_empty() && name != "DescribeSpotPriceHistoryResponse" => {
                return Err(Trouble::about("this is no history of spot prices but", name));
            }
            Event::Open(name) => path.push(name),
            Event::Text(text) => {
                if let [_, "spotPriceHistorySet", "item", name] = path[..]
                    && let Some(place) = NAMES.iter().position(|known| *known == name)
                {
                    fields[place] = text.into_owned();
                }
            }
            Event::Close(_) => {
                if let [_, "spotPriceHistorySet", "item"] = path[..] {
                    let [kind, product, zone, zone_id, price, time] = &fields;
                    let row = Row { kind, product, zones: [zone, zone_id], price, time };
                    take(&row, instance, changes)?;
                    fields = Default::default();
                }
                path.pop();
            }
            Event::End => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offer::{Plan, Rates};
    use nom_money::Prices;

    const XML: &str = include_str!("../fixtures/spot.xml");
    const JSON: &str = include_str!("../fixtures/spot.json");

    fn instance() -> Instance {
        Instance {
            kind: "m1.xlarge".into(),
            zone: "us-west-1b".into(),
            product: "SUSE Linux".into(),
            cores: 4,
        }
    }

    fn plan(text: &str, at: &str) -> Result<Plan, Trouble> {
        let unix_ns = parse_unix_ns(at).unwrap();
        Plan::new(&read(text, &instance())?, &Rates::default(), &Prices::NONE, unix_ns)
    }

    #[test]
    fn both_forms_say_the_same() {
        assert_eq!(read(XML, &instance()), read(JSON, &instance()));
        let plan = plan(XML, "2014-01-06T08:00Z").unwrap();
        assert_eq!(plan.now.prices.core, Some("0.02175 $/core/h".parse().unwrap()));
        assert_eq!(plan.now.begin_unix_ns, parse_unix_ns("2014-01-06T07:10:55Z").unwrap());
        assert_eq!((plan.next.len(), plan.end_unix_ns), (0, u64::MAX));
        let by_id = Instance { zone: "usw1-az3".into(), ..instance() };
        assert_eq!(read(XML, &by_id).map(|offers| offers[0].slots().len()), Ok(3));
    }

    #[test]
    fn the_last_change_before_the_start_is_the_price_at_the_start() {
        let before = plan(XML, "2014-01-05T23:00Z").unwrap();
        assert_eq!(before.now.prices.core, Some("0.02 $/core/h".parse().unwrap()));
        assert_eq!(before.next.len(), 2);
        assert!(plan(XML, "2014-01-04T00:00Z").is_err(), "nothing is known before the first row");
    }

    #[test]
    fn other_rows_do_not_matter_and_bad_ones_of_ours_do() {
        let other = Instance { kind: "m9.huge".into(), ..instance() };
        assert!(read(XML, &other).is_err());
        for (text, from, to) in [
            (XML, "0.087000", "cheap"),
            (XML, "2014-01-06T07:10:55.000Z", "2014-01-06T07:10:55.000"),
            (XML, "DescribeSpotPriceHistoryResponse", "Response"),
            (XML, "</item>", "</items>"),
            (JSON, "0.087000", "0.087 $"),
            (JSON, "SpotPriceHistory", "History"),
            (JSON, "2014-01-06T07:10:55+00:00", "yesterday"),
        ] {
            let changed = text.replace(from, to);
            assert_ne!(changed, text, "{from}");
            assert!(read(&changed, &instance()).is_err(), "{from}");
        }
        // The same moment with another price: which one holds?
        let twice = XML.replace("2014-01-06T03:21:04.000Z", "2014-01-06T07:10:55.000Z");
        assert!(read(&twice, &instance()).is_err());
    }
}
