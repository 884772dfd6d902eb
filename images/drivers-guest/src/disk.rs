//! A disk whose file the host looks at afterwards.
//!
//! The host fills the first half of the disk with [`pattern`] 1 before the start; the guest checks it, and fills the
//! second half with pattern 2, which the host checks when the guest has ended.

use crate::{Case, NotOk, Outcome, ensure};
use alloc::vec::Vec;
use nom_guest_devices::{Acquired, acquire, memory};
use nom_runtime::abi::device::kind;
use nom_runtime::device::Device;
use nom_runtime::{CallError, now_ns, wait};
use nom_virtio_blk::{Config, Disk, Done, Refused, Ticket, start};
use nom_virtqueue::transport::Mapped;

pub const CASES: [Case; 2] = [
    ("disk_reads_writes_and_flushes", reads_writes_and_flushes),
    ("disk_without_rights_is_not_written", read_only),
];

/// How long a request may take.
const PATIENCE_NS: u64 = 40_000_000_000;
/// Bytes of one request.
const STEP: usize = 16 << 10;

/// What stands at this place of the disk, by the number of the pattern.
fn pattern(number: u64, place: u64) -> u8 {
    ((place / 512).wrapping_mul(31) + place + number * 101) as u8
}

struct Opened {
    disk: Disk<Mapped>,
    device: Device,
}

impl Opened {
    fn next() -> Result<Self, NotOk> {
        let memory = memory().map_err(|_| NotOk::Skipped("the image is not trusted"))?;
        let acquired = match acquire(kind::BLOCK) {
            Err(CallError::NoSuch | CallError::Taken) => {
                return Err(NotOk::Skipped("the machine has no such disk"));
            }
            other => other.map_err(|error| alloc::format!("{error:?}"))?,
        };
        let vector = acquired.vector(0);
        let Acquired { registers, device, .. } = acquired;
        let disk = start(registers, &memory, Config { vector, ..Config::default() })
            .map_err(|error| alloc::format!("{error}"))?;
        Ok(Self { disk, device })
    }

    /// Sleeps until something is done.
    fn done(&mut self) -> Result<Done, NotOk> {
        let until_ns = now_ns() + PATIENCE_NS;
        loop {
            if let Some(done) = self.disk.poll() {
                return Ok(done);
            }
            ensure!(self.disk.fault().is_none(), "the disk broke the contract: {:?}", self.disk.fault());
            ensure!(now_ns() < until_ns, "a request takes too long: {:?}", self.disk.counters());
            if self.disk.arm() {
                wait(Some(until_ns), self.device.event());
            }
        }
    }

    /// Does something at every step of a range, as many at a time as there is room for.
    fn all(
        &mut self,
        range: core::ops::Range<u64>,
        mut ask: impl FnMut(&mut Disk<Mapped>, u64) -> Result<Ticket, Refused>,
        mut finish: impl FnMut(&mut Disk<Mapped>, u64, Ticket) -> Outcome,
    ) -> Outcome {
        let mut under_way: Vec<(u64, Ticket)> = Vec::new();
        let mut next = range.start;
        while next < range.end || !under_way.is_empty() {
            while next < range.end {
                match ask(&mut self.disk, next) {
                    Ok(ticket) => under_way.push((next, ticket)),
                    Err(Refused::Busy) => break,
                    Err(why) => return Err(alloc::format!("at {next}: {why:?}").into()),
                }
                next += STEP as u64;
            }
            let done = self.done()?;
            let at = under_way.iter().position(|(_, ticket)| *ticket == done.ticket);
            let Some((place, ticket)) = at.map(|at| under_way.swap_remove(at)) else {
                return Err(NotOk::Failed("what was not asked for is done".into()));
            };
            ensure!(done.outcome.is_ok(), "at {place}: {:?}", done.outcome);
            finish(&mut self.disk, place, ticket)?;
        }
        Ok(())
    }

    fn verify(&mut self, number: u64, range: core::ops::Range<u64>) -> Outcome {
        self.all(
            range,
            |disk, place| disk.read(place, STEP),
            |disk, place, ticket| {
                let bytes = disk.bytes(ticket);
                let wrong = (place..).zip(bytes).find(|(place, byte)| pattern(number, *place) != **byte);
                ensure!(bytes.len() == STEP && wrong.is_none(), "pattern {number} is wrong at {wrong:?}");
                disk.release(ticket);
                Ok(())
            },
        )
    }
}

fn reads_writes_and_flushes() -> Outcome {
    let mut opened = Opened::next()?;
    let end = opened.disk.capacity();
    let half = end / 2;
    ensure!(end >= 1 << 20 && !opened.disk.read_only(), "a disk of {end} bytes");
    opened.verify(1, 0..half)?;
    opened.all(
        half..end,
        |disk, place| {
            let bytes: Vec<u8> = (place..place + STEP as u64).map(|place| pattern(2, place)).collect();
            disk.write(place, &bytes)
        },
        |_, _, _| Ok(()),
    )?;
    let flush = opened.disk.flush().map_err(|why| alloc::format!("flush: {why:?}"))?;
    let done = opened.done()?;
    ensure!(done.ticket == flush && done.outcome.is_ok(), "flush: {:?}", done.outcome);
    opened.verify(2, half..end)?;
    opened.verify(1, 0..half)?;
    let beyond = opened.disk.read(end, 512);
    ensure!(beyond == Err(Refused::BeyondEnd), "beyond the end: {beyond:?}");
    let counters = *opened.disk.counters();
    let requests = counters.reads + counters.writes;
    ensure!(counters.kicks < requests, "{} kicks for {requests} requests", counters.kicks);
    opened.disk.stop().map_err(|error| alloc::format!("{error}").into())
}

/// The second disk may only be read.
fn read_only() -> Outcome {
    let mut opened = Opened::next()?;
    ensure!(opened.disk.read_only(), "it may be written");
    let answer = opened.disk.write(0, &[0; 512]);
    ensure!(answer == Err(Refused::ReadOnly), "{answer:?}");
    let end = opened.disk.capacity();
    opened.verify(1, 0..end)
}
