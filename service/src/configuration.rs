//! The configuration: one `key = value` a line, `#` begins a comment, values carry their units.
//!
//! Everything is checked before anything starts; an unknown key is refused with the nearest known one. The keys
//! stand in one table ([`KEYS`]), from which help and documentation are printed.

mod addresses;
mod admission;
mod cache;
mod keys;
mod live;
mod nearest;
mod netpipe;
mod network;
mod tcp;
mod web;

pub use cache::Allowed;
use keys::FORMER;
pub use keys::{KEYS, Key, help};
pub use live::{Changed, LIVE};
pub use netpipe::Netpipe;
pub use network::{Copying, Network};
pub use tcp::Tcp;
pub use web::{Compress, Web};

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::{self, Display};
use core::net::Ipv4Addr;
use nom_feeds::Feed;
use nom_feeds::priced::FEEDS_MAX;
use nom_money::{Decimal, Spending, parse_bytes, parse_duration_ns};
use nom_points::Points;
use nom_stack::admission::Admission;
use nom_stack::config::Config6;
use nom_stack::knobs::{Batching, Knobs, Wait};
use nom_utility::{Contract, Promise, Terms};

/// Longest configuration text in bytes.
pub const LEN_MAX: usize = 64 << 10;

/// Cores of one cache.
const CORES_MAX: u32 = 8;

/// What begins the key of a line that is for one application of an image alone.
const APPLICATION: &str = "application.";

/// What is wrong with a configuration, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigurationError {
    /// Line, counted from 1; 0 when it is not about a line that is there.
    pub line: usize,
    /// What is wrong and what is expected.
    pub message: String,
}

impl Display for ConfigurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "configuration: {}", self.message),
            line => write!(f, "configuration, line {line}: {}", self.message),
        }
    }
}

/// What the tuner may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tuning {
    /// It is not asked.
    Off,
    /// It says what it would do.
    Observe,
    /// It changes knobs.
    On,
}

/// Where prices come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PriceSource {
    /// Somebody else writes the bulletin board.
    Board,
    /// This application asks these feeds, the most believed first, and publishes what they say.
    Feeds(Vec<Feed>),
}

/// What the network card of a guest does for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offloads {
    /// What pays where the guest finds itself; the guest decides at its start.
    Auto,
    /// Nothing.
    None,
    /// Transport checksums, both ways.
    Checksum,
    /// Those, and many received segments as one frame.
    Merging,
    /// Those, and large segments that the card cuts.
    All,
}

/// Everything an application is told at its start.
#[derive(Debug, Clone, PartialEq)]
pub struct Configuration {
    /// Port that is served.
    pub listen: u16,
    /// Our address; unspecified when a DHCP server is asked for one.
    pub address: Ipv4Addr,
    /// How many leading bits of addresses are the same on our link.
    pub prefix_len: u8,
    /// Who forwards what is not on our link.
    pub gateway: Option<Ipv4Addr>,
    /// How IPv6 is spoken, where it is.
    pub ipv6: Option<Config6>,
    /// Who may open connections.
    pub admission: Admission,
    /// What is agreed on with the other sides of connections, and how long their silence is borne.
    pub tcp: Tcp,
    /// Where a Linux process gets its frames.
    pub network: Network,
    /// Cores of a cache. Memory and connections are those of all together; knobs and the stack's memory those of one.
    pub cores: usize,
    /// Memory for items and their index.
    pub items_bytes: usize,
    /// Largest item with its key and header.
    pub item_bytes_max: usize,
    /// Values up to this size are copied into the reply.
    pub inline_value_bytes: usize,
    /// Memory for bytes on their way out.
    pub send_memory_bytes: usize,
    /// Memory for bytes that arrived out of order or are not consumed.
    pub receive_memory_bytes: usize,
    /// Knobs at the start, and for good where the tuner is off.
    pub knobs: Knobs,
    /// What the network card of a guest does.
    pub offloads: Offloads,
    /// What the tuner may do.
    pub tuning: Tuning,
    /// What users pay; without it nothing is earned, and the tuner has nothing to decide by.
    pub contract: Option<Contract>,
    /// Settlement window.
    pub window_ns: u64,
    /// Most that may be spent.
    pub spending_max: Option<Spending>,
    /// Most latency that a chosen point may have.
    pub latency_max_ns: Option<u64>,
    /// The tuner learns while it serves and tries other settings: what that may cost, in millionths of an hour's revenue.
    pub online_millionths: Option<u32>,
    /// Whether the tuner may choose to serve nothing.
    pub may_stop: bool,
    /// Whether a change of price is rehearsed.
    pub rehearsal: bool,
    /// What each setting was measured to give; without it the tuner has nothing to choose from.
    pub points: Option<Points>,
    /// Where prices come from.
    pub prices: PriceSource,
    /// Who is asked for addresses of names; none where a lease says so, or nobody is asked.
    pub name_servers: Vec<Ipv4Addr>,
    /// Token that the host must show; none where the channel itself is protected.
    pub token: Option<String>,
    /// Time between two lines of statistics.
    pub stats_interval_ns: u64,
    /// Port of the loopback on which a Linux process shows its figures.
    pub metrics_port: Option<u16>,
    /// How long a drain may take.
    pub drain_ns: u64,
    /// What a cache's clients may do.
    pub allowed: Allowed,
    /// What a web server serves, and with how much patience.
    pub web: Web,
    /// What netpipe measures.
    pub netpipe: Netpipe,
    /// Whether the application speaks over the machine's management channel.
    pub management: bool,
    /// Of a switch: applications behind whose ports there may be further stations.
    pub learning: Vec<String>,
    /// Of a switch: after how long it fails on purpose.
    pub lifetime_ns: Option<u64>,
    /// CRC-32 of the text.
    pub crc: u32,
    /// The text.
    pub text: String,
    /// Whose lines hold, when it was read for one application of an image.
    application: Option<String>,
}

