//! A feed as a person configures it: where it is, what it speaks, in which money, and what is paid besides.
//!
//! ```text
//! http://10.0.2.2:8080/prices
//! cloud-sigma http://10.0.0.9/api/2.0/pricing/?limit=0 currency=EUR mhz=2000 convert=EUR:1.08
//! spot http://10.0.0.9/spot instance=c7g.large zone=eu-west-1a product=Linux/UNIX cores=2
//! day-ahead http://10.0.0.9/api?documentType=A44 watts=12 convert=EUR:1.08 core=0.004$/core/h
//! ```
//!
//! `core=`, `bandwidth=` and `memory=` are what is paid besides what the feed says; they are added to it.

use crate::cloud_sigma::{self, Purchase};
use crate::day_ahead;
use crate::http::{self, Url};
use crate::metadata::Answer;
use crate::offer::{Change, Currency, Plan, Rates, Trouble};
use crate::spot::{self, Instance};
use alloc::vec::Vec;
use core::fmt;
use nom_money::{Decimal, Prices, TextError};

const S: u64 = 1_000_000_000;
/// How long a price may be used that holds until there is another, when it cannot be asked for again.
const OPEN_VALID_NS: u64 = 900 * S;
/// Longest answer of a provider's price list or history.
const LIST_LEN_MAX: usize = 1 << 20;
/// Longest answer of two days of quarter-hours.
const DAYS_LEN_MAX: usize = 256 * 1024;

/// What a feed speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// Our host's metadata service: JSON that is held until it changes.
    Metadata,
    /// CloudSigma's price list.
    CloudSigma(Purchase),
    /// AWS's history of spot prices.
    Spot(Instance),
    /// Electricity a day ahead, for a core that draws so much.
    DayAhead {
        /// Watts, in thousandths.
        milliwatts_a_core: u32,
    },
}

/// A feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feed {
    /// Where.
    pub url: Url,
    /// What it speaks.
    pub format: Format,
    /// Dollars for other money.
    pub rates: Rates,
    /// What is paid besides.
    pub others: Prices,
    /// Whether a sum below zero is believed.
    pub negative: bool,
}

/// What a feed said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The service's count of changes, where it has one: asking with it waits for another.
    pub generation: Option<u64>,
    /// When the prices were set, since 1970; 0 when that is not known.
    pub provider_unix_ns: u64,
    /// The prices.
    pub prices: Prices,
    /// Changes that are known ahead.
    pub next: Vec<Change>,
    /// For how long all of this may be used without asking again.
    pub valid_ns: u64,
}

impl Feed {
    /// A metadata service.
    pub fn metadata(url: Url) -> Self {
        Self { url, format: Format::Metadata, rates: Rates::default(), others: Prices::NONE, negative: false }
    }

    /// Reads a line as above; every word must mean something to its format.
    pub fn parse(text: &str) -> Result<Self, Trouble> {
        let mut words = text.split_whitespace();
        let first = words.next().unwrap_or("");
        let (name, url) =
            if first.contains("://") { ("metadata", first) } else { (first, words.next().unwrap_or("")) };
        let url = Url::parse(url).map_err(|error| Trouble(alloc::format!("{error}")))?;
        let mut terms = Terms(Vec::new());
        for word in words {
            let (key, value) = word.split_once('=').ok_or(Trouble::about("expected KEY=VALUE", word))?;
            if terms.0.iter().any(|(known, _)| *known == key) {
                return Err(Trouble::about("it stands twice", key));
            }
            terms.0.push((key, value));
        }
        let format = match name {
            "metadata" => Format::Metadata,
            "cloud-sigma" => Format::CloudSigma(Purchase {
                currency: terms.take("currency").map_or(Ok(Currency::USD), str::parse)?,
                core_mhz: terms.count("mhz", 100_000)?,
                subscription: terms.yes("subscription")?,
            }),
            "spot" => Format::Spot(Instance {
                kind: terms.need("instance")?.into(),
                zone: terms.need("zone")?.into(),
                product: terms.take("product").unwrap_or("Linux/UNIX").replace('_', " "),
                cores: terms.count("cores", 10_000)?,
            }),
            "day-ahead" => Format::DayAhead { milliwatts_a_core: terms.watts()? },
            _ => {
                return Err(Trouble::about(
                    "expected metadata, cloud-sigma, spot or day-ahead instead of",
                    name,
                ));
            }
        };
        let rates = terms.take("convert").map_or(Ok(Rates::default()), Rates::parse)?;
        let negative = terms.yes("negative")?;
        let mut others = Prices::NONE;
        if format != Format::Metadata {
            others.bandwidth = terms.rate("bandwidth")?;
            others.core = terms.rate("core")?;
            others.memory = terms.rate("memory")?;
        }
        match terms.0.first() {
            Some((key, _)) => Err(Trouble(alloc::format!("{name} does not use '{}'", key.escape_debug()))),
            None => Ok(Self { url, format, rates, others, negative }),
        }
    }

