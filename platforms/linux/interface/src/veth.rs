//! A cable between the networks of two threads: a pair of `veth` interfaces, made by netlink.
//!
//! Made for tests and benches, in namespaces of their own: this is the only place here that changes anything.

use crate::request::{InterfaceError, Request};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto, socket_with,
};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `linux/rtnetlink.h`, `linux/if_link.h` and `linux/veth.h`.
const RTM_NEWLINK: u16 = 16;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_NET_NS_FD: u16 = 28;
const VETH_INFO_PEER: u16 = 1;
/// `struct nlmsghdr` and `struct ifinfomsg`.
const MESSAGE_HEADER: usize = 16;
const INTERFACE_HEADER: usize = 16;
/// A permanent neighbour (`net/if_arp.h`).
const ATF_PERM_COM: libc::c_int = 0x06;

/// Makes a pair: `name` in the calling thread's network, `peer_name` in the given one.
pub fn create(name: &str, peer_name: &str, peer_network: BorrowedFd<'_>) -> Result<(), InterfaceError> {
    let refuse = |step| move |error: io::Error| InterfaceError { name: name.into(), step, error };
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)
        .map_err(|error| refuse("opening a netlink socket")(error.into()))?;
    bind(&socket, &SocketAddrNetlink::new(0, 0)).map_err(|error| refuse("binding it")(error.into()))?;
    let message = pair(name, peer_name, peer_network.as_raw_fd());
    sendto(&socket, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))
        .map_err(|error| refuse("making a pair")(error.into()))?;
    let mut answer = [0; 4096];
    let (len, _) = recv(&socket, &mut answer[..], RecvFlags::empty())
        .map_err(|error| refuse("waiting for the answer")(error.into()))?;
    // The answer is an acknowledgement: a header and an error number, 0 for none.
    let code = answer[..len].get(MESSAGE_HEADER..MESSAGE_HEADER + 4).and_then(|bytes| bytes.try_into().ok());
    match code.map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(code) => Err(refuse("making a pair")(io::Error::from_raw_os_error(-code))),
        None => Err(refuse("making a pair")(io::ErrorKind::UnexpectedEof.into())),
    }
}

fn pair(name: &str, peer_name: &str, network: i32) -> Vec<u8> {
    let mut peer = vec![0; INTERFACE_HEADER];
    attribute(&mut peer, IFLA_IFNAME, &with_end(peer_name));
    attribute(&mut peer, IFLA_NET_NS_FD, &network.to_ne_bytes());
    let mut data = Vec::new();
    attribute(&mut data, VETH_INFO_PEER, &peer);
    let mut info = Vec::new();
    attribute(&mut info, IFLA_INFO_KIND, b"veth");
    attribute(&mut info, IFLA_INFO_DATA, &data);
    let mut message = vec![0; MESSAGE_HEADER + INTERFACE_HEADER];
    attribute(&mut message, IFLA_IFNAME, &with_end(name));
    attribute(&mut message, IFLA_LINKINFO, &info);
    let len = message.len() as u32;
    message[..4].copy_from_slice(&len.to_ne_bytes());
    message[4..6].copy_from_slice(&RTM_NEWLINK.to_ne_bytes());
    let flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_EXCL | NLM_F_CREATE;
    message[6..8].copy_from_slice(&flags.to_ne_bytes());
    message
}

fn with_end(name: &str) -> Vec<u8> {
    [name.as_bytes(), &[0]].concat()
}

/// A length, a type and the content, filled up to four bytes.
fn attribute(out: &mut Vec<u8>, kind: u16, content: &[u8]) {
    out.extend((content.len() as u16 + 4).to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(content);
    out.resize(out.len().next_multiple_of(4), 0);
}

/// Gives an interface of the calling thread's network an address and brings it up.
pub fn address(name: &str, address: Ipv4Addr, prefix_len: u8) -> Result<(), InterfaceError> {
    let mut request = Request::new(name)?;
    request.content.ifr_ifru.ifru_addr = socket_address(address);
    request.ask(libc::SIOCSIFADDR, "setting its address")?;
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix_len.min(32))).unwrap_or(0);
    request.content.ifr_ifru.ifru_netmask = socket_address(Ipv4Addr::from(mask));
    request.ask(libc::SIOCSIFNETMASK, "setting its netmask")?;
    up(name)
}

/// Brings an interface of the calling thread's network up.
pub fn up(name: &str) -> Result<(), InterfaceError> {
    let mut request = Request::new(name)?;
    request.content.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    request.ask(libc::SIOCSIFFLAGS, "bringing it up")
}

/// Gives an interface of the calling thread's network another Ethernet address.
pub fn station(name: &str, mac: [u8; 6]) -> Result<(), InterfaceError> {
    let mut request = Request::new(name)?;
    let mut address = libc::sockaddr { sa_family: libc::ARPHRD_ETHER, sa_data: [0; 14] };
    for (place, byte) in address.sa_data.iter_mut().zip(mac) {
        *place = byte as libc::c_char;
    }
    request.content.ifr_ifru.ifru_hwaddr = address;
    request.ask(libc::SIOCSIFHWADDR, "setting its Ethernet address")
}

/// Tells the kernel of the calling thread's network who has an address, for good: no measurement waits for ARP.
pub fn neighbour(name: &str, address: Ipv4Addr, mac: [u8; 6]) -> Result<(), InterfaceError> {
    let request = Request::new(name)?;
    // SAFETY: arpreq is a plain C structure for which all zeroes is a valid value.
    let mut entry: libc::arpreq = unsafe { std::mem::zeroed() };
    entry.arp_pa = socket_address(address);
    entry.arp_ha.sa_family = libc::ARPHRD_ETHER;
    for (place, byte) in entry.arp_ha.sa_data.iter_mut().zip(mac) {
        *place = byte as libc::c_char;
    }
    entry.arp_flags = ATF_PERM_COM;
    entry.arp_dev = request.content.ifr_name;
    request.tell_neighbour(&entry)
}

fn socket_address(address: Ipv4Addr) -> libc::sockaddr {
    // sockaddr_in: two bytes of port, then the address in network order.
    let mut data = [0; 14];
    for (place, byte) in data[2..6].iter_mut().zip(address.octets()) {
        *place = byte as libc::c_char;
    }
    libc::sockaddr { sa_family: libc::AF_INET as libc::sa_family_t, sa_data: data }
}
