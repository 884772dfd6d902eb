//! What the environment says: which ports are taken over, and on which network.

use nom_stack::knobs::Wait;
use std::net::Ipv4Addr;

/// Ports that can be named.
const PORTS_MAX: usize = 64;

/// The environment's variables, which are taken out of it so that programs that this one starts have sockets of their own.
pub const VARIABLES: [&str; 5] = ["NOM_PORTS", "NOM_INTERFACE", "NOM_ADDRESS", "NOM_GATEWAY", "NOM_WAIT"];

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Ports whose listeners are on the private stack.
    pub ports: Vec<u16>,
    /// The interface that the stack shares with the kernel.
    pub interface: String,
    /// An address that nobody has, and how many leading bits are the network's.
    pub address: (Ipv4Addr, u8),
    /// Who forwards what is for others.
    pub gateway: Option<Ipv4Addr>,
    /// How the stack waits.
    pub wait: Wait,
}

impl Settings {
    /// Reads them. `None` when no port is named: then nothing is taken over.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, String> {
        let Some(ports) = variable("NOM_PORTS") else { return Ok(None) };
        let missing =
            |name: &str, example: &str| format!("{name} is missing: say for example {name}={example}");
        let wrong = |name: &str, text: &str, example: &str| {
            format!("{name}={text} is not understood: say for example {name}={example}")
        };
        let all: Option<Vec<u16>> =
            ports.split(',').map(|port| port.trim().parse().ok().filter(|port| *port > 0)).collect();
        let ports = all
            .filter(|ports| ports.len() <= PORTS_MAX)
            .ok_or_else(|| wrong("NOM_PORTS", &ports, "80,11211"))?;
        let interface = variable("NOM_INTERFACE").ok_or_else(|| missing("NOM_INTERFACE", "eth0"))?;
        let example = "192.168.1.77/24";
        let address = variable("NOM_ADDRESS").ok_or_else(|| missing("NOM_ADDRESS", example))?;
        let address = network(&address).ok_or_else(|| wrong("NOM_ADDRESS", &address, example))?;
        let gateway = match variable("NOM_GATEWAY") {
            None => None,
            Some(text) => Some(text.parse().map_err(|_| wrong("NOM_GATEWAY", &text, "192.168.1.1"))?),
        };
        let wait = match variable("NOM_WAIT").as_deref() {
            None | Some("halt") => Wait::Halt,
            Some("poll") => Wait::Poll,
            Some(text) => {
                let budget = text.strip_prefix("spin:").and_then(|text| text.strip_suffix("us"));
                let budget_us: Option<u32> = budget.and_then(|text| text.parse().ok());
                let budget_us =
                    budget_us.ok_or_else(|| wrong("NOM_WAIT", text, "halt, poll or spin:50us"))?;
                Wait::Spin { budget_ns: u64::from(budget_us) * 1_000 }
            }
        };
        Ok(Some(Self { ports, interface, address, gateway, wait }))
    }
}

fn network(text: &str) -> Option<(Ipv4Addr, u8)> {
    let (address, len) = text.split_once('/')?;
    Some((address.parse().ok()?, len.parse().ok().filter(|len| (1..=32).contains(len))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Settings>, String> {
        Settings::read(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into())
        })
    }

    #[test]
    fn without_ports_nothing_is_taken_over() {
        assert_eq!(read(&[("NOM_INTERFACE", "eth0")]), Ok(None));
    }

    #[test]
    fn everything_that_is_said_is_understood() {
        let all = [
            ("NOM_PORTS", "80, 11211"),
            ("NOM_INTERFACE", "eth0"),
            ("NOM_ADDRESS", "10.1.2.3/8"),
            ("NOM_GATEWAY", "10.0.0.1"),
            ("NOM_WAIT", "spin:20us"),
        ];
        let settings = read(&all).unwrap().unwrap();
        assert_eq!(settings.ports, [80, 11211]);
        assert_eq!(settings.address, (Ipv4Addr::new(10, 1, 2, 3), 8));
        assert_eq!(settings.gateway, Some(Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(settings.wait, Wait::Spin { budget_ns: 20_000 });
        assert_eq!(read(&all[..3]).unwrap().unwrap().wait, Wait::Halt);
    }

    #[test]
    fn what_is_wrong_is_named_with_an_example() {
        let all = [("NOM_PORTS", "80"), ("NOM_INTERFACE", "eth0"), ("NOM_ADDRESS", "10.1.2.3/8")];
        for (name, value) in [
            ("NOM_PORTS", "http"),
            ("NOM_PORTS", "0"),
            ("NOM_ADDRESS", "10.1.2.3"),
            ("NOM_ADDRESS", "10.1.2.3/33"),
            ("NOM_GATEWAY", "here"),
            ("NOM_WAIT", "spin"),
        ] {
            let variables = [&[(name, value)], &all[..]].concat();
            let error = read(&variables).unwrap_err();
            assert!(error.starts_with(&format!("{name}={value} is not understood: say")), "{error}");
        }
        assert!(read(&all[..1]).unwrap_err().contains("NOM_INTERFACE is missing"));
    }
}
