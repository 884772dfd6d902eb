//! Electricity a day ahead: ENTSO-E's price document (A44) and Energy-Charts' JSON.
//!
//! A price is in euros (or the zone's own money) per MWh, for stretches of a quarter, half or whole hour; a day has
//! 92, 96 or 100 quarters, and a price may well be negative. What it means for a core is a matter of watts. In a
//! document of curve type A03 a position that is not there repeats the price before; in A01 it is an error. A zone
//! with several auctions has one series each, in any order: the first auction's is taken, by its number and not by
//! its place. A stretch without a price is not known and never guessed.

use crate::json::{Value, parse_large};
use crate::offer::{Currency, Offer, SLOTS_MAX, Slot, Trouble, Unit};
use crate::time::parse_unix_ns;
use crate::xml::{Event, Reader};
use alloc::string::String;
use alloc::vec::Vec;
use nom_abi::board::Resource;
use nom_money::Decimal;

/// Most values in the JSON.
const VALUES_MAX: usize = 16 * 1024;
const S: u64 = 1_000_000_000;
const HOUR_NS: u64 = 3600 * S;
/// Milliwatt-nanoseconds in a MWh: 3.6e9 joules.
const MILLIWATT_NS: u128 = 3_600_000_000_000 * NS;
const NS: u128 = 1_000_000_000;

/// The price of a core that draws so much: milliwatts times a nanosecond is what the price per MWh is taken of.
fn unit(milliwatts_a_core: u32) -> Unit {
    Unit { resource: Resource::Core, numerator: u128::from(milliwatts_a_core), denominator: MILLIWATT_NS }
}

/// Reads either of the two.
pub fn read(text: &str, milliwatts_a_core: u32) -> Result<Vec<Offer>, Trouble> {
    let (currency, slots) =
        if text.trim_start().starts_with('{') { energy_charts(text) } else { entso_e(text) }?;
    let source = "day-ahead electricity";
    Ok(Vec::from([Offer::new(source, currency, unit(milliwatts_a_core), slots)?]))
}

fn energy_charts(text: &str) -> Result<(Currency, Vec<Slot>), Trouble> {
    let value = parse_large(text, VALUES_MAX).map_err(|error| Trouble(alloc::format!("no JSON: {error}")))?;
    let list =
        |key: &str| value.get(key).and_then(Value::as_list).ok_or(Trouble::about("a list is missing", key));
    let (times, prices) = (list("unix_seconds")?, list("price")?);
    if times.len() != prices.len() {
        return Err(Trouble::new("there are not as many times as prices"));
    }
    let unit = value.get("unit").and_then(Value::as_text).unwrap_or("");
    let currency = match unit.split_once('/') {
        Some((currency, energy)) if energy.trim() == "MWh" => currency.trim().parse()?,
        _ => return Err(Trouble::about("the unit is not known", unit)),
    };
    let mut begins = Vec::with_capacity(times.len());
    for time in times {
        let begin = time.as_u64().and_then(|seconds| seconds.checked_mul(S));
        let begin = begin.ok_or(Trouble::new("a time is no whole number of seconds"))?;
        if begins.last().is_some_and(|before| *before >= begin) {
            return Err(Trouble::new("the times do not rise"));
        }
        begins.push(begin);
    }
    let mut slots = Vec::new();
    let mut length_ns = HOUR_NS;
    for (place, price) in prices.iter().enumerate() {
        // An hour at most; the last is as long as the one before it.
        let begin = begins[place];
        length_ns = begins.get(place + 1).map_or(length_ns, |next| (next - begin).min(HOUR_NS));
        match price {
            Value::Null => {}
            Value::Number(number) => {
                let price = number.parse().map_err(|_| Trouble::about("a price is no number", number))?;
                slots.push(Slot {
                    begin_unix_ns: begin,
                    end_unix_ns: begin.saturating_add(length_ns),
                    price,
                });
            }
            _ => return Err(Trouble::new("a price is no number")),
        }
    }
    Ok((currency, slots))
}

/// A series while it is read.
#[derive(Default)]
struct Series {
    currency: Option<Currency>,
    measure: String,
    /// Which auction; a zone with only one may not say.
    auction: Option<u32>,
    omits_repeats: bool,
    periods: Vec<Period>,
}

#[derive(Default)]
struct Period {
    start_unix_ns: Option<u64>,
    end_unix_ns: Option<u64>,
    resolution_ns: Option<u64>,
    position: Option<usize>,
    price: Option<Decimal>,
    points: Vec<(usize, Decimal)>,
}