    /// Longest answer.
    pub fn body_max(&self) -> usize {
        match self.format {
            Format::Metadata => http::BODY_MAX,
            Format::CloudSigma(_) | Format::Spot(_) => LIST_LEN_MAX,
            Format::DayAhead { .. } => DAYS_LEN_MAX,
        }
    }

    /// Whether it holds a question until prices change.
    pub fn holds(&self) -> bool {
        self.format == Format::Metadata
    }

    /// How often to ask one that does not hold questions.
    pub fn ask_every_ns(&self) -> u64 {
        match self.format {
            Format::Metadata => S,
            Format::CloudSigma(_) | Format::Spot(_) => 60 * S,
            Format::DayAhead { .. } => 900 * S,
        }
    }

    /// Reads an answer that came now. `unix_ns` is our clock since 1970, 0 when it is not known: what a list of times
    /// means now cannot be said then.
    pub fn read(&self, text: &str, unix_ns: u64) -> Result<Reading, Trouble> {
        if text.len() > self.body_max() {
            return Err(Trouble::new("the answer is too long"));
        }
        if self.format == Format::Metadata {
            let answer = Answer::parse(text).map_err(|error| Trouble(error.0))?;
            let next = answer.next.map(|(begin_unix_ns, prices)| Change { begin_unix_ns, prices });
            return Ok(Reading {
                generation: Some(answer.generation),
                provider_unix_ns: answer.provider_unix_ns,
                prices: answer.prices,
                next: next.into_iter().collect(),
                valid_ns: answer.valid_s.saturating_mul(S),
            });
        }
        if unix_ns == 0 {
            return Err(Trouble::new("our own clock is not known, so times in it mean nothing"));
        }
        let offers = match &self.format {
            Format::CloudSigma(purchase) => cloud_sigma::read(text, purchase, unix_ns)?,
            Format::Spot(instance) => spot::read(text, instance)?,
            Format::DayAhead { milliwatts_a_core } => day_ahead::read(text, *milliwatts_a_core)?,
            Format::Metadata => return Err(Trouble::new("there is no price in it")),
        };
        let plan = Plan::new(&offers, &self.rates, &self.others, unix_ns)?;
        let valid_ns = match plan.end_unix_ns {
            u64::MAX => OPEN_VALID_NS,
            end_unix_ns => end_unix_ns.saturating_sub(unix_ns),
        };
        Ok(Reading {
            generation: None,
            provider_unix_ns: plan.now.begin_unix_ns,
            prices: plan.now.prices,
            next: plan.next,
            valid_ns,
        })
    }
}

impl fmt::Display for Feed {
    /// What a report calls it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.format {
            Format::Metadata => "metadata",
            Format::CloudSigma(_) => "cloud-sigma",
            Format::Spot(_) => "spot",
            Format::DayAhead { .. } => "day-ahead",
        };
        write!(f, "{name} {}:{}", self.url.host, self.url.port)
    }
}

