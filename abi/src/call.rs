//! Calls into the kernel: the `syscall` instruction with the number in `rax` and arguments in `rdi`, `rsi`, `rdx`,
//! `r10`, `r8`. Afterwards `rax` is 0 or an [`CallError`] and `rdx` holds the value; `rcx`, `r11` and the vector
//! registers are lost, all others stay.
//!
//! The numbers start far above those of any other system, so a foreign call is recognised; it becomes an upcall
//! ([`crate::upcall::Cause::ForeignCall`]), or without a handler answers [`FOREIGN_REFUSED`] in `rax`. One with a lower
//! number keeps its vector registers.

/// First number of ours ("nom" in the upper bytes).
pub const BASE: u64 = 0x6e6f_6d00;
/// What a foreign call answers when no upcall handler is registered: Linux' `-ENOSYS`.
pub const FOREIGN_REFUSED: u64 = -38_i64 as u64;
/// The longest text of one `Log` call in bytes.
pub const LOG_LEN_MAX: u64 = 1024;
/// The most pages that one `Map`, `Protect` or `Unmap` call may name (64 GiB).
pub const PAGES_MAX: u64 = 1 << 24;
/// Bytes of a page and of a frame.
pub const PAGE_LEN: u64 = 4096;
/// End of the addresses that an application may use. The last page below the canonical hole stays free, so that no
/// `syscall` instruction can end at its edge.
pub const USER_END: u64 = 0x7fff_ffff_f000;
/// The lowest address that can be mapped: null pointers must fault.
pub const USER_START: u64 = 0x1_0000;

/// What an application may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Call {
    /// Does nothing but let waiting events in: what it costs to call.
    Nothing = BASE,
    /// `(text, len)`: one line on the serial console.
    Log,
    /// `(code)`: the application ends; see [`crate::exit`].
    Exit,
    /// `(core, entry, stack, argument)`: makes a free core the caller's and starts a context there: at `entry`, with
    /// this stack pointer, the argument in `rdi`, and no upcalls registered. Refused as taken, too, while a context that was
    /// moved home from another core has not left.
    AcquireCore,
    /// `(core)`: gives a core back that was acquired; what runs there ends at once, the caller too if it runs there. A
    /// context that goes on at home because its core was taken ends, whichever core it names.
    ReleaseCore,
    /// `(address, pages, flags, colours, colour)`: fresh zeroed frames at a chosen address, all or none. With
    /// [`CONTIGUOUS`] the value is the physical address of the first. Frames of a colour are those whose number leaves
    /// `colour` when divided by `colours` (a power of two, [`COLOURS_MAX`] at most; 0: any frame will do); of contiguous
    /// ones it is the first.
    ///
    /// At most [`FILL_FRAMES_MAX`] frames are zeroed at a time; then interrupts and the calls of other cores come in, and
    /// the caller goes on at its `syscall` instruction with the pages that are done in the upper half of `rax`.
    Map,
    /// `(address, pages, flags)`: takes mappings away and gives their frames back; the value is how many. A range may
    /// not cut a page of 2 MiB, and with [`SPARSE`] may have pages on which nothing is mapped.
    Unmap,
    /// `(address, pages, flags)`: changes the rights of pages that `Map` made. A range may not cut a page of 2 MiB.
    Protect,
    /// `(device, address, place of a [`crate::device::DeviceInfo`])`: makes a device the caller's and maps its
    /// registers from `address` on, [`crate::device::WINDOW_LEN`] bytes at most.
    AcquireDevice,
    /// `(device)`: the device is reset, its registers disappear.
    ReleaseDevice,
    /// `(address, pages)`: lets the caller's devices reach these pages of its own, at the same addresses and with the
    /// rights that it has itself, until they are unmapped or withdrawn. Only where an IOMMU confines devices; in a
    /// trusted image they reach everything, by physical addresses.
    RegisterDma,
    /// `(address, pages)`: they no longer do.
    WithdrawDma,
    /// `(events)`: lets the interrupts in again that these events stand for ([`crate::upcall::device_event`]). From now
    /// on the calling context hears them, and they come to its core.
    Unmask,
    /// `(until_ns, events)`: unmasks like `Unmask`, then halts the core until an event or that time ([`FOREVER`]:
    /// no limit). The value is the events that came; they are not delivered as upcalls any more.
    Wait,
    /// `(at_ns)`: one timer event at that time; [`FOREVER`] takes it back.
    SetTimer,
    /// `(place of [`PRICE_WORDS`] words)`: puts prices on the board; the value is their generation. Only the
    /// publisher that the image names may.
    PublishPrices,
    /// `(place of a [`crate::upcall::Registration`])`: where the calling context's upcalls go from now on.
    RegisterUpcalls,
    /// `(name, len)`: starts an application of the image; the caller may end it.
    StartApplication,
    /// `(name, len)`: ends an application that the caller has started, with [`crate::exit::ENDED`].
    EndApplication,
    /// `(name, len)`: the value is a [`crate::application::Status`].
    ApplicationStatus,
    /// `(name, len, address)`: opens the caller's end of a channel and maps its memory there; the value is
    /// [`crate::channel::opened`]. The calling context hears.
    OpenChannel,
    /// `(channel)`: closes the caller's end; its memory disappears.
    CloseChannel,
    /// `(channel)`: the peer's context gets the channel's event. Refused when there is no peer.
    NotifyChannel,
    /// `(core)`: the caller's context on that core gets the event [`crate::upcall::CALLED`].
    CallCore,
    /// `(device, vector, event)`: the interrupts of this MSI-X vector of the caller's device become this event of the
    /// caller's, one of [`crate::upcall::ALL_DEVICES`], until the device is given back. Which number an event has is the
    /// owner's affair alone.
    Steer,
    /// `(port, what, value)`: reads a port of the caller's, or with [`PORT_WRITE`] writes it; `what` says how many bytes (1,
    /// 2 or 4). Its own are the ports of its devices ([`crate::device::DeviceInfo::ports`]) and those that the image names.
    Port,
}

