//! Windows as rows of a table, for those who count with other tools.
//!
//! The columns are the fields of the JSON with their names and units, in whole numbers, so that nothing is lost; what
//! is unknown is empty. The hashes stay in the JSON: a table that somebody sorted proves nothing.

use crate::Window;
use alloc::string::String;
use core::fmt::Write;

/// The first line, without a newline.
pub const CSV_HEADER: &str = "window,sealed,start_ns,end_ns,generation,bandwidth_atto_per_byte,core_atto_per_ns,\
memory_atto_per_byte_s,accepted,refused,useful_bytes,wire_bytes,core_ns,memory_byte_ns,measured,late,latency_sum_ns,\
units,earned_ronto_per_unit,revenue_pico,revenue_total_pico,bandwidth_pico,bandwidth_total_pico,core_pico,\
core_total_pico,memory_pico,memory_total_pico,profit_pico,profit_total_pico,announced_ns,\
latency_square_sum";

impl Window {
    /// One row, without a newline, in the columns of [`CSV_HEADER`].
    pub fn to_csv(&self) -> String {
        let mut out = String::with_capacity(512);
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "{},{},{},{},{}",
            self.number, self.sealed, self.start_ns, self.end_ns, self.generation
        );
        let prices = [
            self.prices.bandwidth.map(|rate| rate.0),
            self.prices.core.map(|rate| rate.0),
            self.prices.memory.map(|rate| rate.0),
        ];
        for atto in prices {
            out.push(',');
            let _ = atto.map_or(Ok(()), |atto| write!(out, "{atto}"));
        }
        let counts = [self.accepted, self.refused, self.useful_bytes, self.wire_bytes, self.core_ns];
        for count in counts {
            let _ = write!(out, ",{count}");
        }
        let _ =
            write!(out, ",{},{},{},{}", self.memory_byte_ns, self.measured, self.late, self.latency_sum_ns);
        let _ = write!(out, ",{},{}", self.units, self.earned.0);
        for line in self.lines() {
            let _ = write!(out, ",{},{}", line.amount.0, line.total.0);
        }
        let _ = write!(out, ",{},{},", self.profit().0, self.profit_total().0);
        let _ = self.announced_ns.map_or(Ok(()), |announced_ns| write!(out, "{announced_ns}"));
        out.push(',');
        let _ = self.latency_square_sum.map_or(Ok(()), |squares| write!(out, "{squares}"));
        out
    }
}