/// The words of a line that nobody has taken yet.
struct Terms<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Terms<'a> {
    fn take(&mut self, key: &str) -> Option<&'a str> {
        let place = self.0.iter().position(|(known, _)| *known == key)?;
        Some(self.0.remove(place).1)
    }

    fn need(&mut self, key: &str) -> Result<&'a str, Trouble> {
        self.take(key).filter(|value| !value.is_empty()).ok_or(Trouble(alloc::format!("{key}= is missing")))
    }

    fn count(&mut self, key: &str, most: u32) -> Result<u32, Trouble> {
        let value = self.need(key)?;
        let count = value.parse().ok().filter(|count| (1..=most).contains(count));
        count.ok_or(Trouble(alloc::format!("{key}={}: expected 1 to {most}", value.escape_debug())))
    }

    fn watts(&mut self) -> Result<u32, Trouble> {
        let value = self.need("watts")?;
        let milliwatts = value.parse::<Decimal>().ok().and_then(|watts| watts.scaled(1_000, 1));
        let milliwatts = milliwatts.filter(|milliwatts| (1..=1_000_000).contains(milliwatts));
        milliwatts
            .map(|milliwatts| milliwatts as u32)
            .ok_or(Trouble::about("expected up to 1000 W instead of", value))
    }

    fn yes(&mut self, key: &str) -> Result<bool, Trouble> {
        match self.take(key) {
            None | Some("no") => Ok(false),
            Some("yes") => Ok(true),
            Some(other) => Err(Trouble::about("expected yes or no instead of", other)),
        }
    }

    fn rate<R: core::str::FromStr<Err = TextError>>(&mut self, key: &str) -> Result<Option<R>, Trouble> {
        let parse = |text: &str| text.parse().map_err(|error: TextError| Trouble(alloc::format!("{error}")));
        self.take(key).map(parse).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feeds_are_read_as_people_write_them() {
        let plain = Feed::parse("http://10.0.2.2:8080/prices").unwrap();
        assert_eq!(plain, Feed::metadata(Url::parse("http://10.0.2.2:8080/prices").unwrap()));
        assert!(plain.holds());
        let sigma = "cloud-sigma http://10.0.0.9/api/2.0/pricing/ currency=EUR mhz=2000 convert=EUR:1.08";
        let Format::CloudSigma(purchase) = Feed::parse(sigma).unwrap().format else { panic!() };
        assert_eq!(
            (purchase.currency, purchase.core_mhz, purchase.subscription),
            (Currency::EUR, 2_000, false)
        );
        let spot = "spot http://10.0.0.9/ instance=m1.xlarge zone=us-west-1b product=SUSE_Linux cores=4";
        let Format::Spot(instance) = Feed::parse(spot).unwrap().format else { panic!() };
        assert_eq!((instance.product.as_str(), instance.cores), ("SUSE Linux", 4));
        let day = "day-ahead http://10.0.0.9/api watts=12.5 core=0.004$/core/h negative=yes";
        let day = Feed::parse(day).unwrap();
        assert_eq!(day.format, Format::DayAhead { milliwatts_a_core: 12_500 });
        assert!(day.negative && day.others.core.is_some() && !day.holds());
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for text in [
            "",
            "metadata",
            "nasdaq http://10.0.0.9/",
            "https://10.0.0.256/",
            "http://10.0.0.9/ watts=1",
            "http://10.0.0.9/ core=1$/core/h",
            "spot http://10.0.0.9/ instance=a zone=b",
            "spot http://10.0.0.9/ instance= zone=b cores=1",
            "spot http://10.0.0.9/ instance=a zone=b cores=0",
            "day-ahead http://10.0.0.9/",
            "day-ahead http://10.0.0.9/ watts=0",
            "day-ahead http://10.0.0.9/ watts=1e9",
            "day-ahead http://10.0.0.9/ watts=1 watts=2",
            "day-ahead http://10.0.0.9/ watts=1 core=1",
            "day-ahead http://10.0.0.9/ watts=1 negative=maybe",
            "day-ahead http://10.0.0.9/ watts=1 more",
            "day-ahead http://10.0.0.9/ watts=1 convert=EUR",
            "cloud-sigma http://10.0.0.9/ mhz=fast",
        ] {
            assert!(Feed::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_reading_is_what_holds_now_and_what_comes() {
        let day =
            Feed::parse("day-ahead http://10.0.0.9/api watts=10 convert=EUR:1.2 core=0.01$/core/h").unwrap();
        let text = include_str!("../fixtures/day-ahead.xml");
        let noon = 1_774_738_800 * S + 12 * 3600 * S;
        let reading = day.read(text, noon).unwrap();
        assert_eq!(reading.valid_ns, 11 * 3600 * S, "until the end of that short day");
        assert!(reading.next[0].begin_unix_ns > noon && reading.generation.is_none());
        assert!(day.read(text, 0).is_err());
        assert!(day.read(text, noon + 11 * 3600 * S).is_err());
        assert!(day.read(&text.replace("<mRID>", &" ".repeat(DAYS_LEN_MAX)), noon).is_err());
        let dollars = Feed::parse("day-ahead http://10.0.0.9/api watts=10").unwrap();
        assert!(dollars.read(text, noon).is_err(), "no rate is stated");
    }
}
