//! The TAP device: opened, given an address and brought up by ioctl, without any helper program.

use crate::calls::Device;
use crate::egress::TapEgress;
use crate::error::TapError;
use crate::ingress::TapIngress;
use nom_stack::port::Offloads;
use nom_vnet::SHORT_LEN;
use std::fs::{File, OpenOptions};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::rc::Rc;

/// The device and the kernel's end of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TapConfig {
    /// Name of the interface; it only has to be free in this namespace.
    pub name: String,
    /// Address of the kernel's end.
    pub address: Ipv4Addr,
    /// How many leading bits are the network's.
    pub prefix_len: u8,
    /// Largest Ethernet payload.
    pub mtu: u16,
    /// Leave transport checksums to the kernel in both directions, and hand over segments of up to 64 KiB uncut: for a
    /// peer on the same machine it then never computes nor cuts at all. The second needs the first.
    pub offloads: Offloads,
}

impl Default for TapConfig {
    fn default() -> Self {
        Self {
            name: "nom0".into(),
            address: Ipv4Addr::new(10, 77, 0, 1),
            prefix_len: 24,
            mtu: 1500,
            offloads: Offloads { checksum: true, segmentation: true },
        }
    }
}

/// Opens the device in the namespace of the calling thread, gives the kernel's end its address, brings it and the
/// loopback interface up, and returns the two halves.
pub fn open(config: &TapConfig) -> Result<(TapIngress, TapEgress), TapError> {
    let file = queue(config, 0)?;
    configure(config)?;
    Ok(halves(file, config))
}

/// The same with as many queues, for [`resume`]: what comes of a connection comes to the queue that spoke on it last, and to
/// one that its addresses and ports choose before anybody spoke.
pub fn open_queues(config: &TapConfig, count: usize) -> Result<Vec<OwnedFd>, TapError> {
    let flags = if count > 1 { libc::IFF_MULTI_QUEUE } else { 0 };
    let queues = (0..count).map(|_| Ok(queue(config, flags)?.into())).collect::<Result<_, TapError>>()?;
    configure(config)?;
    Ok(queues)
}

/// A queue of the device, which is made if it is not there.
fn queue(config: &TapConfig, flags: libc::c_int) -> Result<File, TapError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open("/dev/net/tun")
        .map_err(TapError::NoTun)?;
    let mut request = named(&config.name)?;
    request.ifr_ifru.ifru_flags =
        (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | flags) as libc::c_short;
    interface(&file, libc::TUNSETIFF, &mut request, "creating the interface")?;
    number(&file, libc::TUNSETVNETHDRSZ, SHORT_LEN as libc::c_int)?;
    let offload = match config.offloads {
        Offloads { checksum: false, .. } => 0,
        Offloads { segmentation: false, .. } => libc::TUN_F_CSUM,
        _ => libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6,
    };
    // SAFETY: this request takes its flags as the argument itself; no memory is touched.
    if unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(offload)) } != 0 {
        return Err(TapError::Configure("setting offloads", io::Error::last_os_error()));
    }
    Ok(file)
}

/// The same from a device that somebody opened with the same configuration and left to us.
pub fn resume(device: OwnedFd, config: &TapConfig) -> Result<(TapIngress, TapEgress), TapError> {
    let file = File::from(device);
    let mut request = named(&config.name)?;
    interface(&file, libc::TUNGETIFF, &mut request, "going on with the interface")?;
    if request.ifr_name != named(&config.name)?.ifr_name {
        let error = io::Error::new(io::ErrorKind::InvalidInput, "it has another name");
        return Err(TapError::Configure("going on with the interface", error));
    }
    Ok(halves(file, config))
}

/// A descriptor that the program before this one in the same process left open for it.
pub fn inherit(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl with F_GETFD takes no pointers.
    if number <= 2 || unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{number} is no open descriptor")));
    }
    // SAFETY: it is open, and the caller's contract is that it was left for us by number: nothing in this program has
    // opened it, so nothing else owns it.
    let inherited = unsafe { OwnedFd::from_raw_fd(number) };
    // SAFETY: as above; whatever this program starts is not to have it.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(inherited)
}

