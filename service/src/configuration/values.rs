//! Single values, read strictly: the error says what is expected.

use super::{Offloads, shown};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use nom_money::{Decimal, parse_bytes, parse_duration_ns};
use nom_stack::knobs::{Batching, Wait};

/// Names with commas between.
pub(super) fn names(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(String::from).collect()
}

pub(super) fn port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(port @ 1..) => Ok(port),
        _ => Err(format!("'{}': a port from 1 to 65535 is expected", shown(text))),
    }
}

pub(super) fn whole(least: u32, most: u32) -> impl Fn(&str) -> Result<u32, String> {
    move |text| match text.parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(format!("'{}': a whole number from {least} to {most} is expected", shown(text))),
    }
}

pub(super) fn bytes(least: u64, most: u64) -> impl Fn(&str) -> Result<usize, String> {
    move |text| {
        let bytes = parse_bytes(text).map_err(|error| error.to_string())?;
        if (least..=most).contains(&bytes) {
            Ok(bytes as usize)
        } else {
            let (least, most) = (nom_money::print_bytes(least), nom_money::print_bytes(most));
            Err(format!("'{text}': from {least} to {most} is expected"))
        }
    }
}

pub(super) fn duration(least: u64, most: u64) -> impl Fn(&str) -> Result<u64, String> {
    move |text| {
        let duration = parse_duration_ns(text).map_err(|error| error.to_string())?;
        if (least..=most).contains(&duration) {
            Ok(duration)
        } else {
            let (least, most) = (nom_money::print_duration(least), nom_money::print_duration(most));
            Err(format!("'{text}': from {least} to {most} is expected"))
        }
    }
}

/// A part in percent, at most a tenth, as millionths.
pub(super) fn percent_millionths(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix('%').map(str::trim).and_then(|number| number.parse::<Decimal>().ok());
    number
        .and_then(|number| number.scaled(10_000, 1))
        .and_then(|millionths| u32::try_from(millionths).ok())
        .filter(|millionths| *millionths <= 100_000)
        .ok_or_else(|| format!("'{}': a part from 0 % to 10 % is expected", shown(text)))
}

pub(super) fn offloads(text: &str) -> Result<Offloads, String> {
    match text {
        "auto" => Ok(Offloads::Auto),
        "none" => Ok(Offloads::None),
        "checksum" => Ok(Offloads::Checksum),
        "merging" => Ok(Offloads::Merging),
        "all" => Ok(Offloads::All),
        _ => Err("auto, none, checksum, merging or all".into()),
    }
}

pub(super) fn wait(text: &str) -> Result<Wait, String> {
    match text {
        "halt" => Ok(Wait::Halt),
        "poll" => Ok(Wait::Poll),
        _ => match text.strip_prefix("spin") {
            Some(budget) => {
                let budget = budget.trim_start_matches(':').trim();
                Ok(Wait::Spin { budget_ns: duration(100, 1_000_000_000)(budget)? })
            }
            None => Err(format!("'{}': halt, poll or spin with a time (spin:50us) is expected", shown(text))),
        },
    }
}

pub(super) fn batching(text: &str) -> Result<Batching, String> {
    match text {
        "0" => Ok(Batching::RunToCompletion),
        "queued" => Ok(Batching::TakeQueued),
        _ => match duration(0, 10_000_000)(text) {
            Ok(delay_ns) => Ok(Batching::from_delay_ns(delay_ns)),
            Err(error) => Err(format!("0, queued or a delay is expected: {error}")),
        },
    }
}

pub(super) fn address_and_prefix(text: &str) -> Result<(Ipv4Addr, u8), String> {
    let wrong = || format!("'{}': an address with its prefix such as 10.0.2.15/24 is expected", shown(text));
    let (address, prefix_len) = text.split_once('/').ok_or_else(wrong)?;
    let prefix_len = prefix_len.parse().ok().filter(|len| (1..=31).contains(len)).ok_or_else(wrong)?;
    let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
    if address.is_unspecified() || address.is_multicast() || address.is_broadcast() {
        return Err(format!("'{}': nobody can have that address", shown(text)));
    }
    Ok((address, prefix_len))
}

pub(super) fn token(text: &str) -> Result<String, String> {
    if (16..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(text.into())
    } else {
        // The value itself is a secret and is not repeated.
        Err("16 to 128 hexadecimal digits are expected".into())
    }
}

/// CRC-32 as in Ethernet and zip, bit by bit: it is run once.
pub fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}
