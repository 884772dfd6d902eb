//! One deadline per connection, in a wheel: setting, clearing and finding the next one take the same time however
//! many there are.
//!
//! Near deadlines stand in 4096 slots of 131 us each (0.54 s together), far ones in 64 slots of 0.54 s, from which they move to
//! the near ones when their time comes; farther ones wait in the last of those and move on. A bitmap over the slots
//! finds the next one, so nothing ticks while nothing is due. A deadline is rounded up to its slot's end: it is
//! never early, and at most 131 us late.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

/// A tick is 2^17 ns.
const TICK_BITS: u32 = 17;
const NEAR: u64 = 4096;
const FAR: u64 = 64;
const SLOTS: usize = (NEAR + FAR) as usize;
const NONE: u32 = u32::MAX;
const IDLE: u16 = u16::MAX;

#[derive(Clone, Copy)]
struct Link {
    next: u32,
    previous: u32,
    slot: u16,
    due: u64,
}

const UNLINKED: Link = Link { next: NONE, previous: NONE, slot: IDLE, due: 0 };

/// The wheel.
pub(crate) struct Timers {
    links: Vec<Link>,
    heads: Box<[u32]>,
    near: [u64; (NEAR / 64) as usize],
    near_summary: u64,
    far: u64,
    /// Every near deadline is within [now, now + NEAR).
    now: u64,
    /// Before this tick nothing is due and no far slot has to be sorted. It may be earlier than need be.
    quiet_until: u64,
}

impl Timers {
    /// What each timer that there can be costs.
    pub(crate) const LINK_BYTES: usize = size_of::<Link>();

    pub(crate) fn new(count: u32, now_ns: u64) -> Self {
        Self {
            links: vec![UNLINKED; count as usize],
            heads: vec![NONE; SLOTS].into_boxed_slice(),
            near: [0; (NEAR / 64) as usize],
            near_summary: 0,
            far: 0,
            now: now_ns >> TICK_BITS,
            quiet_until: u64::MAX,
        }
    }

    /// Sees to it that a timer is taken at this time or earlier. One that stands earlier stays: whoever takes it
    /// finds nothing due and sets it again, which is rarer than moving it with every acknowledgement.
    #[inline(always)]
    pub(crate) fn set(&mut self, id: u32, deadline_ns: u64) {
        let due = (deadline_ns >> TICK_BITS) + u64::from(deadline_ns & ((1 << TICK_BITS) - 1) != 0);
        let link = &self.links[id as usize];
        if link.slot == IDLE || link.due > due {
            self.clear(id);
            self.link(id, due.max(self.now));
        }
    }

    /// Clears a timer.
    pub(crate) fn clear(&mut self, id: u32) {
        let Link { next, previous, slot, .. } = self.links[id as usize];
        if slot == IDLE {
            return;
        }
        self.links[id as usize].slot = IDLE;
        if next != NONE {
            self.links[next as usize].previous = previous;
        }
        if previous != NONE {
            self.links[previous as usize].next = next;
        } else {
            self.heads[usize::from(slot)] = next;
            if next == NONE {
                self.mark(slot, false);
            }
        }
    }

    /// When the next timer is due, or the next far slot has to be sorted.
    pub(crate) fn next_ns(&self) -> Option<u64> {
        let near = self.next_near();
        let far = self.next_far().map(|far| far * NEAR);
        let tick = match (near, far) {
            (Some(near), Some(far)) => near.min(far),
            (one, other) => one.or(other)?,
        };
        Some(tick << TICK_BITS)
    }

    /// Takes one timer that is due; it is cleared thereby. Nearly always there is none, and that takes one look.
    #[inline(always)]
    pub(crate) fn take_due(&mut self, now_ns: u64) -> Option<u32> {
        let now = now_ns >> TICK_BITS;
        if now < self.quiet_until {
            self.now = self.now.max(now);
            return None;
        }
        self.search_due(now)
    }

    #[inline(never)]
    fn search_due(&mut self, now: u64) -> Option<u32> {
        loop {
            let near = self.next_near();
            let far = self.next_far();
            if let Some(far) = far
                && far * NEAR <= now
                && near.is_none_or(|near| far * NEAR <= near)
            {
                self.now = self.now.max(far * NEAR);
                self.sort_far(far);
                continue;
            }
            match near {
                Some(due) if due <= now => {
                    self.now = due;
                    let id = self.heads[(due % NEAR) as usize];
                    self.clear(id);
                    return Some(id);
                }
                _ => {
                    self.now = self.now.max(now);
                    let sorted = far.map_or(u64::MAX, |far| far * NEAR);
                    self.quiet_until = near.unwrap_or(u64::MAX).min(sorted);
                    return None;
                }
            }
        }
    }

    fn sort_far(&mut self, far: u64) {
        let slot = (NEAR + far % FAR) as usize;
        let mut id = self.heads[slot];
        self.heads[slot] = NONE;
        self.mark(slot as u16, false);
        while id != NONE {
            let Link { next, due, .. } = self.links[id as usize];
            self.link(id, due.max(self.now));
            id = next;
        }
    }

