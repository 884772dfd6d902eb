//! Where a Linux process gets its frames.

use super::{ConfigurationError, Lines, duration, shown, whole};
use alloc::format;
use alloc::string::String;

/// Longest name of an interface (`IFNAMSIZ` without its end).
const NAME_MAX: usize = 15;

/// Whether AF_XDP copies frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copying {
    /// Not where the driver can do without.
    Automatic,
    /// Always.
    Copy,
    /// Never.
    Zero,
}

/// The platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Network {
    /// A TAP device, in a network of the process's own unless a name for it is given.
    Tap {
        /// Its name where the process is started.
        interface: Option<String>,
    },
    /// AF_XDP beside the kernel on an interface.
    Xdp {
        /// The interface.
        interface: String,
        /// Its queue that is served.
        queue: Option<u32>,
        /// Whether frames are copied.
        copying: Copying,
        /// Longest busy poll.
        busy_poll_ns: Option<u64>,
    },
    /// AF_PACKET beside the kernel on an interface.
    Packet {
        /// The interface.
        interface: String,
    },
    /// In a guest: a port of the switch that has the card.
    Switch,
}

impl Lines<'_> {
    pub(super) fn network(&self) -> Result<Network, ConfigurationError> {
        let kind = self.get("network").map_or("tap", |(_, value)| value);
        let interface = self.optional("network.interface", interface)?;
        let queue = self.optional("network.queue", whole(0, 1_023))?;
        let copying = self.value("network.copying", "automatic", |text| match text {
            "automatic" => Ok(Copying::Automatic),
            "copy" => Ok(Copying::Copy),
            "zero" => Ok(Copying::Zero),
            _ => Err(format!("'{}': automatic, copy or zero is expected", shown(text))),
        })?;
        let busy_poll_ns = self.optional("network.busy_poll", duration(1_000, 10_000_000))?;
        if kind != "xdp" {
            for key in ["network.queue", "network.copying", "network.busy_poll"] {
                if self.get(key).is_some() {
                    return Err(self.wrong(key, "only network = xdp has this; remove the line"));
                }
            }
        }
        let named = || {
            let missing = "an interface is needed as well: network.interface = eth0";
            interface.clone().ok_or_else(|| self.wrong("network", missing))
        };
        match kind {
            "tap" => Ok(Network::Tap { interface }),
            "xdp" => Ok(Network::Xdp { interface: named()?, queue, copying, busy_poll_ns }),
            "packet" => Ok(Network::Packet { interface: named()? }),
            "switch" => Ok(Network::Switch),
            _ => {
                let wrong = format!("'{}': tap, xdp, packet or switch is expected", shown(kind));
                Err(self.wrong("network", wrong))
            }
        }
    }
}

fn interface(text: &str) -> Result<String, String> {
    let printable = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
    if printable && (1..=NAME_MAX).contains(&text.len()) {
        Ok(text.into())
    } else {
        Err(format!("'{}': the name of an interface such as eth0 is expected", shown(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::Configuration;
    use alloc::string::ToString;

    fn read(text: &str) -> Result<Network, String> {
        Configuration::parse(text).map(|read| read.network).map_err(|error| error.to_string())
    }

    #[test]
    fn each_platform_has_its_keys() {
        assert_eq!(read(""), Ok(Network::Tap { interface: None }));
        let xdp = "network = xdp\nnetwork.interface = eth0\nnetwork.queue = 2\nnetwork.copying = copy\n\
                   network.busy_poll = 20us\n";
        let expected = Network::Xdp {
            interface: "eth0".into(),
            queue: Some(2),
            copying: Copying::Copy,
            busy_poll_ns: Some(20_000),
        };
        assert_eq!(read(xdp), Ok(expected));
        let packet = "network = packet\nnetwork.interface = eth0\n";
        assert_eq!(read(packet), Ok(Network::Packet { interface: "eth0".into() }));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (text, expected) in [
            ("network = xdp\n", "line 1: network: an interface is needed as well: network.interface = eth0"),
            ("network = dpdk\n", "line 1: network: 'dpdk': tap, xdp, packet or switch is expected"),
            ("network.queue = 1\n", "line 1: network.queue: only network = xdp has this; remove the line"),
            ("network.interface = a/b\n", "'a/b': the name of an interface such as eth0 is expected"),
        ] {
            let said = read(text).unwrap_err();
            assert!(said.contains(expected), "{said}");
        }
    }
}
