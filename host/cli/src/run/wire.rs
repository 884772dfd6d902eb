//! The TAP device of `--tap NAME`: a guest's frames go to this machine's kernel and come from there, without the
//! emulator's own network stack between.
//!
//! One that is there was made by somebody with the right to, for this user; it is left as it is. One that is not there is
//! made by the emulator, which needs the right, and is gone when that ends.

use nom_linux_interface::{Interface, Missing, address};
use nom_machine::machine::Machine;
use nom_machine::trouble::{Context, Outcome, Trouble};
use nom_tap::{TapConfig, TapError};
use std::fs::OpenOptions;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// Who drives TAP devices.
const DRIVER: &str = "tun";
/// What whoever uses one opens.
const WAY_IN: &str = "/dev/net/tun";
/// How long the emulator may take to make one, and how often it is looked whether it has.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// A TAP device with the host's end of its network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wire {
    /// Its name.
    pub name: String,
    /// The host's address there.
    pub host: Ipv4Addr,
    prefix_len: u8,
    /// Nobody made it before.
    make: bool,
}

impl Wire {
    /// Looks at what a person named.
    pub fn find(name: &str) -> Outcome<Self> {
        let refuse = |what: String| Err(Trouble::new(format!("--tap {name}: {what}")));
        let interface = match Interface::find(name) {
            Ok(interface) => interface,
            Err(error) if error.missing() == Some(Missing::Interface) => return Self::made(name),
            Err(error) => return refuse(error.to_string()),
        };
        if interface.driver != DRIVER {
            return refuse("it is no TAP device; `ip tuntap` lists those that are".into());
        }
        if let Err(error) = OpenOptions::new().read(true).write(true).open(WAY_IN) {
            return refuse(TapError::NoTun(error).to_string());
        }
        match address(name) {
            Ok(Some((host, prefix_len))) if interface.up => {
                let wire = Self { name: name.into(), host, prefix_len, make: false };
                match wire.neighbour() {
                    Some(_) => Ok(wire),
                    None => refuse(format!("{host}/{prefix_len} leaves no address for a guest")),
                }
            }
            Ok(Some(_)) => refuse(format!("it is down: as root, `ip link set {name} up`")),
            Ok(None) => {
                refuse(format!("it has no IPv4 address: as root, `ip addr add 10.77.0.1/24 dev {name}`"))
            }
            Err(error) => refuse(error.to_string()),
        }
    }

    /// One that the emulator is to make: whether that is allowed is tried.
    fn made(name: &str) -> Outcome<Self> {
        let config = TapConfig { name: name.into(), ..TapConfig::default() };
        nom_tap::open(&config).map(drop).map_err(|error| {
            Trouble::new(format!(
                "--tap {name}: it is not there and cannot be made ({error}); as root, once: `ip tuntap add dev {name} \
                 mode tap user NAME && ip addr add {}/{} dev {name} && ip link set {name} up`",
                config.address, config.prefix_len
            ))
        })?;
        Ok(Self { name: name.into(), host: config.address, prefix_len: config.prefix_len, make: true })
    }

    /// Pairs of queues for so many cores: one that was there has one, unless whoever made it said otherwise, and then the
    /// first core shares it.
    pub fn queues(&self, cores: usize) -> u16 {
        if self.make { cores as u16 } else { 1 }
    }

    /// The guest's address with its prefix, unless the configuration names another one.
    pub fn guest(&self) -> String {
        format!("{}/{}", self.neighbour().unwrap_or(self.host), self.prefix_len)
    }

    /// The address behind the host's in its network, or the one before it.
    fn neighbour(&self) -> Option<Ipv4Addr> {
        let all = u32::MAX.checked_shl(32 - u32::from(self.prefix_len)).unwrap_or(0);
        let host = u32::from(self.host);
        let usable = |other: &u32| other & all == host & all && other & !all != 0 && other | all != u32::MAX;
        [host.checked_add(1), host.checked_sub(1)].into_iter().flatten().find(usable).map(Ipv4Addr::from)
    }

    /// Gives one that the emulator has just made its address.
    pub fn connect(&self, machine: &mut Machine) -> Outcome<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut there = !self.make;
        while !there {
            there = Interface::find(&self.name).is_ok();
            if machine.ended().is_some() {
                return Err(machine.autopsy());
            }
            if Instant::now() > deadline {
                return Err(Trouble::new(format!("the emulator does not make {}", self.name)));
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        if !self.make {
            return Ok(());
        }
        let (address, prefix_len) = (self.host, self.prefix_len);
        let config = TapConfig { name: self.name.clone(), address, prefix_len, ..TapConfig::default() };
        nom_tap::configure(&config).context(|| format!("--tap {}", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_gets_an_address_of_the_network() {
        let wire = |host: [u8; 4], prefix_len| Wire {
            name: "nom0".into(),
            host: host.into(),
            prefix_len,
            make: false,
        };
        assert_eq!(wire([10, 77, 0, 1], 24).guest(), "10.77.0.2/24");
        assert_eq!(wire([10, 77, 0, 254], 24).guest(), "10.77.0.253/24");
        assert_eq!(wire([10, 77, 0, 2], 30).guest(), "10.77.0.1/30");
        assert_eq!(wire([10, 77, 0, 1], 32).neighbour(), None);
        assert_eq!(wire([10, 77, 0, 1], 31).neighbour(), None);
    }

    #[test]
    fn what_is_no_tap_device_is_refused() {
        let refused = Wire::find("lo").unwrap_err().to_string();
        assert!(refused.starts_with("--tap lo: ") && !refused.contains('\n'), "{refused}");
        let refused = Wire::find("a name").unwrap_err().to_string();
        assert!(refused.starts_with("--tap a name: "), "{refused}");
    }
}
