//! CloudSigma's `/api/2.0/pricing/`: a list of prices by resource and burst level, the level in force, and the next
//! one.
//!
//! The price of a resource is that of its current level, in the currency that is billed; level 0 is what a
//! subscription costs. `multiplier` says how many base units (bytes, byte-seconds, MHz-seconds) a priced unit has, so
//! nothing depends on the unit's name. Levels are computed every five minutes and applied five minutes later: `next`
//! is a price that is known ahead. The answer has no time in it, so it is taken to speak of the five minutes (by our
//! clock) in which it was asked; a list of several pages is refused, since what is missing could be what is paid.

use crate::json::{Value, parse_large};
use crate::offer::{Currency, Offer, Slot, Trouble, Unit};
use alloc::vec::Vec;
use nom_abi::board::Resource;
use nom_money::Decimal;

/// Most values in an answer: 3,000 prices of eight members, and room to grow.
const VALUES_MAX: usize = 64 * 1024;
/// How often levels are computed.
const LEVELS_NS: u64 = 300 * 1_000_000_000;
/// Nanoseconds in a second: a core's price is per nanosecond, theirs per second.
const NS: u128 = 1_000_000_000;

/// What is bought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purchase {
    /// The currency that is billed: the list has several.
    pub currency: Currency,
    /// MHz of one core, since CPU is sold by MHz.
    pub core_mhz: u32,
    /// Level 0 (a subscription) instead of the current burst level.
    pub subscription: bool,
}

/// Our resources and their names there.
const NAMES: [(Resource, &str); 3] =
    [(Resource::Bandwidth, "tx"), (Resource::Core, "cpu"), (Resource::Memory, "mem")];

/// Reads an answer: one offer for each of the resources that it has a price of.
pub fn read(text: &str, purchase: &Purchase, unix_ns: u64) -> Result<Vec<Offer>, Trouble> {
    let value = parse_large(text, VALUES_MAX).map_err(|error| Trouble(alloc::format!("no JSON: {error}")))?;
    let objects = value.get("objects").and_then(Value::as_list);
    let objects = objects.ok_or(Trouble::new("the list of objects is missing"))?;
    let count = value.get("meta").and_then(|meta| meta.get("total_count")).and_then(Value::as_u64);
    if count.is_some_and(|count| count > objects.len() as u64) {
        return Err(Trouble::new("the list of objects is not complete; ask with limit=0"));
    }
    let begin_unix_ns = unix_ns - unix_ns % LEVELS_NS;
    let mut offers = Vec::new();
    for (resource, name) in NAMES {
        let level = |when: &str| match value.get(when).and_then(|levels| levels.get(name)) {
            _ if purchase.subscription => Ok(Some(0)),
            None => Ok(None),
            Some(level) => level.as_u64().map(Some).ok_or(Trouble::about("a level is no whole number", name)),
        };
        // A resource that has no level is not sold here.
        let Some(current) = level("current")? else { continue };
        let Some((price, multiplier)) = price(objects, name, current, purchase.currency)? else {
            if purchase.subscription {
                continue;
            }
            return Err(Trouble::about("there is no price of the current level", name));
        };
        let mut slots = Vec::from([slot(begin_unix_ns, price)]);
        if let Some(next) = level("next")? {
            let (price, again) = self::price(objects, name, next, purchase.currency)?
                .ok_or(Trouble::about("there is no price of the next level", name))?;
            if again != multiplier {
                return Err(Trouble::about("the unit changes with the level", name));
            }
            slots.push(slot(begin_unix_ns.saturating_add(LEVELS_NS), price));
        }
        let unit = match resource {
            Resource::Core => Unit {
                resource,
                numerator: u128::from(purchase.core_mhz),
                denominator: u128::from(multiplier).saturating_mul(NS),
            },
            _ => Unit { resource, numerator: 1, denominator: u128::from(multiplier) },
        };
        offers.push(Offer::new("CloudSigma", purchase.currency, unit, slots)?);
    }
    if offers.is_empty() { Err(Trouble::new("there is no price in it")) } else { Ok(offers) }
}

fn slot(begin_unix_ns: u64, price: Decimal) -> Slot {
    Slot { begin_unix_ns, end_unix_ns: begin_unix_ns.saturating_add(LEVELS_NS), price }
}