impl Configuration {
    /// Reads a configuration: what holds for an application of which nothing special is said. What is said for single
    /// applications is checked as well.
    pub fn parse(text: &str) -> Result<Self, ConfigurationError> {
        let configuration = Self::read(text, None)?;
        for line in text.lines() {
            if let Some((name, _)) =
                line.trim().strip_prefix(APPLICATION).and_then(|rest| rest.split_once('.'))
            {
                Self::read(text, Some(name))?;
            }
        }
        Ok(configuration)
    }

    /// Reads what holds for one application of an image: lines `application.NAME.KEY = VALUE` take the place of the
    /// lines of that key without a name.
    pub fn parse_for(text: &str, application: &str) -> Result<Self, ConfigurationError> {
        Self::read(text, Some(application))
    }

    fn read(text: &str, application: Option<&str>) -> Result<Self, ConfigurationError> {
        let lines = Lines::read(text, application)?;
        let (address, prefix_len) = lines.value("address", "10.0.2.15/24", |text| match text {
            "dhcp" => Ok((Ipv4Addr::UNSPECIFIED, 32)),
            _ => address_and_prefix(text),
        })?;
        let promise = lines.promise()?;
        let contract = match promise {
            Some(promise) => Some(promise.contract()),
            None => lines.contract()?,
        };
        let items_bytes = lines.value("memory.items", "8 MiB", bytes(64 << 10, 64 << 30))?;
        let cores = lines.value("kv.cores", "1", whole(1, CORES_MAX))?;
        let of_a_core = |memory: usize| memory.div_ceil(cores as usize);
        let configuration = Self {
            listen: lines.value("listen", "11211", port)?,
            address,
            prefix_len,
            gateway: lines.optional("gateway", |text| {
                text.parse().map_err(|_| format!("'{text}': an address such as 10.0.2.2 is expected"))
            })?,
            ipv6: lines.ipv6()?,
            admission: lines.admission()?,
            tcp: lines.tcp()?,
            network: lines.network()?,
            cores: cores as usize,
            items_bytes,
            allowed: lines.allowed(items_bytes)?,
            web: lines.web()?,
            netpipe: lines.netpipe()?,
            item_bytes_max: lines.value("item.max", "1 MiB", bytes(1 << 10, 128 << 20))?,
            inline_value_bytes: lines.value("value.inline", "128 B", bytes(0, 256))?,
            send_memory_bytes: of_a_core(lines.value("memory.send", "1 MiB", bytes(64 << 10, 4 << 30))?),
            receive_memory_bytes: of_a_core(lines.value(
                "memory.receive",
                "1 MiB",
                bytes(64 << 10, 4 << 30),
            )?),
            knobs: Knobs {
                wait: lines.value("wait", "halt", wait)?,
                batching: lines.value("batch", "0", batching)?,
                batch_bound: lines.value("batch.bound", "64", whole(1, 4096))?,
                ack_delay_ns: lines.value("ack.delay", "40 ms", duration(0, 500_000_000))?,
                connections_max: lines.value("connections", "10000", whole(1, 1_000_000))?.div_ceil(cores),
                ..Knobs::default()
            },
            offloads: lines.value("offloads", "auto", offloads)?,
            tuning: lines.value("tuner", "on", |text| match text {
                "on" => Ok(Tuning::On),
                "observe" => Ok(Tuning::Observe),
                "off" => Ok(Tuning::Off),
                _ => Err(format!("'{text}': on, observe or off is expected")),
            })?,
            contract,
            window_ns: lines.value("window", "1 s", duration(10_000_000, 3_600_000_000_000))?,
            spending_max: lines
                .optional("limit.spending", |text| text.parse().map_err(|error| format!("{error}")))?,
            latency_max_ns: match promise {
                Some(promise) => Some(promise.limit_ns),
                None => lines.optional("limit.latency", duration(1_000, 60_000_000_000))?,
            },
            may_stop: lines.value("tuner.stop", "no", cache::yes_or_no)?,
            rehearsal: lines.value("tuner.rehearsal", "yes", cache::yes_or_no)?,
            points: lines.points()?,
            prices: lines.prices()?,
            name_servers: lines.value("dns", "", addresses::name_servers)?,
            token: lines.optional("management.token", token)?,
            stats_interval_ns: lines.value(
                "stats.interval",
                "200 ms",
                duration(10_000_000, 60_000_000_000),
            )?,
            metrics_port: lines.optional("metrics.port", port)?,
            drain_ns: lines.value("drain.limit", "5 s", duration(0, 600_000_000_000))?,
            management: lines.value("management", "yes", cache::yes_or_no)?,
            learning: lines.value("switch.learns", "", |text| Ok(names(text)))?,
            lifetime_ns: lines.optional("switch.lifetime", duration(1_000_000, 3_600_000_000_000))?,
            online_millionths: match lines.value("tuner.online", "no", cache::yes_or_no)? {
                true => Some(lines.value("tuner.budget", "1 %", percent_millionths)?),
                false => {
                    lines.value("tuner.budget", "1 %", percent_millionths)?;
                    None
                }
            },
            crc: crc32(text.as_bytes()),
            text: text.into(),
            application: application.map(String::from),
        };
        configuration.check_dhcp(&lines)?;
        configuration.check_names(&lines)?;
        configuration.check_cores(&lines)?;
        if configuration.item_bytes_max > configuration.items_bytes / configuration.cores {
            let of_whom = if configuration.cores > 1 { ", of which each core has its part" } else { "" };
            let text = format!("an item cannot be larger than memory.items{of_whom}");
            return Err(lines.wrong("item.max", text));
        }
        Ok(configuration)
    }
}

