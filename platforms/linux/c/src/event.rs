//! What C is handed: laid out as in the header, which a test compares.

/// Connections wait to be accepted on the port in `detail`.
pub const ACCEPT: u32 = 1;
/// Bytes came, or the other side will send no more.
pub const READABLE: u32 = 2;
/// There is room again, after too little.
pub const WRITABLE: u32 = 4;
/// The connection is gone; `detail` says why.
pub const ENDED: u32 = 8;
/// A timer was due: its name is in `connection`, its tag in `tag`.
pub const TIMER: u32 = 16;
/// Other prices are in force.
pub const PRICE: u32 = 32;
/// The service begins to end.
pub const DRAIN: u32 = 64;

/// Something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Event {
    /// What, as a sum.
    pub what: u32,
    /// More about it.
    pub detail: u32,
    /// Where.
    pub connection: i64,
    /// The program's own word for that.
    pub tag: u64,
}

/// A price in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Price {
    /// Attodollars (10^-18 dollars) per unit of the resource.
    pub atto_per_unit: i64,
    /// How long it may still be decided by, -1 until it is replaced.
    pub valid_for_ns: i64,
    /// Grows with every publication.
    pub generation: u64,
}
