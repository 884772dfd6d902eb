//! A bucket of permissions that fills with time: the bound on everything that others can make us say.

/// The bucket: full at first, and never holding more than one second's worth.
#[derive(Debug)]
pub(crate) struct Bucket {
    per_second: u32,
    left: u32,
    filled_ns: u64,
}

impl Bucket {
    pub(crate) fn new(per_second: u32) -> Self {
        Self { per_second, left: per_second, filled_ns: 0 }
    }

    /// Takes a permission if there is one.
    pub(crate) fn take(&mut self, now_ns: u64) -> bool {
        if self.left == 0 {
            let interval_ns = 1_000_000_000 / u64::from(self.per_second);
            let earned = now_ns.saturating_sub(self.filled_ns) / interval_ns;
            self.left = earned.min(u64::from(self.per_second)) as u32;
            if self.left == 0 {
                return false;
            }
            self.filled_ns = now_ns;
        }
        self.left -= 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_second_sees_more_than_twice_the_rate_and_a_long_time_no_more_than_the_rate() {
        let mut bucket = Bucket::new(100);
        let mut taken = 0;
        for now_ms in 0..10_000u64 {
            for _ in 0..5 {
                taken += u32::from(bucket.take(now_ms * 1_000_000));
            }
            if now_ms == 999 {
                assert!(taken <= 200, "{taken}");
            }
        }
        assert!((900..=1_100).contains(&taken), "{taken}");
    }
}