impl Configuration {
    /// What several cores do not do together yet is refused where it is asked for.
    fn check_cores(&self, lines: &Lines<'_>) -> Result<(), ConfigurationError> {
        if self.cores == 1 {
            return Ok(());
        }
        for (key, fits) in [
            ("network", !matches!(self.network, Network::Switch)),
            ("address", !self.address.is_unspecified()),
            ("address6", self.ipv6.is_none()),
            ("commands.debugtime", !self.allowed.move_time),
            ("tuner.stop", !self.may_stop),
        ] {
            if !fits {
                return Err(lines.wrong(key, "several cores (kv.cores) do not have this yet"));
            }
        }
        Ok(())
    }
}

/// The lines that carry a key.
struct Lines<'a> {
    found: Vec<(usize, &'static str, &'a str)>,
}

impl<'a> Lines<'a> {
    fn read(text: &'a str, application: Option<&str>) -> Result<Self, ConfigurationError> {
        let wrong = |line, message: String| Err(ConfigurationError { line, message });
        if text.len() > LEN_MAX {
            return wrong(0, format!("{} bytes, at most {LEN_MAX} are allowed", text.len()));
        }
        let mut lines = Self { found: Vec::new() };
        let mut own = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let number = number + 1;
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let Some((key, value)) = line.split_once('=') else {
                return wrong(number, format!("'{}': key = value is expected", shown(line)));
            };
            let (key, value) = (key.trim(), value.trim());
            if key.starts_with("kernel.") {
                // The kernel reads and checks these.
                continue;
            }
            let (of, key) = match key.strip_prefix(APPLICATION) {
                None => (None, key),
                Some(rest) => match rest.split_once('.') {
                    Some((name, key)) if !name.is_empty() => (Some(name), key),
                    _ => return wrong(number, format!("'{}': application.NAME.KEY is expected", shown(key))),
                },
            };
            if let Some((_, instead)) = FORMER.iter().find(|(name, _)| *name == key) {
                return wrong(number, format!("{key}: {instead}"));
            }
            let Some(known) = KEYS.iter().find(|known| known.name == key) else {
                let nearest = nearest::nearest(key, KEYS.iter().map(|known| known.name));
                let hint = nearest.map(|name| format!("; did you mean '{name}'?")).unwrap_or_default();
                return wrong(number, format!("unknown key '{}'{hint}", shown(key)));
            };
            if value.is_empty() {
                return wrong(number, format!("{key} has no value; such as {key} = {}", known.example));
            }
            // Another application's lines are read when it is its turn.
            let found = match of {
                None => &mut lines.found,
                Some(name) if Some(name) == application => &mut own,
                Some(_) => continue,
            };
            let before = found.iter().find(|(_, name, _)| *name == key);
            match before {
                Some((line, ..)) if !known.repeats => {
                    return wrong(number, format!("{key} stands already in line {line}"));
                }
                _ => found.push((number, known.name, value)),
            }
        }
        lines.found.retain(|(_, general, _)| own.iter().all(|(_, name, _)| name != general));
        lines.found.append(&mut own);
        Ok(lines)
    }

    fn get(&self, key: &str) -> Option<(usize, &'a str)> {
        debug_assert!(KEYS.iter().any(|known| known.name == key), "{key} is in the table");
        self.found.iter().find(|(_, name, _)| *name == key).map(|(line, _, value)| (*line, *value))
    }

    fn wrong(&self, key: &str, message: impl Display) -> ConfigurationError {
        let line = self.get(key).map_or(0, |(line, _)| line);
        ConfigurationError { line, message: format!("{key}: {message}") }
    }

    fn optional<T>(
        &self,
        key: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigurationError> {
        self.get(key).map(|(_, value)| read(value).map_err(|message| self.wrong(key, message))).transpose()
    }

    fn value<T>(
        &self,
        key: &str,
        default: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, ConfigurationError> {
        debug_assert!(KEYS.iter().any(|known| known.name == key && known.default == default), "{key}");
        let value = self.get(key).map_or(default, |(_, value)| value);
        read(value).map_err(|message| self.wrong(key, message))
    }

    fn contract(&self) -> Result<Option<Contract>, ConfigurationError> {
        let text = |key| self.get(key).map(|(_, value)| value);
        let terms = Terms {
            utility: text("utility"),
            value: text("value"),
            latency_limit: text("latency.limit"),
            penalty_factor: text("penalty.factor"),
            penalty_tail: text("penalty.tail"),
            refund: text("refund"),
            bonus: text("bonus"),
            bonus_max: text("bonus.max"),
        };
        if terms.utility.is_none() && terms.value.is_none() {
            return Ok(None);
        }
        terms.contract().map(Some).map_err(|error| self.wrong(error.key, error.message))
    }

    /// `board`, or the lines of one or more feeds.
    fn prices(&self) -> Result<PriceSource, ConfigurationError> {
        let all: Vec<_> = self.found.iter().filter(|(_, name, _)| *name == "prices").collect();
        let mut feeds = Vec::new();
        for (line, _, value) in &all {
            let wrong =
                |message: String| ConfigurationError { line: *line, message: format!("prices: {message}") };
            if *value == "board" && all.len() == 1 {
                break;
            }
            if feeds.len() == FEEDS_MAX {
                return Err(wrong(format!("more than {FEEDS_MAX} feeds")));
            }
            let feed = Feed::parse(value)
                .map_err(|error| wrong(format!("'{}': {error}, or board", shown(value))))?;
            if feed.url.secure {
                return Err(wrong(format!(
                    "'{}': https is for nom-priced-linux: say board, and let it ask",
                    shown(value)
                )));
            }
            feeds.push(feed);
        }
        Ok(if feeds.is_empty() { PriceSource::Board } else { PriceSource::Feeds(feeds) })
    }

    /// A plain promise takes the place of everything that says what an operation is worth.
    fn promise(&self) -> Result<Option<Promise>, ConfigurationError> {
        let Some(promise) =
            self.optional("slo", |text| text.parse::<Promise>().map_err(|error| error.to_string()))?
        else {
            return Ok(None);
        };
        for key in ["utility", "value", "limit.latency", "tuner.stop"] {
            if self.get(key).is_some() {
                return Err(self.wrong(key, "slo says already what is wanted; remove one of them"));
            }
        }
        Ok(Some(promise))
    }

    /// The lines of the points file, one a line.
    fn points(&self) -> Result<Option<Points>, ConfigurationError> {
        let lines: Vec<_> = self.found.iter().filter(|(_, name, _)| *name == "points").collect();
        let Some(last) = lines.last() else { return Ok(None) };
        let text: String = lines.iter().flat_map(|(_, _, value)| [value, "\n"]).collect();
        Points::parse(&text).map(Some).map_err(|error| {
            // The line of the configuration in which the line of points stands.
            let line = lines.get(error.line.saturating_sub(1)).unwrap_or(last).0;
            ConfigurationError { line, message: format!("points: {}", error.message) }
        })
    }
}

fn shown(text: &str) -> String {
    text.chars().take(40).flat_map(char::escape_debug).collect()
}

/// Names with commas between.
fn names(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(String::from).collect()
}

fn port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(port @ 1..) => Ok(port),
        _ => Err(format!("'{}': a port from 1 to 65535 is expected", shown(text))),
    }
}

