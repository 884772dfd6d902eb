//! What every adapter makes of its provider's text: who asks how much of which money for which resource, and when.
//!
//! An adapter gives one [`Offer`] a resource: stretches of time with a price each, in the provider's currency and
//! unit, exactly as it wrote them. [`Plan::new`] makes of them what can be published: today's prices in dollars
//! per unit of the board, and the changes that are known ahead. A currency without a stated rate is refused, and so is
//! an offer that says nothing about the present moment.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;
use nom_abi::board::Resource;
use nom_money::{ATTO, Decimal, PerByte, PerByteSecond, PerCoreNs, Prices};

/// Most stretches of time that an offer may have: 90 days of hours.
pub const SLOTS_MAX: usize = 2_200;
/// Most changes that are carried ahead: two days of quarter-hours.
pub const CHANGES_MAX: usize = 200;
/// Most currencies with a stated rate.
pub const RATES_MAX: usize = 8;

/// A currency by its three letters (ISO 4217).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Currency([u8; 3]);

impl Currency {
    /// Dollars: what prices on the board are in.
    pub const USD: Self = Self(*b"USD");
    /// Euros.
    pub const EUR: Self = Self(*b"EUR");
}

impl FromStr for Currency {
    type Err = Trouble;

    fn from_str(text: &str) -> Result<Self, Trouble> {
        match text.as_bytes().try_into() {
            Ok(letters) if text.bytes().all(|letter| letter.is_ascii_uppercase()) => Ok(Self(letters)),
            _ => Err(Trouble::new("a currency is three capital letters, such as EUR")),
        }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|letter| write!(f, "{}", char::from(*letter)))
    }
}

/// Why an offer is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble(pub String);

impl Trouble {
    pub(crate) fn new(message: &str) -> Self {
        Self(message.into())
    }

    /// With a part of the provider's text in it, cut and made printable.
    pub(crate) fn about(message: &str, text: &str) -> Self {
        let short: String = text.chars().take(40).collect();
        Self(alloc::format!("{message}: '{}'", short.escape_debug()))
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Dollars for one of each currency, as a person stated them. Nothing is looked up: who pays in euros knows their own
/// rate.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rates(Vec<(Currency, Decimal)>);

impl Rates {
    /// `EUR:1.08,CHF:1.12`: so many dollars for one euro.
    pub fn parse(text: &str) -> Result<Self, Trouble> {
        let mut rates = Self::default();
        for part in text.split(',') {
            let (currency, rate) =
                part.split_once(':').ok_or(Trouble::about("a rate is written EUR:1.08", part))?;
            let currency: Currency = currency.parse()?;
            let rate: Decimal = rate.parse().map_err(|error| Trouble(alloc::format!("{error}")))?;
            if rate.is_negative() || rate == Decimal::ZERO {
                return Err(Trouble::about("a rate must be above zero", part));
            }
            if currency == Currency::USD || rates.0.iter().any(|(known, _)| *known == currency) {
                return Err(Trouble::about("a currency needs one rate, and dollars need none", part));
            }
            if rates.0.len() == RATES_MAX {
                return Err(Trouble::new("more than 8 currencies"));
            }
            rates.0.push((currency, rate));
        }
        Ok(rates)
    }

    fn dollars(&self, currency: Currency, price: Decimal) -> Result<Decimal, Trouble> {
        if currency == Currency::USD {
            return Ok(price);
        }
        let Some((_, rate)) = self.0.iter().find(|(known, _)| *known == currency) else {
            return Err(Trouble(alloc::format!(
                "the price is in {currency} and no rate is stated; say convert={currency}:DOLLARS"
            )));
        };
        price.checked_mul(*rate).ok_or(Trouble::new("the price has too many digits"))
    }
}

/// What a price is the price of: `numerator / denominator` priced units are one unit of the board (a byte, a core for
/// a nanosecond, a byte for a second).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    /// What it is the price of.
    pub resource: Resource,
    /// See above.
    pub numerator: u128,
    /// See above.
    pub denominator: u128,
}

/// A price and from when until when it holds, since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// From then on.
    pub begin_unix_ns: u64,
    /// Until then; the largest time when it holds until there is another.
    pub end_unix_ns: u64,
    /// The price as it was written.
    pub price: Decimal,
}