/// All calls in the order of their numbers.
pub const CALLS: [Call; 26] = [
    Call::Nothing,
    Call::Log,
    Call::Exit,
    Call::AcquireCore,
    Call::ReleaseCore,
    Call::Map,
    Call::Unmap,
    Call::Protect,
    Call::AcquireDevice,
    Call::ReleaseDevice,
    Call::RegisterDma,
    Call::WithdrawDma,
    Call::Unmask,
    Call::Wait,
    Call::SetTimer,
    Call::PublishPrices,
    Call::RegisterUpcalls,
    Call::StartApplication,
    Call::EndApplication,
    Call::ApplicationStatus,
    Call::OpenChannel,
    Call::CloseChannel,
    Call::NotifyChannel,
    Call::CallCore,
    Call::Steer,
    Call::Port,
];

impl Call {
    /// The call with this number.
    pub fn from_number(number: u64) -> Option<Call> {
        CALLS.get(usize::try_from(number.checked_sub(BASE)?).ok()?).copied()
    }
}

/// A time that never comes.
pub const FOREVER: u64 = u64::MAX;

/// `Map`: the pages can be written. Together with [`EXECUTE`] it is refused.
pub const WRITE: u64 = 1;
/// `Map`: the pages can be executed.
pub const EXECUTE: u64 = 2;
/// `Map`: the frames lie next to each other and their physical address is told (trusted images only).
pub const CONTIGUOUS: u64 = 4;
/// `Map`: in pages of 2 MiB; address and pages are multiples of [`LARGE_PAGES`]. Not together with a colour.
pub const LARGE: u64 = 8;
/// `Map`, `Protect`: the pages keep their frames and every access faults. With no other right.
pub const NO_ACCESS: u64 = 16;
/// `Unmap`: pages on which nothing is mapped are passed over.
pub const SPARSE: u64 = 32;
/// `Port`: it is written.
pub const PORT_WRITE: u64 = 8;
/// Pages of 4 KiB in one of 2 MiB.
pub const LARGE_PAGES: u64 = 512;
/// The most colours that frames can be divided into.
pub const COLOURS_MAX: u64 = 512;
/// The most frames that one `Map` zeroes before it lets others in.
pub const FILL_FRAMES_MAX: u64 = 64;

/// Why a call was refused. A refused call changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum CallError {
    /// No call of ours has this number.
    UnknownCall = 1,
    /// The address is not the application's, not mapped with the needed rights, or not aligned.
    BadAddress,
    /// The length is zero or beyond its bound.
    BadLength,
    /// Some other argument has no meaning.
    BadArgument,
    /// Not yours.
    NotOwner,
    /// Already someone's, perhaps yours.
    Taken,
    /// Too few free frames, or none that lie together.
    NoMemory,
    /// There is no such thing.
    NoSuch,
    /// Only an image that says `image.trusted = yes` may, or one in a machine with an IOMMU before this device.
    NotTrusted,
    /// The image names another publisher of prices.
    NotPublisher,
    /// Something is mapped there.
    AlreadyMapped,
    /// Nothing is mapped there, or not by `Map`.
    NotMapped,
    /// The text is not UTF-8.
    NotText,
    /// The peer is not there, or not any more.
    Gone,
}

const ERRORS: [CallError; 14] = [
    CallError::UnknownCall,
    CallError::BadAddress,
    CallError::BadLength,
    CallError::BadArgument,
    CallError::NotOwner,
    CallError::Taken,
    CallError::NoMemory,
    CallError::NoSuch,
    CallError::NotTrusted,
    CallError::NotPublisher,
    CallError::AlreadyMapped,
    CallError::NotMapped,
    CallError::NotText,
    CallError::Gone,
];

impl CallError {
    /// The error that `rax` names; a number that is none counts as an unknown call.
    pub fn from_number(number: u64) -> CallError {
        ERRORS
            .get(usize::try_from(number).unwrap_or(0).wrapping_sub(1))
            .copied()
            .unwrap_or(CallError::UnknownCall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_name_what_they_count() {
        for (place, call) in CALLS.into_iter().enumerate() {
            assert_eq!(call as u64, BASE + place as u64);
            assert_eq!(Call::from_number(call as u64), Some(call));
        }
        assert_eq!(Call::from_number(1), None);
        assert_eq!(Call::from_number(BASE + CALLS.len() as u64), None);
        for error in ERRORS {
            assert_eq!(CallError::from_number(error as u64), error);
        }
        assert_eq!(CallError::from_number(0), CallError::UnknownCall);
        assert_eq!(CallError::from_number(u64::MAX), CallError::UnknownCall);
    }
}
