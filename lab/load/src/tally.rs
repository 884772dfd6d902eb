//! What was counted and how long it took.

use hdrhistogram::Histogram;

/// Longest latency that the histogram tells apart; longer ones count there.
const LATENCY_MAX_NS: u64 = 120_000_000_000;

/// Counts and latencies.
#[derive(Debug, Clone)]
pub struct Tally {
    /// Requests handed to a socket, or due when a queue was already full.
    pub sent: u64,
    /// Right answers: hits, misses and stored values.
    pub answered: u64,
    /// Of these, values that were found.
    pub hits: u64,
    /// Of these, keys that were not found.
    pub misses: u64,
    /// Of these, values that were stored.
    pub stored: u64,
    /// Error lines of the protocol.
    pub refused: u64,
    /// Answers that may not be given; each one closes its connection.
    pub wrong: u64,
    /// Requests whose connection ended, or the run, before the answer came.
    pub lost: u64,
    /// Arrivals that were due when their connection had no room left ([`crate::bounds::OUTSTANDING_MAX`]).
    pub shed: u64,
    /// Connections that were opened again.
    pub reconnects: u64,
    /// Connections that ended before the run did.
    pub closed: u64,
    /// Bytes sent and received as payload.
    pub bytes_out: u64,
    /// Payload received.
    pub bytes_in: u64,
    /// When the last answer came, from the start of the run.
    pub last_answer_ns: u64,
    /// Latency of answered operations from their intended time, in nanoseconds.
    pub latency_ns: Histogram<u64>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            sent: 0,
            answered: 0,
            hits: 0,
            misses: 0,
            stored: 0,
            refused: 0,
            wrong: 0,
            lost: 0,
            shed: 0,
            reconnects: 0,
            closed: 0,
            bytes_out: 0,
            bytes_in: 0,
            last_answer_ns: 0,
            latency_ns: Histogram::new_with_bounds(1, LATENCY_MAX_NS, 3)
                .expect("the bounds of the histogram are constants and valid"),
        }
    }
}

impl Tally {
    /// Adds another one.
    pub fn add(&mut self, other: &Tally) {
        self.sent += other.sent;
        self.answered += other.answered;
        self.hits += other.hits;
        self.misses += other.misses;
        self.stored += other.stored;
        self.refused += other.refused;
        self.wrong += other.wrong;
        self.lost += other.lost;
        self.shed += other.shed;
        self.reconnects += other.reconnects;
        self.closed += other.closed;
        self.bytes_out += other.bytes_out;
        self.bytes_in += other.bytes_in;
        self.last_answer_ns = self.last_answer_ns.max(other.last_answer_ns);
        self.latency_ns += &other.latency_ns;
    }

    /// Notes the latency of one answered operation.
    pub fn took(&mut self, latency_ns: u64) {
        self.latency_ns.saturating_record(latency_ns.max(1));
    }

    /// The latency below which this part of the operations stayed (0.99 for the 99th percentile).
    pub fn quantile_ns(&self, part: f64) -> u64 {
        self.latency_ns.value_at_quantile(part)
    }

    /// Counted part of the operations above a limit.
    pub fn fraction_above(&self, limit_ns: u64) -> f64 {
        if self.latency_ns.is_empty() {
            return 0.0;
        }
        let above = self.latency_ns.count_between(limit_ns.saturating_add(1), u64::MAX);
        above as f64 / self.latency_ns.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_tallies_is_the_tally_of_the_sum() {
        let (mut all, mut left, mut right) = (Tally::default(), Tally::default(), Tally::default());
        for i in 1..=1000u64 {
            all.took(i * 1000);
            if i % 2 == 0 { left.took(i * 1000) } else { right.took(i * 1000) }
        }
        left.add(&right);
        assert_eq!(left.latency_ns, all.latency_ns);
        assert_eq!(all.quantile_ns(0.5) / 1000, 500);
        assert!((all.fraction_above(900_000) - 0.1).abs() < 0.002);
        assert_eq!(Tally::default().fraction_above(1), 0.0);
    }
}