fn entso_e(text: &str) -> Result<(Currency, Vec<Slot>), Trouble> {
    let mut reader = Reader::new(text);
    let mut next = || reader.advance().map_err(|error| Trouble(alloc::format!("no XML: {error}")));
    let mut path: Vec<&str> = Vec::new();
    let mut series = Series::default();
    let mut period = Period::default();
    let mut found: Option<(Currency, Vec<Slot>)> = None;
    let mut reason = String::new();
    loop {
        match next()? {
            Event::Open(name) => path.push(name),
            Event::Text(text) => match path[..] {
                ["Publication_MarketDocument", "type"] if text != "A44" => {
                    return Err(Trouble::about("the document is of another type than A44", &text));
                }
                ["Publication_MarketDocument", "TimeSeries", name] => series.field(name, &text)?,
                ["Publication_MarketDocument", "TimeSeries", "Period", ref inner @ ..] => {
                    period.field(inner, &text)?
                }
                ["Acknowledgement_MarketDocument", "Reason", _] if reason.len() < 200 => {
                    reason.push_str(if reason.is_empty() { "" } else { " " });
                    reason.push_str(&text);
                }
                _ => {}
            },
            Event::Close(_) => {
                match path[..] {
                    ["Publication_MarketDocument", "TimeSeries", "Period", "Point"] => period.point()?,
                    ["Publication_MarketDocument", "TimeSeries", "Period"] => {
                        series.periods.push(core::mem::take(&mut period));
                    }
                    ["Publication_MarketDocument", "TimeSeries"] => {
                        let series = core::mem::take(&mut series);
                        if series.auction.is_none_or(|auction| auction == 1) {
                            series.slots(&mut found)?;
                        }
                    }
                    ["Acknowledgement_MarketDocument"] => {
                        return Err(match reason.strip_prefix("999") {
                            Some(_) => Trouble::new("the provider has no prices for that time (999)"),
                            None => Trouble::about("the provider refuses", &reason),
                        });
                    }
                    [root] if root != "Publication_MarketDocument" => {
                        return Err(Trouble::about("this is no price document but", root));
                    }
                    _ => {}
                }
                path.pop();
            }
            Event::End => return found.ok_or(Trouble::new("there is no price in it")),
        }
    }
}

impl Series {
    fn field(&mut self, name: &str, text: &str) -> Result<(), Trouble> {
        match name {
            "currency_Unit.name" => self.currency = Some(text.parse()?),
            "price_Measure_Unit.name" => self.measure = text.into(),
            "classificationSequence_AttributeInstanceComponent.position" => {
                let auction = text.parse().map_err(|_| Trouble::about("an auction has no number", text))?;
                self.auction = Some(auction);
            }
            "curveType" => {
                self.omits_repeats = match text {
                    "A01" => false,
                    "A03" => true,
                    _ => return Err(Trouble::about("the curve type is not known", text)),
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn slots(self, found: &mut Option<(Currency, Vec<Slot>)>) -> Result<(), Trouble> {
        let currency = self.currency.ok_or(Trouble::new("a series has no currency"))?;
        if self.measure != "MWH" {
            return Err(Trouble::about("the unit is not MWH but", &self.measure));
        }
        let (known, slots) = found.get_or_insert((currency, Vec::new()));
        if *known != currency {
            return Err(Trouble::new("the currency changes"));
        }
        for period in &self.periods {
            period.slots(self.omits_repeats, slots)?;
        }
        Ok(())
    }
}

impl Period {
    fn field(&mut self, path: &[&str], text: &str) -> Result<(), Trouble> {
        let time = || parse_unix_ns(text).map(Some).ok_or(Trouble::about("a time is none", text));
        match path {
            ["timeInterval", "start"] => self.start_unix_ns = time()?,
            ["timeInterval", "end"] => self.end_unix_ns = time()?,
            ["resolution"] => {
                self.resolution_ns = Some(match text {
                    "PT15M" => HOUR_NS / 4,
                    "PT30M" => HOUR_NS / 2,
                    "PT60M" | "PT1H" => HOUR_NS,
                    _ => return Err(Trouble::about("the resolution is not known", text)),
                });
            }
            ["Point", "position"] => {
                let position = text.parse().map_err(|_| Trouble::about("a position is no number", text))?;
                self.position = Some(position);
            }
            ["Point", "price.amount"] => {
                let price = text.parse().map_err(|_| Trouble::about("a price is no number", text))?;
                self.price = Some(price);
            }
            _ => {}
        }
        Ok(())
    }

    fn point(&mut self) -> Result<(), Trouble> {
        let (Some(position), Some(price)) = (self.position.take(), self.price.take()) else {
            return Err(Trouble::new("a point has no position or no price"));
        };
        let before = self.points.last().map_or(0, |(before, _)| *before);
        if position <= before || position > SLOTS_MAX {
            return Err(Trouble::new("the positions do not rise"));
        }
        self.points.push((position, price));
        Ok(())
    }

    fn slots(&self, omits_repeats: bool, slots: &mut Vec<Slot>) -> Result<(), Trouble> {
        let (Some(start), Some(end), Some(resolution_ns)) =
            (self.start_unix_ns, self.end_unix_ns, self.resolution_ns)
        else {
            return Err(Trouble::new("a period has no begin, no end or no resolution"));
        };
        let length = end.checked_sub(start).filter(|length| length.is_multiple_of(resolution_ns));
        let count = length.ok_or(Trouble::new("a period is no whole number of its parts"))? / resolution_ns;
        let last = self.points.last().map_or(0, |(position, _)| *position) as u64;
        let first = self.points.first().map(|(position, _)| *position);
        if first != Some(1) || last > count || !omits_repeats && self.points.len() as u64 != count {
            return Err(Trouble::new("a period has fewer or more prices than parts"));
        }
        if slots.len() + self.points.len() > SLOTS_MAX {
            return Err(Trouble::new("there are too many prices in it"));
        }
        let begin = |position: usize| start + (position as u64 - 1) * resolution_ns;
        let ends = self.points.iter().skip(1).map(|(position, _)| begin(*position)).chain([end]);
        slots.extend(self.points.iter().zip(ends).map(|((position, price), end_unix_ns)| Slot {
            begin_unix_ns: begin(*position),
            end_unix_ns,
            price: *price,
        }));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