/// One resource's price in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The adapter that read it.
    pub source: &'static str,
    /// The money.
    pub currency: Currency,
    /// What it is the price of.
    pub unit: Unit,
    /// By rising time; never overlapping. What lies between two is not known.
    slots: Vec<Slot>,
}

impl Offer {
    /// An offer of these slots, in any order. Slots that overlap say two things about one moment and are refused,
    /// unless they are the same.
    pub fn new(
        source: &'static str,
        currency: Currency,
        unit: Unit,
        mut slots: Vec<Slot>,
    ) -> Result<Self, Trouble> {
        if slots.is_empty() {
            return Err(Trouble::new("there is no price in it"));
        }
        if slots.len() > SLOTS_MAX {
            return Err(Trouble::new("there are too many prices in it"));
        }
        slots.sort_by_key(|slot| (slot.begin_unix_ns, slot.end_unix_ns));
        slots.dedup();
        if slots.iter().any(|slot| slot.begin_unix_ns >= slot.end_unix_ns)
            || slots.windows(2).any(|pair| pair[0].end_unix_ns > pair[1].begin_unix_ns)
        {
            return Err(Trouble::new("two prices are given for one moment"));
        }
        // The same price again is no change.
        slots.dedup_by(|next, before| {
            let same = next.price == before.price && next.begin_unix_ns == before.end_unix_ns;
            before.end_unix_ns = if same { next.end_unix_ns } else { before.end_unix_ns };
            same
        });
        Ok(Self { source, currency, unit, slots })
    }

    /// The slots by rising time; equal neighbours are one.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    fn at(&self, unix_ns: u64) -> Option<&Slot> {
        let after = self.slots.partition_point(|slot| slot.begin_unix_ns <= unix_ns);
        self.slots[..after].last().filter(|slot| unix_ns < slot.end_unix_ns)
    }

    fn atto(&self, slot: &Slot, rates: &Rates) -> Result<i128, Trouble> {
        rates
            .dollars(self.currency, slot.price)?
            .scaled((ATTO as u128).saturating_mul(self.unit.numerator), self.unit.denominator)
            .ok_or(Trouble::new("a price is too large"))
    }
}

/// Prices that begin at a time that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// When, since 1970.
    pub begin_unix_ns: u64,
    /// All prices from then on.
    pub prices: Prices,
}

/// What is known about prices from a moment on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Now.
    pub now: Change,
    /// What comes after, by rising time.
    pub next: Vec<Change>,
    /// Until when this is all that is known; the largest time when it holds until it is asked again.
    pub end_unix_ns: u64,
}

impl Plan {
    /// What these offers mean at this moment. `others` are prices that the owner pays besides: they are added, so that
    /// the cost of energy comes on top of that of the core that uses it.
    pub fn new(offers: &[Offer], rates: &Rates, others: &Prices, unix_ns: u64) -> Result<Self, Trouble> {
        let (now, mut end_unix_ns) = at(offers, rates, others, unix_ns)?;
        let mut next: Vec<Change> = Vec::new();
        // Where a stretch ends and no other begins, or there is too much, the plan ends.
        while end_unix_ns < u64::MAX && next.len() < CHANGES_MAX {
            let Ok((change, end)) = at(offers, rates, others, end_unix_ns) else { break };
            if next.last().map_or(now.prices, |change| change.prices) != change.prices {
                next.push(Change { begin_unix_ns: end_unix_ns, ..change });
            }
            end_unix_ns = end;
        }
        Ok(Self { now, next, end_unix_ns })
    }
}