fn whole(least: u32, most: u32) -> impl Fn(&str) -> Result<u32, String> {
    move |text| match text.parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(format!("'{}': a whole number from {least} to {most} is expected", shown(text))),
    }
}

fn bytes(least: u64, most: u64) -> impl Fn(&str) -> Result<usize, String> {
    move |text| {
        let bytes = parse_bytes(text).map_err(|error| error.to_string())?;
        if (least..=most).contains(&bytes) {
            Ok(bytes as usize)
        } else {
            let (least, most) = (nom_money::print_bytes(least), nom_money::print_bytes(most));
            Err(format!("'{text}': from {least} to {most} is expected"))
        }
    }
}

fn duration(least: u64, most: u64) -> impl Fn(&str) -> Result<u64, String> {
    move |text| {
        let duration = parse_duration_ns(text).map_err(|error| error.to_string())?;
        if (least..=most).contains(&duration) {
            Ok(duration)
        } else {
            let (least, most) = (nom_money::print_duration(least), nom_money::print_duration(most));
            Err(format!("'{text}': from {least} to {most} is expected"))
        }
    }
}

/// A part in percent, at most a tenth, as millionths.
fn percent_millionths(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix('%').map(str::trim).and_then(|number| number.parse::<Decimal>().ok());
    number
        .and_then(|number| number.scaled(10_000, 1))
        .and_then(|millionths| u32::try_from(millionths).ok())
        .filter(|millionths| *millionths <= 100_000)
        .ok_or_else(|| format!("'{}': a part from 0 % to 10 % is expected", shown(text)))
}

