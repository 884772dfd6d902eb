//! The open window, and how it is closed.

use crate::{Hash, Line, Window, sha256};
use alloc::format;
use core::fmt;
use nom_money::{Exact, Prices};
use nom_utility::{Contract, Served};

/// Cumulative counts since the start, as meters give them. Memory is what is held at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reading {
    /// Accepted operations.
    pub accepted: u64,
    /// Refused operations.
    pub refused: u64,
    /// Useful bytes.
    pub useful_bytes: u64,
    /// Outbound bytes on the wire.
    pub wire_bytes: u64,
    /// Core time.
    pub core_ns: u64,
    /// Accepted operations whose latency is known.
    pub measured: u64,
    /// Of these, above the contract's limit.
    pub late: u64,
    /// Sum of the known latencies.
    pub latency_sum_ns: u128,
    /// Sum of their squares, in ns^2.
    pub latency_square_sum: u128,
    /// Memory held now. It is billed from this reading until the next.
    pub memory_bytes: u64,
}

/// Why a reading cannot be settled. Nothing was changed; the next good reading settles what this one could not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The clock or a counter went back.
    WentBack(&'static str),
    /// An amount does not fit.
    Overflow,
    /// The ledger was closed.
    Closed,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::WentBack(what) => write!(f, "{what} went back; a meter was reset or lies"),
            Trouble::Overflow => {
                f.write_str("an amount is beyond 10^11 dollars; a meter or a price is wrong")
            }
            Trouble::Closed => f.write_str("the ledger was closed"),
        }
    }
}

/// Settles windows. It holds the open one and what is carried over; sealed windows are the caller's to keep.
#[derive(Debug, Clone)]
pub struct Ledger {
    contract: Contract,
    window_ns: u64,
    first_ns: u64,
    start_ns: u64,
    number: u64,
    prices: Prices,
    generation: u64,
    announced_ns: Option<u64>,
    /// The reading at the start of the open window.
    start: Reading,
    /// The latest reading, up to which memory was summed.
    last: Reading,
    last_ns: u64,
    memory_byte_ns: u128,
    lines: [Line; 4],
    previous: Hash,
    closed: bool,
}

impl Ledger {
    /// Opens a ledger. Windows end at multiples of `window_ns` (at least 1) after `now_ns`; no price is in force yet.
    pub fn new(contract: Contract, window_ns: u64, now_ns: u64, reading: Reading) -> Self {
        Self {
            contract,
            window_ns: window_ns.max(1),
            first_ns: now_ns,
            start_ns: now_ns,
            number: 1,
            prices: Prices::NONE,
            generation: 0,
            announced_ns: None,
            start: reading,
            last: reading,
            last_ns: now_ns,
            memory_byte_ns: 0,
            lines: [Line::default(); 4],
            previous: Hash::default(),
            closed: false,
        }
    }

    /// The contract that is settled.
    pub fn contract(&self) -> &Contract {
        &self.contract
    }

    /// When the open window ends: be back with a reading then.
    pub fn due_ns(&self) -> u64 {
        let into = (self.start_ns - self.first_ns) % self.window_ns;
        self.start_ns.saturating_add(self.window_ns - into)
    }

    /// Sealed windows so far.
    pub fn windows(&self) -> u64 {
        self.number - 1
    }

    /// Takes a reading, and seals the window when its end has come. A reading that comes late makes the window
    /// longer: a window ends where something was measured, not where one guesses.
    pub fn settle(&mut self, now_ns: u64, reading: &Reading) -> Result<Option<Window>, Trouble> {
        if now_ns < self.due_ns() {
            self.read(now_ns, reading)?;
            return Ok(None);
        }
        self.seal(now_ns, reading).map(Some)
    }

    /// New prices are in force from now. What came before is sealed at the old ones (nothing when the window has
    /// just begun, or when the prices are the same). `announced_ns` says how long before this moment they had been
    /// announced; the same prices again are no news, whoever announced them.
    pub fn set_prices(
        &mut self,
        prices: Prices,
        generation: u64,
        announced_ns: Option<u64>,
        now_ns: u64,
        reading: &Reading,
    ) -> Result<Option<Window>, Trouble> {
        let sealed = if prices == self.prices || now_ns == self.start_ns && *reading == self.start {
            self.read(now_ns, reading)?;
            None
        } else {
            Some(self.seal(now_ns, reading)?)
        };
        // With the prices unchanged a new generation shows from the open window on.
        if prices != self.prices {
            self.announced_ns = announced_ns;
        }
        self.prices = prices;
        self.generation = generation;
        Ok(sealed)
    }

