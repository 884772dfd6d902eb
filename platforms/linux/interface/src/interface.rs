//! What an interface is.

use crate::request::{InterfaceError, Request};
use std::net::Ipv4Addr;

/// `linux/ethtool.h`: who drives the interface (`struct ethtool_drvinfo`, 196 bytes).
const ETHTOOL_GDRVINFO: u32 = 0x03;
const DRIVER_WORDS: usize = 49;
/// Where the driver's name stands in it, and how long that may be.
const DRIVER_AT: usize = 4;
const DRIVER_LEN: usize = 32;
/// How many queues there are (`struct ethtool_channels`: command, four maxima, four counts).
const ETHTOOL_GCHANNELS: u32 = 0x3c;
const CHANNELS_WORDS: usize = 9;

/// An interface of the calling thread's network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its number.
    pub index: u32,
    /// Its Ethernet address.
    pub mac: [u8; 6],
    /// Largest Ethernet payload.
    pub mtu: usize,
    /// It is up.
    pub up: bool,
    /// Who drives it; empty when that is not known.
    pub driver: String,
    /// Queues over which arriving frames are spread.
    pub receive_queues: u32,
}

impl Interface {
    /// Looks at an interface.
    pub fn find(name: &str) -> Result<Self, InterfaceError> {
        let mut request = Request::new(name)?;
        request.ask(libc::SIOCGIFINDEX, "asking for its index")?;
        // SAFETY: the request that just succeeded filled this member of the union.
        let index = unsafe { request.content.ifr_ifru.ifru_ifindex } as u32;
        request.ask(libc::SIOCGIFHWADDR, "asking for its address")?;
        // SAFETY: as above.
        let hardware = unsafe { request.content.ifr_ifru.ifru_hwaddr };
        if hardware.sa_family != libc::ARPHRD_ETHER {
            let error = std::io::Error::other("it is no Ethernet interface");
            return Err(InterfaceError { name: name.into(), step: "looking at it", error });
        }
        let mac = std::array::from_fn(|place| hardware.sa_data[place] as u8);
        request.ask(libc::SIOCGIFMTU, "asking for its MTU")?;
        // SAFETY: as above.
        let mtu = unsafe { request.content.ifr_ifru.ifru_mtu } as usize;
        request.ask(libc::SIOCGIFFLAGS, "asking for its state")?;
        // SAFETY: as above.
        let flags = libc::c_int::from(unsafe { request.content.ifr_ifru.ifru_flags });
        // Interfaces may lack both answers below; then nothing is known, and one queue is what everything has.
        let mut driver = [0; DRIVER_WORDS];
        driver[0] = ETHTOOL_GDRVINFO;
        let driver = match request.ask_ethtool(&mut driver, "asking for its driver") {
            Ok(()) => text(&driver),
            Err(_) => String::new(),
        };
        let mut channels = [0; CHANNELS_WORDS];
        channels[0] = ETHTOOL_GCHANNELS;
        let receive_queues = match request.ask_ethtool(&mut channels, "asking for its queues") {
            // Those that only receive, and those that do both.
            Ok(()) => (channels[5] + channels[8]).max(1),
            Err(_) => 1,
        };
        let up = flags & libc::IFF_UP != 0;
        Ok(Self { name: name.into(), index, mac, mtu, up, driver, receive_queues })
    }
}

/// The kernel's own IPv4 address on an interface and the bits of its network; nothing when it has none.
pub fn address(name: &str) -> Result<Option<(Ipv4Addr, u8)>, InterfaceError> {
    let mut request = Request::new(name)?;
    let mut ask = |what, step| match request.ask(what, step) {
        Ok(()) => {
            // SAFETY: the request that just succeeded filled this member of the union, with an address of IPv4.
            let data = unsafe { request.content.ifr_ifru.ifru_addr }.sa_data;
            // sockaddr_in: two bytes of port, then the address in network order.
            Ok(Some(Ipv4Addr::from([data[2] as u8, data[3] as u8, data[4] as u8, data[5] as u8])))
        }
        Err(refused) if refused.error.raw_os_error() == Some(libc::EADDRNOTAVAIL) => Ok(None),
        Err(refused) => Err(refused),
    };
    let Some(address) = ask(libc::SIOCGIFADDR, "asking for its IPv4 address")? else { return Ok(None) };
    let mask = ask(libc::SIOCGIFNETMASK, "asking for its netmask")?;
    Ok(mask.map(|mask| (address, u32::from(mask).leading_ones() as u8)))
}

/// Whether the kernel of the calling thread's network answers for this address itself.
pub fn is_kernels(address: Ipv4Addr) -> bool {
    let mut first = std::ptr::null_mut();
    // SAFETY: the call writes one pointer to a list that it allocates.
    if unsafe { libc::getifaddrs(&mut first) } != 0 {
        return false;
    }
    let (mut entry, mut found) = (first, false);
    // Bounded by the kernel's own list, which ends with a null.
    while !entry.is_null() {
        // SAFETY: the list is alive until `freeifaddrs` below, and `entry` is a member of it.
        let (socket, next) = unsafe { ((*entry).ifa_addr, (*entry).ifa_next) };
        // SAFETY: an address, where there is one, has a family; of the family AF_INET it is a sockaddr_in.
        found |= !socket.is_null()
            && unsafe { i32::from((*socket).sa_family) == libc::AF_INET }
            && unsafe { (*socket.cast::<libc::sockaddr_in>()).sin_addr.s_addr } == u32::from(address).to_be();
        entry = next;
    }
    // SAFETY: the list came from getifaddrs and nothing of it is used any more.
    unsafe { libc::freeifaddrs(first) };
    found
}

fn text(words: &[u32]) -> String {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let name = &bytes[DRIVER_AT..DRIVER_AT + DRIVER_LEN];
    String::from_utf8_lossy(name).trim_end_matches('\0').into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Missing;

    #[test]
    fn the_loopback_has_its_address() {
        assert_eq!(address("lo").unwrap(), Some((Ipv4Addr::LOCALHOST, 8)));
        assert_eq!(address("nom-absent").unwrap_err().missing(), Some(Missing::Interface));
    }

    #[test]
    fn an_interface_that_is_not_there_is_named() {
        let error = Interface::find("nom-absent").unwrap_err();
        assert_eq!(error.missing(), Some(Missing::Interface));
        assert_eq!(
            error.to_string(),
            "there is no interface \"nom-absent\" here: `ip link` lists those that are"
        );
        assert!(Interface::find("a/b").is_err());
    }

    #[test]
    fn what_is_no_ethernet_is_refused() {
        let error = Interface::find("lo").unwrap_err().to_string();
        assert_eq!(error, "interface \"lo\": looking at it: it is no Ethernet interface");
    }

    #[test]
    fn loopback_is_the_kernels() {
        assert!(!is_kernels(Ipv4Addr::new(192, 0, 2, 77)));
    }
}
