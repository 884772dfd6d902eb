//! What an application finds when it starts: its first instruction gets the address of a read-only [`Start`] in
//! `rdi`, on a stack with an unmapped page below it.

/// First word of a [`Start`], with the version of the whole contract.
pub const MAGIC: u64 = 0x6e6f_6d73_7400_0004;

/// Where everything is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Start {
    /// [`MAGIC`].
    pub magic: u64,
    /// The configuration text (UTF-8).
    pub configuration: u64,
    /// Its length in bytes.
    pub configuration_len: u64,
    /// What the image carries for the application alone (read-only).
    pub content: u64,
    /// Its length in bytes.
    pub content_len: u64,
    /// The page of the bulletin board (read-only).
    pub board: u64,
    /// The page of the clock (read-only), see [`crate::clock`].
    pub clock: u64,
    /// The page of the kernel's counters (read-only), see [`crate::statistics`].
    pub statistics: u64,
    /// How large the heap shall be, from `kernel.heap`.
    pub heap_len: u64,
    /// Not 0 when devices reach memory by the application's own addresses, once it is registered for them.
    pub confined: u64,
    /// Cores that the guest has.
    pub cores: u64,
    /// Not 0 when the image is trusted with physical addresses.
    pub trusted: u64,
    /// The application's own name: UTF-8, zeros behind it.
    pub name: [u8; crate::application::NAME_LEN_MAX as usize],
}

/// Bytes of a [`Start`].
pub const START_LEN: usize = 8 * 12 + crate::application::NAME_LEN_MAX as usize;
