//! The ledger as the host keeps it: every sealed window is checked when it comes, and all of them are added up again.

use nom_ledger::{Window, verify};
use nom_linux_ledger::Export;
use nom_machine::trouble::{Context, Outcome, Trouble};
use nom_utility::Contract;
use nom_view::{dollars, grouped};

/// What came so far.
#[derive(Default)]
pub struct Ledger {
    contract: Option<Contract>,
    export: Option<Export>,
    total: Total,
    last: Option<Window>,
}

/// Sums over all windows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Total {
    /// Sealed windows.
    pub windows: u64,
    /// Accepted operations.
    pub accepted: u64,
    /// Refused operations.
    pub refused: u64,
    /// Bytes on the wire.
    pub wire_bytes: u64,
    /// Core time.
    pub core_ns: u64,
    /// Money of each line, in picodollars.
    pub revenue: i128,
    /// Cost of bytes.
    pub bandwidth: i128,
    /// Cost of cores.
    pub core: i128,
    /// Cost of memory.
    pub memory: i128,
    /// From the first window's begin to the last one's end.
    pub span_ns: u64,
}

impl Total {
    /// What it cost.
    pub fn cost(&self) -> i128 {
        self.bandwidth + self.core + self.memory
    }

    /// What remained.
    pub fn profit(&self) -> i128 {
        self.revenue - self.cost()
    }

    /// The ledger for a person, a line each.
    pub fn lines(&self) -> Vec<String> {
        let hours = self.span_ns as f64 / 3.6e12;
        let rate = |picodollars: i128| match hours > 0.0 {
            true => format!("{:>14}", dollars(picodollars as f64 / 1e12 / hours)),
            false => String::new(),
        };
        let line = |name: &str, picodollars: i128, what: String| {
            format!("{name:<9} {:>16} {}  {what}", money(picodollars), rate(picodollars))
        };
        vec![
            format!(
                "ledger    {} windows over {:.1} s, re-added and verified",
                self.windows,
                self.span_ns as f64 / 1e9
            ),
            line(
                "revenue",
                self.revenue,
                format!("{} accepted operations, {} refused", grouped(self.accepted), grouped(self.refused)),
            ),
            line("bandwidth", -self.bandwidth, format!("{} bytes on the wire", grouped(self.wire_bytes))),
            line("core", -self.core, format!("{:.3} core-seconds", self.core_ns as f64 / 1e9)),
            line("memory", -self.memory, String::new()),
            line("profit", self.profit(), String::new()),
        ]
    }
}

/// Picodollars as dollars, exactly.
pub fn money(picodollars: i128) -> String {
    let sign = if picodollars < 0 { "-" } else { "+" };
    let size = picodollars.unsigned_abs();
    format!("{sign}{}.{:012} $", size / 1_000_000_000_000, size % 1_000_000_000_000)
}

impl Ledger {
    /// A ledger whose revenue is recomputed by this contract, and whose windows are kept in a file.
    pub fn new(contract: Option<Contract>, export: Option<Export>) -> Self {
        Self { contract, export, ..Self::default() }
    }

    /// Takes the next window as the service sent it. One that holds is kept in the file, too.
    pub fn take(&mut self, line: &str) -> Outcome<&Window> {
        let window = Window::parse(line).context(|| "a window of the ledger cannot be read".into())?;
        let pair: Vec<Window> = self.last.take().into_iter().chain([window]).collect();
        verify(&pair, self.contract.as_ref()).context(|| "the ledger does not hold".into())?;
        let window = pair.into_iter().next_back().expect("one was put in");
        if self.total.windows == 0 && window.number != 1 {
            return Err(Trouble::new(format!(
                "the ledger begins with window {}: some are lost",
                window.number
            )));
        }
        let total = &mut self.total;
        total.windows += 1;
        total.accepted = total.accepted.saturating_add(window.accepted);
        total.refused = total.refused.saturating_add(window.refused);
        total.wire_bytes = total.wire_bytes.saturating_add(window.wire_bytes);
        total.core_ns = total.core_ns.saturating_add(window.core_ns);
        total.revenue = total.revenue.saturating_add(window.revenue.amount.0);
        total.bandwidth = total.bandwidth.saturating_add(window.bandwidth.amount.0);
        total.core = total.core.saturating_add(window.core.amount.0);
        total.memory = total.memory.saturating_add(window.memory.amount.0);
        total.span_ns = total.span_ns.saturating_add(window.end_ns.saturating_sub(window.start_ns));
        if let Some(export) = &mut self.export {
            export.seal(&window).context(|| "the windows of this run".into())?;
        }
        Ok(self.last.insert(window))
    }

    /// The service has closed its ledger.
    pub fn close(&mut self) -> Outcome<()> {
        match &mut self.export {
            Some(export) => export.close().context(|| "the windows of this run".into()),
            None => Ok(()),
        }
    }

    /// The sums, once more against what the service carried along.
    pub fn total(&self) -> Outcome<&Total> {
        if let Some(last) = &self.last {
            let carried = [last.revenue, last.bandwidth, last.core, last.memory].map(|line| line.total.0);
            let total = &self.total;
            if carried != [total.revenue, total.bandwidth, total.core, total.memory] {
                return Err(Trouble::new("the ledger's running totals are not the sums of its windows"));
            }
        }
        Ok(&self.total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_exact() {
        assert_eq!(money(0), "+0.000000000000 $");
        assert_eq!(money(-1), "-0.000000000001 $");
        assert_eq!(money(12_345_678_901_234_567), "+12345.678901234567 $");
    }

    #[test]
    fn what_is_no_window_is_refused() {
        assert!(Ledger::default().take("{}").unwrap_err().to_string().contains("cannot be read"));
        assert_eq!(*Ledger::default().total().unwrap(), Total::default());
        assert!(Total { span_ns: 1, ..Total::default() }.lines()[1].starts_with("revenue "));
    }
}