/// The prices at a moment, and when the first of them ends.
fn at(offers: &[Offer], rates: &Rates, others: &Prices, unix_ns: u64) -> Result<(Change, u64), Trouble> {
    let mut prices = *others;
    let (mut begin_unix_ns, mut end_unix_ns) = (0, u64::MAX);
    for offer in offers {
        let slot = offer.at(unix_ns).ok_or(Trouble::new("it says nothing about the present moment"))?;
        begin_unix_ns = begin_unix_ns.max(slot.begin_unix_ns);
        end_unix_ns = end_unix_ns.min(slot.end_unix_ns);
        let atto = offer.atto(slot, rates)?;
        let sum = |other: Option<i128>| {
            other.unwrap_or(0).checked_add(atto).ok_or(Trouble::new("a price is too large"))
        };
        match offer.unit.resource {
            Resource::Bandwidth => {
                prices.bandwidth = Some(PerByte(sum(prices.bandwidth.map(|rate| rate.0))?));
            }
            Resource::Core => prices.core = Some(PerCoreNs(sum(prices.core.map(|rate| rate.0))?)),
            Resource::Memory => {
                prices.memory = Some(PerByteSecond(sum(prices.memory.map(|rate| rate.0))?));
            }
        }
    }
    Ok((Change { begin_unix_ns, prices }, end_unix_ns))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec;

    const CORE_HOUR: Unit = Unit { resource: Resource::Core, numerator: 1, denominator: 3_600_000_000_000 };

    fn slot(begin: u64, end: u64, price: &str) -> Slot {
        Slot { begin_unix_ns: begin, end_unix_ns: end, price: price.parse().unwrap() }
    }

    fn euros(slots: Vec<Slot>) -> Result<Offer, Trouble> {
        Offer::new("test", Currency::EUR, CORE_HOUR, slots)
    }

    #[test]
    fn a_plan_is_todays_price_and_what_is_known_ahead() {
        let slots = vec![
            slot(20, 30, "5"),
            slot(10, 20, "3"),
            slot(30, 40, "5"),
            slot(50, 60, "1"),
            slot(10, 20, "3"),
        ];
        let offer = euros(slots).unwrap();
        assert_eq!(offer.slots().len(), 3);
        let rates = Rates::parse("CHF:1.12,EUR:2").unwrap();
        let plan = Plan::new(core::slice::from_ref(&offer), &rates, &Prices::NONE, 15).unwrap();
        let core = |text: &str| Some(text.parse::<PerCoreNs>().unwrap());
        assert_eq!((plan.now.begin_unix_ns, plan.now.prices.core), (10, core("6 $/core/h")));
        assert_eq!(plan.next.len(), 1);
        assert_eq!((plan.next[0].begin_unix_ns, plan.next[0].prices.core), (20, core("10 $/core/h")));
        assert_eq!(plan.end_unix_ns, 40, "what lies in the gap is not known");
        // What is paid besides is added.
        let others = Prices { core: Some(PerCoreNs(1_000)), memory: Some(PerByteSecond(7)), ..Prices::NONE };
        let plan = Plan::new(core::slice::from_ref(&offer), &rates, &others, 55).unwrap();
        assert_eq!(plan.now.prices.core.map(|rate| rate.0), core("2 $/core/h").map(|rate| rate.0 + 1_000));
        assert_eq!(plan.now.prices.memory, Some(PerByteSecond(7)));
        for gap in [9, 45, 60] {
            assert!(Plan::new(core::slice::from_ref(&offer), &rates, &Prices::NONE, gap).is_err());
        }
    }

    #[test]
    fn a_currency_without_a_rate_is_refused() {
        let offer = euros(vec![slot(0, 9, "3")]).unwrap();
        let error = Plan::new(&[offer], &Rates::default(), &Prices::NONE, 1).unwrap_err();
        assert!(error.to_string().contains("convert=EUR:"), "{error}");
        for text in
            ["", "EUR", "EUR:", "EUR:0", "EUR:-1", "eur:1", "EURO:1", "USD:1", "EUR:1,EUR:1", "EUR:1 $"]
        {
            assert!(Rates::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn two_prices_for_one_moment_are_refused() {
        assert!(euros(vec![slot(0, 10, "3"), slot(9, 20, "4")]).is_err());
        assert!(euros(vec![slot(0, 10, "3"), slot(0, 10, "4")]).is_err());
        assert!(euros(vec![slot(5, 5, "3")]).is_err());
        assert!(euros(vec![]).is_err());
    }
}