    /// Seals what is open, whatever its length, and closes the ledger. `None` when nothing is open.
    pub fn close(&mut self, now_ns: u64, reading: &Reading) -> Result<Option<Window>, Trouble> {
        if now_ns == self.start_ns && *reading == self.start {
            self.closed = true;
            return Ok(None);
        }
        let window = self.seal(now_ns, reading)?;
        self.closed = true;
        Ok(Some(window))
    }

    /// The open window as if it ended now, marked as not sealed. For a live view.
    pub fn unsettled(&self, now_ns: u64, reading: &Reading) -> Result<Window, Trouble> {
        let mut copy = self.clone();
        copy.read(now_ns, reading)?;
        copy.window(now_ns, false)
    }

    fn read(&mut self, now_ns: u64, reading: &Reading) -> Result<(), Trouble> {
        if self.closed {
            return Err(Trouble::Closed);
        }
        let back = |now: u64, then: u64, what| if now < then { Err(Trouble::WentBack(what)) } else { Ok(()) };
        let last = &self.last;
        back(now_ns, self.last_ns, "the clock")?;
        back(reading.accepted, last.accepted, "the count of accepted operations")?;
        back(reading.refused, last.refused, "the count of refused operations")?;
        back(reading.useful_bytes, last.useful_bytes, "the count of useful bytes")?;
        back(reading.wire_bytes, last.wire_bytes, "the count of bytes on the wire")?;
        back(reading.core_ns, last.core_ns, "the core time")?;
        back(reading.measured, last.measured, "the count of measured operations")?;
        back(reading.late, last.late, "the count of late operations")?;
        if reading.latency_sum_ns < last.latency_sum_ns {
            return Err(Trouble::WentBack("the sum of latencies"));
        }
        if reading.latency_square_sum < last.latency_square_sum {
            return Err(Trouble::WentBack("the sum of squared latencies"));
        }
        // 2^64 bytes for 2^64 ns cannot leave 128 bits; more than one such stretch in a window can.
        let held = u128::from(last.memory_bytes) * u128::from(now_ns - self.last_ns);
        self.memory_byte_ns = self.memory_byte_ns.checked_add(held).ok_or(Trouble::Overflow)?;
        self.last = *reading;
        self.last_ns = now_ns;
        Ok(())
    }

    /// The window from the start to the latest reading.
    fn window(&self, end_ns: u64, sealed: bool) -> Result<Window, Trouble> {
        let (start, end) = (&self.start, &self.last);
        let served = Served {
            accepted: end.accepted - start.accepted,
            useful_bytes: end.useful_bytes - start.useful_bytes,
            measured: end.measured - start.measured,
            late: end.late - start.late,
            latency_sum_ns: end.latency_sum_ns - start.latency_sum_ns,
            latency_square_sum: end.latency_square_sum - start.latency_square_sum,
        };
        let mut window = Window {
            number: self.number,
            sealed,
            start_ns: self.start_ns,
            end_ns,
            generation: self.generation,
            announced_ns: self.announced_ns,
            prices: self.prices,
            accepted: served.accepted,
            refused: end.refused - start.refused,
            useful_bytes: served.useful_bytes,
            wire_bytes: end.wire_bytes - start.wire_bytes,
            core_ns: end.core_ns - start.core_ns,
            memory_byte_ns: self.memory_byte_ns,
            measured: served.measured,
            late: served.late,
            latency_sum_ns: served.latency_sum_ns,
            latency_square_sum: self.contract.needs_jitter().then_some(served.latency_square_sum),
            units: self.contract.units(&served),
            earned: self.contract.earned_per_unit(&served).ok_or(Trouble::Overflow)?,
            revenue: Line::default(),
            bandwidth: Line::default(),
            core: Line::default(),
            memory: Line::default(),
            previous: self.previous,
            hash: Hash::default(),
        };
        let exact: [Exact; 4] = window.exact().ok_or(Trouble::Overflow)?;
        let mut lines = [Line::default(); 4];
        for ((line, before), exact) in lines.iter_mut().zip(&self.lines).zip(exact) {
            *line = before.next(exact).ok_or(Trouble::Overflow)?;
        }
        [window.revenue, window.bandwidth, window.core, window.memory] = lines;
        window.hash = window.digest();
        Ok(window)
    }

    fn seal(&mut self, now_ns: u64, reading: &Reading) -> Result<Window, Trouble> {
        let before = self.clone();
        let sealed = self.read(now_ns, reading).and_then(|()| self.window(now_ns, true));
        let window = match sealed {
            Ok(window) => window,
            Err(trouble) => {
                *self = before;
                return Err(trouble);
            }
        };
        self.lines = window.lines();
        self.previous = window.hash;
        self.number += 1;
        self.start_ns = now_ns;
        self.start = self.last;
        self.memory_byte_ns = 0;
        Ok(window)
    }
}

impl Window {
    /// What the hash should be.
    pub fn digest(&self) -> Hash {
        sha256(format!("{}", self.body()).as_bytes())
    }
}
