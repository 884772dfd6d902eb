//! The clock: the time stamp counter, calibrated once at boot, and the machine's wall clock.

use core::arch::x86_64::__cpuid;
use core::sync::atomic::{AtomicU64, Ordering};

use nom_abi::clock::{Scale, publish, read};

use crate::cpu::{in8, out8, ticks};
use crate::{interrupts, paging};

/// The interval timer's fixed frequency.
const INTERVAL_HZ: u64 = 1_193_182;
/// How long the counters are compared: 1.2 ms, of the interval timer.
const INTERVAL_TICKS: u64 = 1_432;
/// The interval timer is asked at most this often: where it stands still, calibration ends.
const SAMPLES_MAX: u64 = 20_000;
/// The first readings are slow: an emulator translates the loop.
const WARM_UP: u64 = 8;
/// How often the comparison is tried: an emulator on a busy host is interrupted in most of them.
const ATTEMPTS: usize = 100;

static PAGE: AtomicU64 = AtomicU64::new(0);

/// Nanoseconds since boot.
pub fn now_ns() -> u64 {
    scale().ns(ticks())
}

fn scale() -> Scale {
    read(paging::words(PAGE.load(Ordering::Relaxed), 512))
}

/// Finds out the frequencies of counter and timer and starts the clock in this page. False when the machine has
/// nothing to compare with.
pub fn initialise(page: u64) -> bool {
    let boot_ticks = ticks();
    let Some((counter_hz, timer_hz)) = told().or_else(compared) else { return false };
    let Some(scale) = Scale::new(boot_ticks, counter_hz, 0) else { return false };
    interrupts::set_timer_frequency(timer_hz);
    let unix_ns = wall_clock_s().map_or(0, |seconds| seconds * 1_000_000_000);
    let unix_ns_at_zero = unix_ns.saturating_sub(scale.ns(ticks()));
    publish(paging::words(page, 512), &Scale { unix_ns_at_zero, ..scale });
    PAGE.store(page, Ordering::Relaxed);
    true
}

/// Some hypervisors tell the frequencies of counter and timer in kHz.
fn told() -> Option<(u64, u64)> {
    const HYPERVISOR: u32 = 1 << 31;
    if __cpuid(1).ecx & HYPERVISOR == 0 || !(0x4000_0010..0x4001_0000).contains(&__cpuid(0x4000_0000).eax) {
        return None;
    }
    let leaf = __cpuid(0x4000_0010);
    (leaf.eax != 0 && leaf.ebx != 0).then(|| (u64::from(leaf.eax) * 1000, u64::from(leaf.ebx) * 1000 / 16))
}

/// Compares them with the interval timer, again when the emulator was interrupted too long meanwhile.
fn compared() -> Option<(u64, u64)> {
    (0..ATTEMPTS).find_map(|_| compare_once())
}

/// Draws a line through many readings, since a single one is as coarse as the timer's own tick.
fn compare_once() -> Option<(u64, u64)> {
    // Gate on, speaker off; channel 2 counts down from the top once.
    out8(0x61, in8(0x61) & !2 | 1);
    out8(0x43, 0xb0);
    out8(0x42, 0xff);
    out8(0x42, 0xff);
    interrupts::measure_start();
    let first_ticks = ticks();
    let mut line = Line::default();
    let (mut fastest, mut first, mut last) = (u64::MAX, 0, 0);
    for sample in 0..SAMPLES_MAX {
        let before = ticks();
        out8(0x43, 0x80);
        let after = ticks();
        let value = u64::from(in8(0x42)) | u64::from(in8(0x42)) << 8;
        let passed = 0xffff - value;
        if sample == WARM_UP {
            first = passed;
        }
        // Only a timer that was left alone too long comes round.
        if passed < last || passed - first.min(passed) > 4 * INTERVAL_TICKS {
            return None;
        }
        last = passed;
        fastest = fastest.min(after - before);
        // A reading that was itself interrupted says nothing.
        if sample >= WARM_UP && after - before <= 4 * fastest {
            line.add(passed - first, (before - first_ticks).midpoint(after - first_ticks));
        }
        if sample > WARM_UP && passed >= first + INTERVAL_TICKS {
            break;
        }
    }
    let timer = u128::from(interrupts::measured());
    let elapsed = u128::from(ticks() - first_ticks);
    if last < first + INTERVAL_TICKS || elapsed == 0 || timer == 0 {
        return None;
    }
    let counter_hz = line.slope(INTERVAL_HZ)?;
    let timer_hz = u64::try_from(timer * u128::from(counter_hz) / elapsed).ok()?;
    Some((counter_hz, timer_hz))
}

/// The straight line that fits points best.
#[derive(Default)]
struct Line {
    count: i128,
    x: i128,
    y: i128,
    xx: i128,
    xy: i128,
}

impl Line {
    fn add(&mut self, x: u64, y: u64) {
        let (x, y) = (i128::from(x), i128::from(y));
        self.count += 1;
        self.x += x;
        self.y += y;
        self.xx += x * x;
        self.xy += x * y;
    }

    /// How much y grows over `steps` of x.
    fn slope(&self, steps: u64) -> Option<u64> {
        let spread = self.count * self.xx - self.x * self.x;
        let rise = (self.count * self.xy - self.x * self.y) * i128::from(steps);
        u64::try_from(rise.checked_div(spread)?).ok()
    }
}

/// The battery-backed clock, in seconds since 1970; `None` where there is none.
fn wall_clock_s() -> Option<u64> {
    let register = |number: u8| {
        out8(0x70, number | 0x80);
        u64::from(in8(0x71))
    };
    let mut last = [u64::MAX; 6];
    // Two equal readings in a row: none of them fell into an update.
    for _ in 0..5 {
        let now = [0, 2, 4, 7, 8, 9].map(register);
        if now == last {
            break;
        }
        last = now;
    }
    let mode = register(0x0b);
    nom_kernel_core::wall_clock::unix_s(last, mode as u8)
}