fn halves(file: File, config: &TapConfig) -> (TapIngress, TapEgress) {
    let Offloads { checksum, segmentation } = config.offloads;
    let offloads = Offloads { segmentation: checksum && segmentation, ..config.offloads };
    let device = Rc::new(Device::new(file));
    let ingress = TapIngress::new(Rc::clone(&device), usize::from(config.mtu), offloads.segmentation);
    (ingress, TapEgress::new(device, usize::from(config.mtu), offloads))
}

/// Address, netmask, MTU and state of the interface, and the loopback interface up: for one that is there already, as an
/// emulator makes it.
pub fn configure(config: &TapConfig) -> Result<(), TapError> {
    let socket = control_socket()?;
    let mut request = named("lo")?;
    up(&socket, &mut request)?;
    request = named(&config.name)?;
    request.ifr_ifru.ifru_mtu = libc::c_int::from(config.mtu);
    interface(&socket, libc::SIOCSIFMTU, &mut request, "setting the MTU")?;
    request.ifr_ifru.ifru_addr = address(config.address);
    interface(&socket, libc::SIOCSIFADDR, &mut request, "setting the address")?;
    let mask = u32::MAX.checked_shl(32 - u32::from(config.prefix_len.min(32))).unwrap_or(0);
    request.ifr_ifru.ifru_netmask = address(Ipv4Addr::from(mask));
    interface(&socket, libc::SIOCSIFNETMASK, &mut request, "setting the netmask")?;
    up(&socket, &mut request)
}

fn up(socket: &impl AsRawFd, request: &mut libc::ifreq) -> Result<(), TapError> {
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    interface(socket, libc::SIOCSIFFLAGS, request, "bringing the interface up")
}

fn control_socket() -> Result<OwnedFd, TapError> {
    // SAFETY: socket takes no pointers.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(TapError::Configure("opening a control socket", io::Error::last_os_error()));
    }
    // SAFETY: the descriptor was just made and has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn named(name: &str) -> Result<libc::ifreq, TapError> {
    // SAFETY: ifreq is a plain C structure for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.is_empty() || name.len() >= libc::IFNAMSIZ || name.contains(['/', ' ', '\0']) {
        let error = io::Error::new(io::ErrorKind::InvalidInput, format!("\"{name}\" is no interface name"));
        return Err(TapError::Configure("naming the interface", error));
    }
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *place = byte as libc::c_char;
    }
    Ok(request)
}

fn address(address: Ipv4Addr) -> libc::sockaddr {
    // sockaddr_in: two bytes of port, then the address in network order.
    let mut data = [0; 14];
    for (place, byte) in data[2..6].iter_mut().zip(address.octets()) {
        *place = byte as libc::c_char;
    }
    libc::sockaddr { sa_family: libc::AF_INET as libc::sa_family_t, sa_data: data }
}

fn interface(
    file: &impl AsRawFd,
    what: libc::Ioctl,
    request: &mut libc::ifreq,
    step: &'static str,
) -> Result<(), TapError> {
    // SAFETY: all requests passed here read and write one ifreq, which is borrowed mutably for the call.
    if unsafe { libc::ioctl(file.as_raw_fd(), what, std::ptr::from_mut(request)) } != 0 {
        return Err(TapError::Configure(step, io::Error::last_os_error()));
    }
    Ok(())
}

fn number(file: &File, what: libc::Ioctl, value: libc::c_int) -> Result<(), TapError> {
    // SAFETY: the request reads one int, which lives for the call.
    if unsafe { libc::ioctl(file.as_raw_fd(), what, std::ptr::from_ref(&value)) } != 0 {
        return Err(TapError::Configure("setting the header length", io::Error::last_os_error()));
    }
    Ok(())
}
