//! The configuration: one `key = value` a line, `#` begins a comment, values carry their units.
//!
//! Everything is checked before anything starts; an unknown key is refused with the nearest known one. The keys
//! stand in one table ([`KEYS`]), from which help and documentation are printed.

mod addresses;
mod admission;
mod cache;
mod keys;
mod lines;
mod live;
mod nearest;
mod netpipe;
mod network;
mod tcp;
mod values;
mod web;

pub use cache::Allowed;
pub use keys::{KEYS, Key, help};
use lines::Lines;
pub use live::{Changed, LIVE};
pub use netpipe::Netpipe;
pub use network::{Copying, Network};
pub use tcp::Tcp;
pub use values::crc32;
use values::{
    address_and_prefix, batching, bytes, duration, names, offloads, percent_millionths, port, token, wait,
    whole,
};
pub use web::{Compress, Web};

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Display};
use core::net::Ipv4Addr;
use nom_abi::statistics::APPLICATIONS_MAX;
use nom_feeds::Feed;
use nom_money::Spending;
use nom_points::Points;
use nom_stack::admission::Admission;
use nom_stack::config::Config6;
use nom_stack::knobs::Knobs;
use nom_utility::Contract;

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
    /// applications is checked as well, once for each of them.
    pub fn parse(text: &str) -> Result<Self, ConfigurationError> {
        let configuration = Self::read(text, None)?;
        let mut names = Vec::new();
        for (line, text) in (1..).zip(text.lines()) {
            let named = text.trim().strip_prefix(APPLICATION).and_then(|rest| rest.split_once('.'));
            let Some((name, _)) = named.filter(|(name, _)| !names.contains(name)) else { continue };
            if names.len() == APPLICATIONS_MAX {
                let message =
                    format!("application.{}: more than {APPLICATIONS_MAX} applications", shown(name));
                return Err(ConfigurationError { line, message });
            }
            names.push(name);
        }
        for name in names {
            Self::read(text, Some(name))?;
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
                text.parse()
                    .map_err(|_| format!("'{}': an address such as 10.0.2.2 is expected", shown(text)))
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
                _ => Err(format!("'{}': on, observe or off is expected", shown(text))),
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

/// What was typed, short and without what would steer a terminal.
fn shown(text: &str) -> String {
    text.chars().take(40).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests;
