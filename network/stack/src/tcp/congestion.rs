//! How fast to send: CUBIC (RFC 9438) or NewReno (RFC 5681), in whole bytes and milliseconds.

use super::connection::Connection;
use crate::config::CongestionControl;

/// More than this is never outstanding, whatever the window.
pub(crate) const CONGESTION_WINDOW_MAX: u32 = 1 << 26;
/// Segments that a window never goes below after a loss (RFC 5681, 3.1).
const SEGMENTS_LEAST: u32 = 2;
/// Segments by which one acknowledgement opens the window at most, in slow start: receivers that merge segments acknowledge
/// many at once. RFC 9406, 4.2 says 8; one initial window (RFC 6928) is no burst that was not there before.
const SLOW_START_SEGMENTS: u32 = 10;
/// Milliseconds after which the cubic curve is not followed any further: by then the bound on growth holds anyway.
const CURVE_MS_MAX: u64 = 1 << 20;

/// Windows of fewer segments leave slow start by a loss only: there is no queue to speak of behind them.
const CAREFUL_SEGMENTS: u32 = 16;
/// By how much a round trip must be longer than the one before it to say that a queue grows (RFC 9406, 4.3).
const LONGER_NS: (u64, u64) = (4_000_000, 16_000_000);
/// Round trips of careful growth before slow start ends, and how much slower it is.
const CAREFUL_ROUNDS: u8 = 5;
const CAREFUL_DIVISOR: u32 = 4;

/// What HyStart++ (RFC 9406) remembers. It is given one sample a round trip, of the first segment of the round.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SlowStart {
    /// The sample that was taken and not looked at yet.
    pub(crate) sample_ns: u64,
    /// The round trip before, or the one at which careful growth began.
    base_ns: u64,
    /// Round trips of careful growth; 0: none.
    careful: u8,
}

/// What CUBIC remembers of a connection.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cubic {
    /// Window at the last loss: where the curve is flat.
    pub(crate) plateau: u32,
    /// Window before the last reduction.
    pub(crate) prior: u32,
    /// When the present curve began; 0 when none did.
    pub(crate) epoch_ns: u64,
    /// From then until the plateau.
    pub(crate) rise_ms: u32,
    /// The window that NewReno would have by now.
    pub(crate) friendly: u32,
}

impl Connection {
    /// Acknowledged bytes open the congestion window, outside of a fast recovery.
    #[inline(always)]
    pub(super) fn grow(&mut self, control: CongestionControl, bytes: u32, flight_before: u32, now_ns: u64) {
        self.duplicates = 0;
        // A window that was not used says nothing about the path (RFC 7661).
        if flight_before >= self.congestion_window / 2 {
            self.grow_used(control, bytes, now_ns);
        }
    }

    pub(super) fn grow_used(&mut self, control: CongestionControl, bytes: u32, now_ns: u64) {
        let size = u32::from(self.segment_max);
        let window = self.congestion_window.max(1);
        let growth = if window < self.slow_start_end {
            self.slow_start_growth(bytes.min(SLOW_START_SEGMENTS * size))
        } else {
            match control {
                CongestionControl::NewReno => share(size, bytes.min(2 * size), window).max(1),
                CongestionControl::Cubic => self.cubic_growth(bytes, now_ns),
            }
        };
        self.congestion_window = window.saturating_add(growth).min(CONGESTION_WINDOW_MAX);
    }

    fn slow_start_growth(&mut self, bytes: u32) -> u32 {
        let start = &mut self.slow_start;
        let sample_ns = core::mem::take(&mut start.sample_ns);
        if sample_ns > 0 && self.congestion_window >= CAREFUL_SEGMENTS * u32::from(self.segment_max) {
            let longer_ns = (start.base_ns / 8).clamp(LONGER_NS.0, LONGER_NS.1);
            if start.careful == 0 {
                let grows = start.base_ns > 0 && sample_ns >= start.base_ns + longer_ns;
                start.careful = u8::from(grows);
                start.base_ns = sample_ns;
            } else if sample_ns < start.base_ns {
                // It was not a queue, or it is gone.
                start.careful = 0;
                start.base_ns = sample_ns;
            } else {
                start.careful += 1;
                if start.careful > CAREFUL_ROUNDS {
                    self.slow_start_end = self.congestion_window;
                    *start = SlowStart::default();
                }
            }
        }
        if self.slow_start.careful > 0 { bytes.div_ceil(CAREFUL_DIVISOR) } else { bytes }
    }