fn offloads(text: &str) -> Result<Offloads, String> {
    match text {
        "auto" => Ok(Offloads::Auto),
        "none" => Ok(Offloads::None),
        "checksum" => Ok(Offloads::Checksum),
        "merging" => Ok(Offloads::Merging),
        "all" => Ok(Offloads::All),
        _ => Err("auto, none, checksum, merging or all".into()),
    }
}

fn wait(text: &str) -> Result<Wait, String> {
    match text {
        "halt" => Ok(Wait::Halt),
        "poll" => Ok(Wait::Poll),
        _ => match text.strip_prefix("spin") {
            Some(budget) => {
                let budget = budget.trim_start_matches(':').trim();
                Ok(Wait::Spin { budget_ns: duration(100, 1_000_000_000)(budget)? })
            }
            None => Err(format!("'{}': halt, poll or spin with a time (spin:50us) is expected", shown(text))),
        },
    }
}

fn batching(text: &str) -> Result<Batching, String> {
    match text {
        "0" => Ok(Batching::RunToCompletion),
        "queued" => Ok(Batching::TakeQueued),
        _ => match duration(0, 10_000_000)(text) {
            Ok(delay_ns) => Ok(Batching::from_delay_ns(delay_ns)),
            Err(error) => Err(format!("0, queued or a delay is expected: {error}")),
        },
    }
}

fn address_and_prefix(text: &str) -> Result<(Ipv4Addr, u8), String> {
    let wrong = || format!("'{}': an address with its prefix such as 10.0.2.15/24 is expected", shown(text));
    let (address, prefix_len) = text.split_once('/').ok_or_else(wrong)?;
    let prefix_len = prefix_len.parse().ok().filter(|len| (1..=31).contains(len)).ok_or_else(wrong)?;
    let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
    if address.is_unspecified() || address.is_multicast() || address.is_broadcast() {
        return Err(format!("'{}': nobody can have that address", shown(text)));
    }
    Ok((address, prefix_len))
}

fn token(text: &str) -> Result<String, String> {
    if (16..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(text.into())
    } else {
        // The value itself is a secret and is not repeated.
        Err("16 to 128 hexadecimal digits are expected".into())
    }
}

/// CRC-32 as in Ethernet and zip, bit by bit: it is run once.
pub fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

#[cfg(test)]
mod tests;
