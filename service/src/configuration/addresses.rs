//! Our IPv6 addresses, and who knows names.

use super::{Configuration, ConfigurationError, Lines, Network, PriceSource, shown};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr};
use nom_feeds::http::Host;
use nom_stack::config::{Address6, Config6};
use nom_stack::dns::SERVERS_MAX;

impl Lines<'_> {
    pub(super) fn ipv6(&self) -> Result<Option<Config6>, ConfigurationError> {
        let address = self.value("address6", "none", |text| match text {
            "none" => Ok(None),
            "auto" => Ok(Some(Address6::Automatic)),
            _ => address_and_prefix(text).map(Some),
        })?;
        let gateway = self.optional("gateway6", |text| {
            let wrong = || format!("'{}': an address such as fd00::1 is expected", shown(text));
            text.parse::<Ipv6Addr>().ok().filter(|address| is_host(*address)).ok_or_else(wrong)
        })?;
        match (address, gateway) {
            (None, Some(_)) => {
                Err(self.wrong("gateway6", "there is no address6 that would need it; say one as well"))
            }
            (Some(Address6::Automatic), Some(_)) => {
                Err(self
                    .wrong("gateway6", "with address6 = auto a router says so itself; remove one of them"))
            }
            (address, gateway) => Ok(address.map(|address| Config6 { address, gateway })),
        }
    }
}

impl Configuration {
    /// An address can be lent only where everything that is sent to everybody comes in.
    pub(super) fn check_dhcp(&self, lines: &Lines<'_>) -> Result<(), ConfigurationError> {
        if !self.address.is_unspecified() {
            return Ok(());
        }
        match self.network {
            Network::Xdp { .. } | Network::Packet { .. } => {
                Err(lines.wrong("address", "xdp and packet take frames of one address; say which"))
            }
            _ if self.gateway.is_some() => {
                Err(lines
                    .wrong("gateway", "with address = dhcp the server says so itself; remove one of them"))
            }
            _ => Ok(()),
        }
    }
}

impl PriceSource {
    /// A feed is named, and not given by its address.
    pub fn has_names(&self) -> bool {
        match self {
            Self::Board => false,
            Self::Feeds(feeds) => feeds.iter().any(|feed| matches!(feed.url.host, Host::Name(_))),
        }
    }
}

impl Configuration {
    /// Names need somebody who knows them.
    pub(super) fn check_names(&self, lines: &Lines<'_>) -> Result<(), ConfigurationError> {
        let lent = self.address.is_unspecified();
        if self.prices.has_names() && self.name_servers.is_empty() && !lent {
            let what = "a name needs somebody who knows it: say dns = ADDRESS, or address = dhcp";
            return Err(lines.wrong("prices", what));
        }
        Ok(())
    }
}

/// Addresses with commas between.
pub(super) fn name_servers(text: &str) -> Result<Vec<Ipv4Addr>, String> {
    let wrong = || format!("'{}': up to {SERVERS_MAX} addresses such as 10.0.2.3 are expected", shown(text));
    let one = |part: &str| part.trim().parse::<Ipv4Addr>().ok().filter(|address| is_unicast(*address));
    let servers = match text.trim() {
        "" => Vec::new(),
        text => text.split(',').map(one).collect::<Option<Vec<_>>>().ok_or_else(wrong)?,
    };
    if servers.len() > SERVERS_MAX { Err(wrong()) } else { Ok(servers) }
}

fn is_unicast(address: Ipv4Addr) -> bool {
    let first = address.octets()[0];
    !(first == 0 || address.is_loopback() || address.is_multicast() || first >= 240)
}

fn is_host(address: Ipv6Addr) -> bool {
    !(address.is_unspecified() || address.is_multicast() || address.is_loopback())
}

fn address_and_prefix(text: &str) -> Result<Address6, String> {
    let wrong = || {
        format!("'{}': an address with its prefix such as fd00::2/64, auto or none is expected", shown(text))
    };
    let (address, prefix_len) = text.split_once('/').ok_or_else(wrong)?;
    let digits = prefix_len.bytes().all(|byte| byte.is_ascii_digit());
    let prefix_len =
        prefix_len.parse().ok().filter(|len| digits && (1..=127).contains(len)).ok_or_else(wrong)?;
    let address: Ipv6Addr = address.parse().map_err(|_| wrong())?;
    if !is_host(address) || address.to_ipv4_mapped().is_some() {
        return Err(format!("'{}': nobody can have that address", shown(text)));
    }
    if address.segments()[0] & 0xffc0 == 0xfe80 {
        return Err(format!("'{}': the address of the link is made from the Ethernet address", shown(text)));
    }
    Ok(Address6::Static { address, prefix_len })
}

#[cfg(test)]
mod tests {
    use crate::configuration::Configuration;
    use alloc::string::ToString;
    use nom_stack::config::{Address6, Config6};

    #[test]
    fn an_address_is_lent_where_that_can_be() {
        let read = |text: &str| {
            Configuration::parse(text).map(|read| read.address).map_err(|error| error.to_string())
        };
        assert_eq!(read("address = dhcp\n"), Ok(core::net::Ipv4Addr::UNSPECIFIED));
        let xdp = read("address = dhcp\nnetwork = xdp\nnetwork.interface = eth0\n").expect_err("xdp");
        assert!(xdp.contains("line 1: address: xdp and packet"), "{xdp}");
        let both = read("address = dhcp\ngateway = 10.0.0.1\n").expect_err("both");
        assert!(both.contains("line 2: gateway: with address = dhcp"), "{both}");
    }

    #[test]
    fn addresses_are_read_and_what_nobody_can_have_is_refused() {
        let read =
            |text: &str| Configuration::parse(text).map(|read| read.ipv6).map_err(|error| error.to_string());
        assert_eq!(read(""), Ok(None));
        let address = Address6::Static { address: "fd00::2".parse().expect("one"), prefix_len: 64 };
        let gateway = Some("fd00::1".parse().expect("one"));
        assert_eq!(
            read("address6 = fd00::2/64\ngateway6 = fd00::1\n"),
            Ok(Some(Config6 { address, gateway }))
        );
        assert_eq!(
            read("address6 = auto\n"),
            Ok(Some(Config6 { address: Address6::Automatic, gateway: None }))
        );
        for (text, said) in [
            ("address6 = fd00::2\n", "line 1: address6: 'fd00::2': an address with its prefix"),
            ("address6 = fd00::2/128\n", "is expected"),
            ("address6 = fd00::2/+64\n", "is expected"),
            ("address6 = ff02::1/64\n", "nobody can have that address"),
            ("address6 = ::ffff:1.2.3.4/64\n", "nobody can have that address"),
            ("address6 = fe80::1/64\n", "is made from the Ethernet address"),
            ("gateway6 = fd00::1\n", "line 1: gateway6: there is no address6"),
            ("address6 = auto\ngateway6 = fd00::1\n", "line 2: gateway6: with address6 = auto"),
            ("address6 = auto\ngateway6 = ::\n", "an address such as fd00::1 is expected"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(said), "{error}");
        }
    }
}