    /// RFC 9438, 4.2 to 4.5.
    fn cubic_growth(&mut self, bytes: u32, now_ns: u64) -> u32 {
        let size = u32::from(self.segment_max);
        let window = self.congestion_window;
        let smoothed_ns = self.smoothed_ns;
        let cubic = &mut self.cubic;
        if cubic.epoch_ns == 0 {
            cubic.epoch_ns = now_ns.max(1);
            cubic.friendly = window;
            cubic.plateau = cubic.plateau.max(window);
            // K = cbrt((W_max - cwnd) / C) seconds, with C = 0.4 segments / s^3.
            let missing = u64::from(cubic.plateau - window);
            cubic.rise_ms = cube_root(missing * 2_500_000_000 / u64::from(size)) as u32;
        }
        // 3 (1 - b) / (1 + b) with b = 0.7 until the window before the loss is reached, then as NewReno.
        let (part, of) = if cubic.friendly < cubic.prior { (9, 17) } else { (1, 1) };
        cubic.friendly = cubic.friendly.saturating_add(share(size * part / of, bytes, window));
        let since_ms = (now_ns.saturating_sub(cubic.epoch_ns) + smoothed_ns) / 1_000_000;
        let from_plateau_ms = since_ms.min(CURVE_MS_MAX) as i128 - i128::from(cubic.rise_ms);
        let bent = from_plateau_ms.pow(3) * 4 * i128::from(size) / 10_000_000_000;
        let on_curve = i128::from(cubic.plateau) + bent;
        let most = i128::from(window) * 3 / 2;
        let target = on_curve.clamp(i128::from(window), most) as u32;
        share(target - window, bytes, window).max(cubic.friendly.saturating_sub(window))
    }

    /// Something was lost: what the window is to be after that.
    pub(super) fn reduce(&mut self, control: CongestionControl) {
        let size = u32::from(self.segment_max);
        // What was never used is not a window (RFC 9438, 4.6).
        let used = self.congestion_window.min(self.max.since(self.una).max(size));
        let reduced = match control {
            CongestionControl::NewReno => used / 2,
            CongestionControl::Cubic => {
                let cubic = &mut self.cubic;
                // Fast convergence: who loses again below the plateau leaves room for somebody new.
                cubic.plateau = if used < cubic.plateau { part(used, 17, 20) } else { used };
                cubic.prior = used;
                cubic.epoch_ns = 0;
                part(used, 7, 10)
            }
        };
        self.slow_start = SlowStart::default();
        self.slow_start_end = reduced.max(SEGMENTS_LEAST * size);
    }
}

/// `whole * bytes / window`, rounded down.
fn share(whole: u32, bytes: u32, window: u32) -> u32 {
    (u64::from(whole) * u64::from(bytes) / u64::from(window.max(1))).min(u64::from(u32::MAX)) as u32
}

fn part(of: u32, numerator: u64, denominator: u64) -> u32 {
    (u64::from(of) * numerator / denominator) as u32
}

/// The whole part of the cube root.
fn cube_root(value: u64) -> u64 {
    let mut root = 0u64;
    for bit in (0..22).rev() {
        let wider = root | 1 << bit;
        if u128::from(wider).pow(3) <= u128::from(value) {
            root = wider;
        }
    }
    root
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cube_roots_are_whole_parts() {
        for value in [0, 1, 7, 8, 26, 27, 1_000_000_000, u64::MAX] {
            let root = u128::from(cube_root(value));
            assert!(root.pow(3) <= u128::from(value) && (root + 1).pow(3) > u128::from(value));
        }
    }

    /// Windows in segments, one round trip after the other, after a loss at `window` segments.
    fn rounds(control: CongestionControl, window: u32, round_ms: u64, count: usize) -> alloc::vec::Vec<u32> {
        let mut connection = Connection { segment_max: 1000, ..Connection::default() };
        connection.congestion_window = window * 1000;
        connection.max = connection.una.plus(window * 1000);
        connection.smoothed_ns = round_ms * 1_000_000;
        connection.reduce(control);
        connection.congestion_window = connection.slow_start_end;
        let mut now_ns = 1_000_000_000;
        (0..count)
            .map(|_| {
                let acknowledged = connection.congestion_window;
                for _ in 0..acknowledged / 1000 {
                    connection.grow(control, 1000, connection.congestion_window, now_ns);
                    now_ns += round_ms * 1_000_000 * 1000 / u64::from(acknowledged);
                }
                connection.congestion_window / 1000
            })
            .collect()
    }

    #[test]
    fn cubic_goes_back_to_the_plateau_in_the_time_that_the_rfc_says_and_beyond_it() {
        // 1,000 segments lose 300: K = cbrt(300 / 0.4) = 9.1 s, 91 round trips of 100 ms.
        let windows = rounds(CongestionControl::Cubic, 1_000, 100, 160);
        assert!((930..1_000).contains(&windows[50]), "{windows:?}");
        assert!((995..1_010).contains(&windows[90]), "{windows:?}");
        assert!((1_095..1_250).contains(&windows[159]), "{windows:?}");
    }

    #[test]
    fn cubic_is_never_slower_than_newreno_would_be() {
        // 20 segments and 1 ms: the curve is far too slow, the friendly window leads (0.53 segments a round trip).
        let windows = rounds(CongestionControl::Cubic, 20, 1, 30);
        assert!((19..=21).contains(&windows[11]), "{windows:?}");
        // Above the window before the loss it grows by a segment a round trip.
        assert!((35..=38).contains(&windows[29]), "{windows:?}");
        let windows = rounds(CongestionControl::NewReno, 20, 1, 10);
        assert!((19..=20).contains(&windows[9]), "{windows:?}");
    }
}
