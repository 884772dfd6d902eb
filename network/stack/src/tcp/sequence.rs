//! Sequence numbers: positions on a circle of 2^32 (RFC 9293, 3.4).

/// A position in a stream. Two of them can be compared while they are less than 2^31 apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Seq(pub u32);

impl Seq {
    /// The position `count` bytes further on.
    pub fn plus(self, count: u32) -> Self {
        Self(self.0.wrapping_add(count))
    }

    /// The position `count` bytes back.
    pub fn minus(self, count: u32) -> Self {
        Self(self.0.wrapping_sub(count))
    }

    /// Bytes from `earlier` to here.
    pub fn since(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }

    /// This position comes before the other.
    pub fn before(self, other: Self) -> bool {
        (self.0.wrapping_sub(other.0) as i32) < 0
    }

    /// This position comes after the other.
    pub fn after(self, other: Self) -> bool {
        other.before(self)
    }

    /// The later of two positions.
    pub fn max(self, other: Self) -> Self {
        if self.before(other) { other } else { self }
    }

    /// The earlier of two positions.
    pub fn min(self, other: Self) -> Self {
        if other.before(self) { other } else { self }
    }
}
