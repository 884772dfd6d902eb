//! Several applications behind one network card: what `--apps N` puts into an image and its configuration.

use crate::arguments::Typed;
use crate::image;
use nom_machine::configuration as lines;
use nom_machine::trouble::{Context, Outcome, Trouble};
use nom_service::configuration::Configuration;
use std::net::Ipv4Addr;

/// Most applications behind one switch here; the kernel allows 16 channels.
const COUNT_MAX: u32 = 8;
/// Memory of the switch: rings and buffers of the card, and a copy of what waits in each port.
const SWITCH_HEAP: &str = "4 MiB";
/// Memory of a port, both directions.
const PORT_LEN: &str = "512 KiB";

/// How many applications were asked for; `None`: one, with the card for itself.
pub fn count(typed: &Typed) -> Outcome<Option<u32>> {
    Ok(typed.number("apps", 1, COUNT_MAX)?.filter(|&count| count > 1))
}

/// The name of an application, counted from 0.
pub fn name(number: u32) -> String {
    format!("kv-{}", number + 1)
}

/// The address of an application: the ones that follow that of the configuration.
pub fn address(configuration: &Configuration, number: u32) -> Outcome<Ipv4Addr> {
    let first = u32::from(configuration.address);
    let all = u32::MAX.checked_shl(32 - u32::from(configuration.prefix_len)).unwrap_or(0);
    let own = first.checked_add(number).filter(|own| own & all == first & all && own | all != u32::MAX);
    own.map(Ipv4Addr::from).ok_or_else(|| {
        Trouble::new(format!(
            "address = {}/{}: there is no room for {} applications behind it",
            configuration.address,
            configuration.prefix_len,
            number + 1
        ))
    })
}

/// The configuration of so many applications, from that of one.
pub fn configuration(count: u32, text: &str) -> Outcome<String> {
    let one = Configuration::parse(text).context(|| "the configuration".into())?;
    let names: Vec<String> = (0..count).map(name).collect();
    let mut settings: Vec<(String, String)> = vec![
        ("kernel.application".into(), format!("switch, {}", names.join(", "))),
        ("kernel.publisher".into(), name(0)),
        ("kernel.heap.switch".into(), SWITCH_HEAP.into()),
        ("kernel.restart.switch".into(), "always 100".into()),
        ("network".into(), "switch".into()),
    ];
    for (number, name) in (0..).zip(&names) {
        let address = address(&one, number)?;
        let own = |key: &str| format!("application.{name}.{key}");
        settings.push((format!("kernel.channel.switch.{name}"), format!("switch, {name}, {PORT_LEN}")));
        settings.push((own("address"), format!("{address}/{}", one.prefix_len)));
        if number > 0 {
            // The first one speaks with the host and publishes prices; the others read them from the board.
            settings.push((own("management"), "no".into()));
            settings.push((own("prices"), "board".into()));
        }
    }
    let settings: Vec<(&str, &str)> = settings.iter().map(|(key, value)| (&key[..], &value[..])).collect();
    let text = lines::with(text, &settings);
    Configuration::parse(&text).context(|| "for several applications".into())?;
    Ok(text)
}

/// An image with the switch and so many applications.
pub fn build(count: u32, text: &str) -> Outcome<Vec<u8>> {
    let names: Vec<String> = (0..count).map(name).collect();
    let mut parts = vec![("switch", "switch")];
    parts.extend(names.iter().map(|name| (name.as_str(), "kv")));
    image::build_parts(&parts, &configuration(count, text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_application_has_its_address_and_a_port() {
        let text = "address = 10.0.2.15/24\nprices = http://10.0.2.2:1/prices\nimage.trusted = yes\n";
        let text = configuration(2, text).unwrap();
        for line in [
            "kernel.application = switch, kv-1, kv-2\n",
            "kernel.channel.switch.kv-2 = switch, kv-2, 512 KiB\n",
            "application.kv-1.address = 10.0.2.15/24\n",
            "application.kv-2.address = 10.0.2.16/24\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
        holds_for_the_second(&text);
        let one = Configuration::parse("address = 10.0.2.254/24\n").unwrap();
        assert_eq!(address(&one, 0).unwrap(), Ipv4Addr::new(10, 0, 2, 254));
        assert!(address(&one, 1).unwrap_err().to_string().contains("no room"));
    }

    /// What only the first one does, the second one does not.
    fn holds_for_the_second(text: &str) {
        let second = Configuration::parse_for(text, "kv-2").unwrap();
        assert_eq!(second.address, Ipv4Addr::new(10, 0, 2, 16));
        assert!(!second.management);
        assert_eq!(second.prices, nom_service::configuration::PriceSource::Board);
        assert!(Configuration::parse_for(text, "kv-1").unwrap().management);
    }
}
