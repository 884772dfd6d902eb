//! Every bound of the generator, in one place.

/// Connections of one run.
pub const CONNECTIONS_MAX: usize = 20_000;
/// Threads of one run.
pub const THREADS_MAX: usize = 16;
/// Longest run.
pub const DURATION_MAX_S: u64 = 24 * 3600;
/// Most operations of one run.
pub const OPERATIONS_MAX: u64 = 10_000_000_000;
/// Highest rate that may be asked for, operations a second.
pub const RATE_MAX: f64 = 100_000_000.0;
/// Requests that one connection may have outstanding in an open loop. When it is full, an arrival that is due
/// counts as *shed* by the generator: it is reported, and it never disappears from the figures.
pub const OUTSTANDING_MAX: usize = 1_024;
/// Times that one connection is opened again after it was closed by the other side.
pub const RECONNECTS_MAX: u32 = 100;
/// Longest value.
pub const VALUE_LEN_MAX: usize = 1 << 20;
/// Shortest key: a letter and eight digits.
pub const KEY_LEN_MIN: usize = 10;
/// Longest key of the memcached protocol.
pub const KEY_LEN_MAX: usize = 250;
/// Pages of a web server that are asked for.
pub const PAGES_MAX: usize = 10_000;
/// Keys in one key space.
pub const KEYS_MAX: u32 = 10_000_000;
/// Bytes of one reading turn; what does not fit is read in the next.
pub const READ_LEN: usize = 64 * 1024;
/// Longest time in which all connections must be open.
pub const CONNECT_TIMEOUT_S: u64 = 10;
/// Arrivals in one recording; recording stops there and says so.
pub const ARRIVALS_MAX: usize = 1_000_000;
/// Bytes of requests in one recording; recording stops there and says so.
pub const RECORDED_BYTES_MAX: usize = 256 << 20;
/// Answer bytes kept for one connection of a replay; a longer answer ends the replay of that connection.
pub const ANSWER_BYTES_MAX: usize = 64 << 20;
