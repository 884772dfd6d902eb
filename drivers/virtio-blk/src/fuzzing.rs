//! A disk that does what a string of bytes says, against the driver: for fuzzers. Nothing it does may panic, end a request
//! twice or one that was not asked for, or show bytes of a request that did not go well.

use crate::fake::{FakeDisk, Heard};
use crate::{Config, Ticket, start};
use alloc::vec::Vec;

/// Bytes of the disk.
const LEN: usize = 64 << 10;

/// Plays the bytes; panics when the driver lets itself be fooled.
pub fn play(bytes: &[u8]) {
    let mut disk = FakeDisk::new(LEN, 512, false, bytes.first().is_some_and(|byte| byte & 1 == 0));
    let memory = disk.memory();
    with(&mut disk, bytes);
    drop(disk);
    // SAFETY: the disk is gone, and the driver with its blocks went before it.
    unsafe { memory.free() };
}

fn with(disk: &mut FakeDisk, bytes: &[u8]) {
    // The configuration is the disk's word too.
    if let Some([0xff, rest @ ..]) = bytes.get(1..26) {
        disk.device().with(|registers| registers.config.copy_from_slice(&rest[..24]));
    }
    let config = Config { requests: 4, request_len: 4096, vector: None };
    let Ok(mut driver) = start(disk.device(), &disk.memory(), config) else { return };
    let mut asked: Vec<Ticket> = Vec::new();
    let mut heard: Vec<Heard> = Vec::new();
    for step in bytes.chunks(4) {
        let argument = |at: usize| step.get(at).copied().unwrap_or(0);
        let place = u64::from(argument(1)) * 512;
        let len = usize::from(argument(2) % 16) * 512;
        match argument(0) % 10 {
            0 => asked.extend(driver.read(place, len)),
            1 => asked.extend(driver.write(place, &[argument(3); 8192][..len])),
            2 => asked.extend(driver.flush()),
            3 => _ = driver.kick(),
            4 => heard.extend(disk.fetch()),
            5 if !heard.is_empty() => {
                let one = heard.swap_remove(usize::from(argument(1)) % heard.len());
                // A disk whose configuration lies is asked for what it does not have.
                if one.place as usize + 8192 <= LEN {
                    disk.serve(&one);
                }
            }
            6 if !heard.is_empty() => {
                let one = heard[usize::from(argument(1)) % heard.len()].clone();
                let said = [argument(2) % 4; 8192];
                disk.answer(&one, &said[..usize::from(argument(3)) * 32], u32::from(argument(3)) * 32 + 1);
            }
            7 => {
                disk.queue().push_raw(u32::from(argument(1)), u32::from(argument(2)));
                _ = disk.queue().finish();
            }
            8 => disk.queue().set_used_index(u16::from(argument(1)) << 8 | u16::from(argument(2))),
            _ => _ = driver.arm(),
        }
        while let Some(done) = driver.poll() {
            let at = asked.iter().position(|ticket| *ticket == done.ticket);
            asked.swap_remove(at.expect("what ends was asked for and has not ended before"));
            let shown = driver.bytes(done.ticket).len();
            assert!(shown == 0 || done.outcome.is_ok());
            driver.release(done.ticket);
            assert!(driver.bytes(done.ticket).is_empty());
        }
        assert!(driver.under_way() <= 4);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn noise_fools_nobody() {
        let mut state = 1u64;
        for _ in 0..400 {
            let bytes: alloc::vec::Vec<u8> = (0..1_000)
                .map(|_| {
                    state =
                        state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    (state >> 56) as u8
                })
                .collect();
            super::play(&bytes);
        }
    }
}