    fn link(&mut self, id: u32, due: u64) {
        let (slot, wanted) = if due - self.now < NEAR {
            (due % NEAR, due)
        } else {
            let far = (due / NEAR).min(self.now / NEAR + FAR - 1);
            (NEAR + far % FAR, far * NEAR)
        };
        self.quiet_until = self.quiet_until.min(wanted);
        let head = self.heads[slot as usize];
        if head == NONE {
            self.mark(slot as u16, true);
        } else {
            self.links[head as usize].previous = id;
        }
        self.heads[slot as usize] = id;
        self.links[id as usize] = Link { next: head, previous: NONE, slot: slot as u16, due };
    }

    fn mark(&mut self, slot: u16, used: bool) {
        if u64::from(slot) >= NEAR {
            let bit = 1 << (u64::from(slot) - NEAR);
            self.far = if used { self.far | bit } else { self.far & !bit };
            return;
        }
        let word = usize::from(slot / 64);
        let bit = 1 << (slot % 64);
        self.near[word] = if used { self.near[word] | bit } else { self.near[word] & !bit };
        let bit = 1 << word;
        self.near_summary =
            if self.near[word] != 0 { self.near_summary | bit } else { self.near_summary & !bit };
    }

    /// Tick of the first used near slot at or after now.
    fn next_near(&self) -> Option<u64> {
        if self.near_summary == 0 {
            return None;
        }
        let start = self.now % NEAR;
        let (word, bit) = ((start / 64) as u32, start % 64);
        let here = self.near[word as usize] >> bit;
        if here != 0 {
            return Some(self.now + u64::from(here.trailing_zeros()));
        }
        // Words after this one, round to this one again for the bits below `bit`.
        let ahead = self.near_summary.rotate_right(word + 1);
        let found = (word + 1 + ahead.trailing_zeros()) % 64;
        let slot = u64::from(found) * 64 + u64::from(self.near[found as usize].trailing_zeros());
        Some(self.now + (slot.wrapping_sub(start) % NEAR))
    }

    /// Number of the first used far slot, counted from time 0. The slot in which now lies is always sorted already.
    fn next_far(&self) -> Option<u64> {
        if self.far == 0 {
            return None;
        }
        let start = self.now / NEAR;
        Some(start + u64::from(self.far.rotate_right((start % FAR) as u32).trailing_zeros()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use alloc::collections::BTreeMap;

    #[test]
    fn no_timer_is_lost_early_or_late() {
        const TICK: u64 = 1 << TICK_BITS;
        for seed in 0..20 {
            let mut random = Random::new(seed);
            let mut now = random.below(1 << 50);
            let mut timers = Timers::new(50, now);
            let mut model = BTreeMap::new();
            for _ in 0..3_000 {
                let id = random.below(50) as u32;
                match random.below(4) {
                    0 => {
                        timers.clear(id);
                        model.remove(&id);
                    }
                    1 | 2 => {
                        let bits = 10 + random.below(30);
                        let deadline = now + random.below(1 << bits);
                        timers.clear(id);
                        timers.set(id, deadline);
                        model.insert(id, deadline);
                    }
                    _ => {
                        let bits = 10 + random.below(28);
                        now += random.below(1 << bits);
                        while let Some(id) = timers.take_due(now) {
                            let deadline = model.remove(&id).expect("it was set");
                            assert!(deadline <= now, "early");
                        }
                        assert!(model.values().all(|&deadline| deadline + TICK > now), "late");
                    }
                }
                match (timers.next_ns(), model.values().min()) {
                    (None, None) => {}
                    (Some(next), Some(&first)) => assert!(next < first + TICK, "woken too late"),
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    #[test]
    fn looking_often_finds_what_looking_once_finds() {
        for seed in 0..10 {
            let mut random = Random::new(seed);
            let mut now = random.below(1 << 40);
            let (mut often, mut once) = (Timers::new(20, now), Timers::new(20, now));
            for _ in 0..400 {
                let (id, bits) = (random.below(20) as u32, 10 + random.below(28));
                let deadline = now + random.below(1 << bits);
                often.set(id, deadline);
                once.set(id, deadline);
                let (bits, mut taken) = (random.below(34), Vec::new());
                let then = now + random.below(1 << bits);
                for part in 1..=8 {
                    let look = now + (then - now) / 8 * part;
                    while let Some(id) = often.take_due(if part == 8 { then } else { look }) {
                        taken.push(id);
                    }
                }
                now = then;
                let mut expected: Vec<u32> = core::iter::from_fn(|| once.take_due(now)).collect();
                taken.sort_unstable();
                expected.sort_unstable();
                assert_eq!(taken, expected);
                assert_eq!(often.next_ns(), once.next_ns());
            }
        }
    }

    #[test]
    fn waking_at_the_deadlines_alone_fires_everything() {
        let mut timers = Timers::new(3, 5);
        timers.set(0, 70_000_000_000);
        timers.set(1, 1_000_000);
        timers.set(2, 1_000_000_000);
        let mut wakes = 0;
        let mut order = Vec::new();
        while let Some(next) = timers.next_ns() {
            wakes += 1;
            while let Some(id) = timers.take_due(next) {
                order.push(id);
            }
        }
        assert_eq!(order, [1, 2, 0]);
        assert!(wakes <= 8, "{wakes} wakes for three timers");
    }
}
