//! What is agreed on with the other sides of TCP connections, and how long their silence is borne.

use super::{ConfigurationError, Lines, bytes, duration, shown, whole};
use alloc::format;
use alloc::string::String;
use nom_stack::config::Agreement;
use nom_stack::{KeepAlive, Terms};

const DAY_NS: u64 = 86_400_000_000_000;
const SECOND_NS: u64 = 1_000_000_000;

/// TCP as the configuration wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tcp {
    /// Of connections that are opened from now on.
    pub terms: Terms,
    /// Time stamps.
    pub time_stamps: Agreement,
    /// Marks of congestion.
    pub congestion_marks: Agreement,
    /// Most bytes that a connection may hold and its application has not consumed.
    pub window_bytes: u32,
}

impl Lines<'_> {
    pub(super) fn tcp(&self) -> Result<Tcp, ConfigurationError> {
        let idle_ns = self.value("tcp.keepalive", "0 s", duration(0, DAY_NS))?;
        let interval_ns = self.value("tcp.keepalive.interval", "15 s", duration(SECOND_NS, DAY_NS))?;
        let probes = self.value("tcp.keepalive.probes", "4", whole(1, 100))? as u8;
        let user_timeout_ns = self.value("tcp.user_timeout", "0 s", duration(0, DAY_NS))?;
        for (key, ns) in [("tcp.keepalive", idle_ns), ("tcp.user_timeout", user_timeout_ns)] {
            if (1..SECOND_NS).contains(&ns) {
                return Err(self.wrong(key, "at least 1 s is expected, or 0 s for never"));
            }
        }
        Ok(Tcp {
            terms: Terms {
                keep_alive: (idle_ns > 0).then_some(KeepAlive { idle_ns, interval_ns, probes }),
                user_timeout_ns: (user_timeout_ns > 0).then_some(user_timeout_ns),
            },
            time_stamps: self.value("tcp.timestamps", "never", agreement)?,
            congestion_marks: self.value("tcp.ecn", "asked", agreement)?,
            window_bytes: self.value("tcp.window", "65535 B", bytes(2 << 10, 64 << 20))? as u32,
        })
    }
}

fn agreement(text: &str) -> Result<Agreement, String> {
    match text {
        "never" => Ok(Agreement::Never),
        "asked" => Ok(Agreement::WhenAsked),
        "always" => Ok(Agreement::Always),
        _ => Err(format!("'{}': never, asked or always is expected", shown(text))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::Configuration;
    use alloc::string::ToString;

    #[test]
    fn nothing_is_asked_and_little_agreed_on_by_default() {
        let tcp = Configuration::parse("").unwrap().tcp;
        let expected = Tcp {
            terms: Terms::default(),
            time_stamps: Agreement::Never,
            congestion_marks: Agreement::WhenAsked,
            window_bytes: 65_535,
        };
        assert_eq!(tcp, expected);
    }

    #[test]
    fn all_of_it_can_be_said() {
        let text = "tcp.keepalive = 60 s\ntcp.keepalive.interval = 10 s\ntcp.keepalive.probes = 3\n\
                    tcp.user_timeout = 30 s\ntcp.timestamps = asked\ntcp.ecn = always\ntcp.window = 1 MiB\n";
        let tcp = Configuration::parse(text).unwrap().tcp;
        let keep = KeepAlive { idle_ns: 60 * SECOND_NS, interval_ns: 10 * SECOND_NS, probes: 3 };
        assert_eq!(tcp.terms, Terms { keep_alive: Some(keep), user_timeout_ns: Some(30 * SECOND_NS) });
        assert_eq!((tcp.time_stamps, tcp.congestion_marks), (Agreement::WhenAsked, Agreement::Always));
        assert_eq!(tcp.window_bytes, 1 << 20);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, said) in [
            ("tcp.keepalive = 60\n", "line 1: tcp.keepalive: '60'"),
            ("tcp.keepalive = 20 ms\n", "line 1: tcp.keepalive: at least 1 s is expected, or 0 s for never"),
            ("tcp.keepalive = 2 s\ntcp.keepalive.probes = 0\n", "line 2: tcp.keepalive.probes"),
            ("tcp.ecn = yes\n", "line 1: tcp.ecn: 'yes': never, asked or always is expected"),
            ("tcp.timestamp = never\n", "did you mean 'tcp.timestamps'?"),
        ] {
            let error = Configuration::parse(text).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