/// The price of a resource at a level, and the base units that it is for.
fn price(
    objects: &[Value],
    name: &str,
    level: u64,
    currency: Currency,
) -> Result<Option<(Decimal, u64)>, Trouble> {
    let mut found: Option<(Decimal, u64)> = None;
    for object in objects {
        let text = |key: &str| object.get(key).and_then(Value::as_text);
        let is = text("resource") == Some(name)
            && object.get("level").and_then(Value::as_u64) == Some(level)
            && text("currency").and_then(|text| text.parse().ok()) == Some(currency);
        if !is {
            continue;
        }
        let price = object.get("price").and_then(Value::as_decimal);
        let multiplier = object.get("multiplier").and_then(Value::as_u64).filter(|units| *units != 0);
        let (Some(price), Some(multiplier)) = (price, multiplier) else {
            return Err(Trouble::about("a price or its multiplier is no number", name));
        };
        if found.replace((price, multiplier)).is_some_and(|before| before != (price, multiplier)) {
            return Err(Trouble::about("there are two prices of one level", name));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offer::{Plan, Rates};
    use nom_money::Prices;

    const FIXTURE: &str = include_str!("../fixtures/cloud-sigma.json");
    const NOW: u64 = 1_700_000_100 * 1_000_000_000;
    const BOUGHT: Purchase = Purchase { currency: Currency::USD, core_mhz: 2_000, subscription: false };

    fn plan(text: &str, purchase: Purchase) -> Result<Plan, Trouble> {
        Plan::new(&read(text, &purchase, NOW)?, &Rates::parse("EUR:1.5").unwrap(), &Prices::NONE, NOW)
    }

    #[test]
    fn levels_decide_and_the_next_ones_are_known_ahead() {
        let plan = plan(FIXTURE, BOUGHT).unwrap();
        // Level 6 of cpu: 0.025 $ a GHz and hour, so 0.05 $ for a core of 2 GHz.
        assert_eq!(plan.now.prices.core, Some("0.05 $/core/h".parse().unwrap()));
        assert_eq!(plan.now.prices.memory, Some("0.014 $/GiB/h".parse().unwrap()));
        assert_eq!(plan.now.prices.bandwidth, Some("0.06 $/GiB".parse().unwrap()));
        assert_eq!(plan.next.len(), 1);
        assert_eq!(plan.next[0].prices.core, Some("0.06 $/core/h".parse().unwrap()));
        assert_eq!(plan.next[0].prices.memory, plan.now.prices.memory);
        let begin = plan.next[0].begin_unix_ns;
        assert!(begin.is_multiple_of(LEVELS_NS) && begin > NOW && begin - NOW <= LEVELS_NS);
        assert_eq!(plan.end_unix_ns, begin + LEVELS_NS);
    }

    #[test]
    fn a_subscription_is_level_zero_and_money_is_chosen() {
        let subscribed = plan(FIXTURE, Purchase { subscription: true, ..BOUGHT }).unwrap();
        assert_eq!(subscribed.now.prices.core, Some("0.028 $/core/h".parse().unwrap()));
        assert_eq!(subscribed.now.prices.bandwidth, None);
        assert!(subscribed.next.is_empty());
        let euros = plan(FIXTURE, Purchase { currency: Currency::EUR, ..BOUGHT }).unwrap();
        assert_eq!(euros.now.prices.core, Some("0.06 $/core/h".parse().unwrap()));
        assert!(plan(FIXTURE, Purchase { currency: "CHF".parse().unwrap(), ..BOUGHT }).is_err());
    }

    #[test]
    fn what_is_missing_or_said_twice_is_refused() {
        for (from, to, why) in [
            ("\"total_count\": 16", "\"total_count\": 17", "not complete"),
            (
                "\"level\": 6, \"multiplier\": 3600000, \"price\": \"0.02500000000000000000\"",
                "\"level\": 9, \"multiplier\": 3600000, \"price\": \"0.025\"",
                "no price of the current level",
            ),
            ("\"level\": 7, \"multiplier\": 3600000", "\"level\": 6, \"multiplier\": 3600000", "two prices"),
            (
                "\"level\": 7, \"multiplier\": 3600000",
                "\"level\": 7, \"multiplier\": 3600001",
                "unit changes",
            ),
            ("\"multiplier\": 3600000", "\"multiplier\": 0", "no number"),
            ("\"0.02500000000000000000\"", "\"0.025 $\"", "no number"),
            ("\"cpu\": 6", "\"cpu\": \"6\"", "no whole number"),
            ("\"objects\"", "\"things\"", "missing"),
        ] {
            let text = FIXTURE.replace(from, to);
            assert_ne!(text, FIXTURE, "{from}");
            let error = plan(&text, BOUGHT).unwrap_err();
            assert!(error.0.contains(why), "{from}: {error}");
        }
    }
}
