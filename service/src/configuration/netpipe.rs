//! What netpipe is told: nobody sends it to the other side.

use super::cache::yes_or_no;
use super::{ConfigurationError, Lines, shown, whole};
use alloc::format;
use core::net::{Ipv4Addr, SocketAddrV4};

/// Which messages are measured, and with whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Netpipe {
    /// The first length.
    pub first: u32,
    /// The last one.
    pub last: u32,
    /// How far the neighbours of each length are away.
    pub apart: u32,
    /// How often a message is repeated in a trial of ours; `None`: as often as takes long enough.
    pub repeats: Option<u32>,
    /// Messages follow each other without being sent back.
    pub streams: bool,
    /// Whom we measure; `None`: we are measured.
    pub target: Option<(Ipv4Addr, u16)>,
}

impl Lines<'_> {
    pub(super) fn netpipe(&self) -> Result<Netpipe, ConfigurationError> {
        let (first, last) = self.value("netpipe.lengths", "1-10000000", |text| {
            let parts = text.split_once('-').map(|(first, last)| (first.trim().parse(), last.trim().parse()));
            match parts {
                Some((Ok(first), Ok(last))) if 1 <= first && first <= last => Ok((first, last)),
                _ => Err(format!(
                    "'{}': the first and the last length are expected, such as 1-65536",
                    shown(text)
                )),
            }
        })?;
        Ok(Netpipe {
            first,
            last,
            apart: self.value("netpipe.apart", "3", whole(0, 1 << 20))?,
            repeats: self.optional("netpipe.repeats", whole(1, 1_000_000))?,
            streams: self.value("netpipe.streams", "no", yes_or_no)?,
            target: self.optional("netpipe.target", |text| match text.parse::<SocketAddrV4>() {
                Ok(target) if target.port() > 0 => Ok((*target.ip(), target.port())),
                _ => Err(format!(
                    "'{}': an address and a port such as 10.0.2.2:5002 are expected",
                    shown(text)
                )),
            })?,
        })
    }
}
