//! Opening: looks at the interface, makes a ring, and last of all begins to hear frames.

use crate::egress::PacketEgress;
use crate::error::PacketError;
use crate::ingress::{FRAME_LEN, FRAMES, PacketIngress, Ring};
use nom_linux_interface::{Interface, is_kernels};
use nom_stack::port::Offloads;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::rc::Rc;

/// Bytes of frames that the kernel may hold for us before it takes no more.
const SEND_BUFFER: libc::c_int = 4 << 20;

/// The interface, and whose frames are heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PacketConfig {
    /// Its name in the network of the calling thread.
    pub interface: String,
    /// An address that the kernel does not have.
    pub address: Ipv4Addr,
    /// What is left to the kernel or its device: transport checksums, cutting large segments.
    pub offloads: Offloads,
}

impl PacketConfig {
    /// With checksums and segments left to others.
    pub fn new(interface: &str, address: Ipv4Addr) -> Self {
        Self {
            interface: interface.into(),
            address,
            offloads: Offloads { checksum: true, segmentation: true },
        }
    }
}

/// Begins to hear what is for the address. It ends when both halves are dropped, or the process ends.
pub fn open(config: &PacketConfig) -> Result<(PacketIngress, PacketEgress), PacketError> {
    Socket::open(config)?.halves()
}

/// Several sockets hear it together: all frames of a connection come to the same one.
pub fn sockets(config: &PacketConfig, count: usize) -> Result<Vec<Socket>, PacketError> {
    let sockets = (0..count).map(|_| Socket::open(config)).collect::<Result<Vec<_>, _>>()?;
    if count > 1 {
        // The group's number is ours in this network; the first mode is by the hash of a connection.
        let group = (std::process::id() & 0xffff) as libc::c_int;
        for socket in &sockets {
            set(socket.fd.as_raw_fd(), libc::SOL_PACKET, libc::PACKET_FANOUT, &group)
                .map_err(|error| PacketError::Kernel("sharing the frames among sockets", error))?;
        }
    }
    Ok(sockets)
}

/// A socket that hears, before its halves are made where they belong.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    interface: Interface,
    offloads: Offloads,
}

impl Socket {
    fn open(config: &PacketConfig) -> Result<Self, PacketError> {
        let (fd, interface) = socket(config)?;
        Ok(Self { fd, interface, offloads: config.offloads })
    }

    /// The same from a socket that somebody opened with the same configuration and left to us. What waits in its ring is
    /// lost, as on any wire.
    pub fn resume(fd: OwnedFd, config: &PacketConfig) -> Result<Self, PacketError> {
        let interface = Interface::find(&config.interface)?;
        let step = |error| PacketError::Kernel("making the ring anew", error);
        ring(fd.as_raw_fd(), 0).map_err(step)?;
        ring(fd.as_raw_fd(), FRAMES).map_err(step)?;
        Ok(Self { fd, interface, offloads: config.offloads })
    }

    /// Both halves.
    pub fn halves(self) -> Result<(PacketIngress, PacketEgress), PacketError> {
        let Self { fd, interface, offloads } = self;
        let ring =
            Ring::map(fd.as_raw_fd()).map_err(|error| PacketError::Kernel("mapping the ring", error))?;
        let fd = Rc::new(fd);
        let ingress = PacketIngress::new(Rc::clone(&fd), ring, interface.mac);
        Ok((ingress, PacketEgress::new(fd, interface.mtu, offloads)))
    }
}

fn socket(config: &PacketConfig) -> Result<(OwnedFd, Interface), PacketError> {
    let interface = Interface::find(&config.interface)?;
    if !interface.up {
        return Err(PacketError::Down(interface.name));
    }
    if is_kernels(config.address) {
        return Err(PacketError::Address(config.address));
    }
    let step = |step| move |error| PacketError::Kernel(step, error);
    // No protocol yet: nothing is heard before everything is set.
    // SAFETY: socket takes no pointers.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(step("opening a socket")(io::Error::last_os_error()));
    }
    // SAFETY: the descriptor was just made and has no other owner.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let raw = fd.as_raw_fd();
    let packet = |option, value: libc::c_int| set(raw, libc::SOL_PACKET, option, &value);
    packet(libc::PACKET_VERSION, libc::tpacket_versions::TPACKET_V2 as libc::c_int)
        .map_err(step("choosing the form of the ring"))?;
    packet(libc::PACKET_VNET_HDR, 1).map_err(step("asking for checksum marks"))?;
    packet(libc::PACKET_IGNORE_OUTGOING, 1).map_err(step("leaving out what is sent"))?;
    // Straight to the device. Where it is refused, frames take the way through the queues.
    let _ = packet(libc::PACKET_QDISC_BYPASS, 1);
    if set(raw, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &SEND_BUFFER).is_err() {
        let _ = set(raw, libc::SOL_SOCKET, libc::SO_SNDBUF, &SEND_BUFFER);
    }
    filter(raw, config.address).map_err(step("setting the filter"))?;
    ring(raw, FRAMES).map_err(step("making the ring"))?;
    bind(raw, interface.index).map_err(step("binding to the interface"))?;
    Ok((fd, interface))
}

/// Gives a socket a ring of so many frames, or takes the one away that it has.
fn ring(fd: RawFd, frames: usize) -> io::Result<()> {
    let wish = libc::tpacket_req {
        tp_block_size: FRAME_LEN as u32,
        tp_block_nr: frames as u32,
        tp_frame_size: FRAME_LEN as u32,
        tp_frame_nr: frames as u32,
    };
    let nothing = libc::tpacket_req { tp_block_size: 0, tp_block_nr: 0, tp_frame_size: 0, tp_frame_nr: 0 };
    set(fd, libc::SOL_PACKET, libc::PACKET_RX_RING, if frames == 0 { &nothing } else { &wish })
}

fn bind(fd: RawFd, interface: u32) -> io::Result<()> {
    // SAFETY: sockaddr_ll is a plain C structure for which all zeroes is a valid value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = interface as libc::c_int;
    let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the address is a sockaddr_ll of the given length, and lives for the call.
    match unsafe { libc::bind(fd, (&raw const address).cast(), len) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Lets through what is for the address by IPv4, and ARP about it. Classic BPF, which every kernel has.
fn filter(fd: RawFd, address: Ipv4Addr) -> io::Result<()> {
    let line = |code, yes, no, k| libc::sock_filter { code, jt: yes, jf: no, k };
    const LOAD_HALF: u16 = 0x28;
    const LOAD_WORD: u16 = 0x20;
    const JUMP_IF: u16 = 0x15;
    const ANSWER: u16 = 0x06;
    let address = u32::from(address);
    let mut code = [
        line(LOAD_HALF, 0, 0, 12),
        line(JUMP_IF, 0, 2, 0x0800),
        line(LOAD_WORD, 0, 0, 30),
        line(JUMP_IF, 3, 4, address),
        line(JUMP_IF, 0, 3, 0x0806),
        line(LOAD_WORD, 0, 0, 38),
        line(JUMP_IF, 0, 1, address),
        line(ANSWER, 0, 0, u32::MAX),
        line(ANSWER, 0, 0, 0),
    ];
    let program = libc::sock_fprog { len: code.len() as u16, filter: code.as_mut_ptr() };
    set(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}

fn set<T>(fd: RawFd, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel reads `len` bytes of a value that lives for the call, and so does what a filter points to.
    match unsafe { libc::setsockopt(fd, level, option, std::ptr::from_ref(value).cast(), len) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
