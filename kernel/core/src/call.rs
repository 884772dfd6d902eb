//! Decoding calls: everything about a call is checked here, and nothing is changed, so that carrying it out cannot
//! fail half way.

use nom_abi::application;
use nom_abi::board::PRICE_WORDS;
use nom_abi::call::{
    COLOURS_MAX, CONTIGUOUS, Call, CallError, EXECUTE, LARGE, LARGE_PAGES, LOG_LEN_MAX, NO_ACCESS, PAGE_LEN,
    PAGES_MAX, PORT_WRITE, SPARSE, USER_END, USER_START, WRITE,
};
use nom_abi::device::state::CONFINED;
use nom_abi::device::{DEVICE_INFO_WORDS, WINDOW_LEN};
use nom_abi::exit::CODE_MAX;
use nom_abi::upcall::{BLOCK_ALIGNMENT, BLOCK_LEN, FRAME_LEN, REGISTRATION_WORDS, Registration};

use crate::Application;
use crate::channels::{Channel, Channels};
use crate::cores::{Core, Cores};
use crate::devices::{Device, Devices, Line};
use crate::frames::Shape;

/// What decoding needs to know of the machine. Asking changes nothing.
pub trait Facts {
    /// Who calls.
    fn caller(&self) -> Application;
    /// The image is trusted with physical addresses.
    fn trusted(&self) -> bool;
    /// The caller is the publisher that the image names.
    fn publisher(&self) -> bool;
    /// Who owns which core.
    fn cores(&self) -> &Cores;
    /// Who owns which device.
    fn devices(&self) -> &Devices;
    /// Who has which channel open.
    fn channels(&self) -> &Channels;
    /// Another context can be started.
    fn context_room(&self) -> bool;
    /// The caller has a context on that core.
    fn has_context_on(&self, core: Core) -> bool;
    /// The calling context goes on at home because its core was taken.
    fn displaced(&self) -> bool;
    /// The caller can read all these bytes.
    fn readable(&self, start: u64, len: u64) -> bool;
    /// The caller can write all these bytes.
    fn writable(&self, start: u64, len: u64) -> bool;
    /// The caller can execute the instruction there.
    fn executable(&self, address: u64) -> bool;
    /// Nothing is mapped on these pages.
    fn unmapped(&self, start: u64, pages: u64) -> bool;
    /// All these pages have frames of the caller's own.
    fn owned(&self, start: u64, pages: u64) -> bool;
    /// On these pages lies nothing but frames of the caller's own.
    fn only_owned(&self, start: u64, pages: u64) -> bool;
    /// A page of 2 MiB lies there.
    fn large(&self, address: u64) -> bool;
    /// Free frames.
    fn free_frames(&self) -> u64;
    /// An IOMMU confines the devices of this image.
    fn confined(&self) -> bool;
    /// There are that many free pieces of that shape.
    fn pieces(&self, shape: Shape, pieces: u64) -> bool;
    /// So many ports from this one on are the caller's.
    fn owns_ports(&self, first: u16, count: u16) -> bool;
    /// Pages of address space that the device's registers take.
    fn device_pages(&self, device: Device) -> u64;
}

/// Rights of pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    /// They can be read, and what else is said here; else nothing.
    pub access: bool,
    /// They can be written.
    pub write: bool,
    /// They can be executed; never together with writing.
    pub execute: bool,
}

/// A call that can be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the arguments that abi/src/call.rs describes")]
pub enum Request {
    Nothing,
    /// The text is readable; whether it is UTF-8 is seen when it is copied.
    Log {
        text: u64,
        len: u64,
    },
    Exit {
        code: u8,
    },
    /// The entry can be executed.
    AcquireCore {
        core: Core,
        entry: u64,
        stack: u64,
        argument: u64,
    },
    ReleaseCore(Core),
    /// The caller's core was taken and it ends.
    Leave,
    /// There are frames enough for the pages and for the tables that map them.
    Map {
        address: u64,
        pages: u64,
        rights: Rights,
        /// What each piece lies on.
        shape: Shape,
        /// In pages of 2 MiB.
        large: bool,
        /// The value is the first page's physical address.
        tell: bool,
    },
    /// A `Map` goes on: what it has reserved is filled with zeroes from this page on.
    Fill {
        address: u64,
        pages: u64,
        done: u64,
        tell: bool,
    },
    Unmap {
        address: u64,
        pages: u64,
    },
    Protect {
        address: u64,
        pages: u64,
        rights: Rights,
    },
    /// There is room at the address, and the place can be written.
    AcquireDevice {
        device: Device,
        address: u64,
        place: u64,
    },
    ReleaseDevice(Device),
    /// There are frames enough for the tables.
    RegisterDma {
        address: u64,
        pages: u64,
    },
    WithdrawDma {
        address: u64,
        pages: u64,
    },
    Unmask {
        events: u64,
    },
    Wait {
        until_ns: u64,
        events: u64,
    },
    SetTimer {
        at_ns: u64,
    },
    /// The words are readable.
    PublishPrices {
        place: u64,
    },
    /// The words are readable; [`registration`] checks what they say.
    RegisterUpcalls {
        place: u64,
    },
    /// The name is readable; whether there is such an application is seen when it is copied.
    StartApplication(Name),
    EndApplication(Name),
    ApplicationStatus(Name),
    /// The name is readable and the address may be mapped; what the channel is is seen when it is copied.
    OpenChannel {
        name: Name,
        address: u64,
    },
    CloseChannel(Channel),
    NotifyChannel(Channel),
    CallCore(Core),
    /// The line is one of the caller's, and the event one of a device's.
    Steer {
        line: Line,
        event: u64,
    },
    /// All its bytes are the caller's ports.
    Port {
        port: u16,
        bytes: u16,
        /// What is written; `None`: it is read.
        value: Option<u32>,
    },
}

/// A name in the caller's memory: readable, of a length that a name may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name {
    /// Where it is.
    pub text: u64,
    /// Its bytes.
    pub len: u64,
}

/// Frames that the tables of a run of pages take at most.
pub fn table_frames_max(pages: u64) -> u64 {
    pages / 512 + pages / (512 * 512) + pages / (512 * 512 * 512) + 6
}

/// Checks a call.
pub fn decode(number: u64, arguments: [u64; 5], facts: &impl Facts) -> Result<Request, CallError> {
    let [first, second, third, fourth, _] = arguments;
    let (number, done) =
        if number as u32 == Call::Map as u32 { (Call::Map as u64, number >> 32) } else { (number, 0) };
    let call = Call::from_number(number).ok_or(CallError::UnknownCall)?;
    Ok(match call {
        Call::Nothing => Request::Nothing,
        Call::Log => {
            if second == 0 || second > LOG_LEN_MAX {
                return Err(CallError::BadLength);
            }
            readable(facts, first, second)?;
            Request::Log { text: first, len: second }
        }
        Call::Exit => Request::Exit { code: first.min(CODE_MAX) as u8 },
        Call::AcquireCore => {
            let core = facts.cores().named(first)?;
            facts.cores().may_acquire(core, facts.caller())?;
            if !facts.context_room() || facts.free_frames() == 0 {
                return Err(CallError::NoMemory);
            }
            // Where the stack is is the application's affair, but no register gets an address of the kernel.
            if !facts.executable(second) || third > USER_END {
                return Err(CallError::BadAddress);
            }
            Request::AcquireCore { core, entry: second, stack: third, argument: fourth }
        }
        Call::ReleaseCore if facts.displaced() => Request::Leave,
        Call::ReleaseCore => {
            let core = facts.cores().named(first)?;
            facts.cores().may_release(core, facts.caller())?;
            Request::ReleaseCore(core)
        }
        Call::Map if done != 0 => {
            pages_range(first, second)?;
            let tell = third & CONTIGUOUS != 0;
            if tell && !facts.trusted() {
                return Err(CallError::NotTrusted);
            }
            Request::Fill { address: first, pages: second, done, tell }
        }
        Call::Map => map(arguments, facts)?,
        Call::Unmap => {
            if third & !SPARSE != 0 {
                return Err(CallError::BadArgument);
            }
            owned_pages(facts, first, second, third == SPARSE)?;
            Request::Unmap { address: first, pages: second }
        }
        Call::Protect => {
            let rights = rights(third)?;
            owned_pages(facts, first, second, false)?;
            Request::Protect { address: first, pages: second, rights }
        }
        Call::AcquireDevice => acquire_device(first, second, third, facts)?,
        Call::ReleaseDevice => {
            let device = facts.devices().named(first)?;
            facts.devices().may_release(device, facts.caller())?;
            Request::ReleaseDevice(device)
        }
        Call::RegisterDma => {
            if !facts.confined() {
                return Err(CallError::NoSuch);
            }
            owned_pages(facts, first, second, false)?;
            if facts.free_frames() < table_frames_max(second) + 1 {
                return Err(CallError::NoMemory);
            }
            Request::RegisterDma { address: first, pages: second }
        }
        Call::WithdrawDma => {
            if !facts.confined() {
                return Err(CallError::NoSuch);
            }
            owned_pages(facts, first, second, false)?;
            Request::WithdrawDma { address: first, pages: second }
        }
        Call::Unmask => Request::Unmask { events: own_events(facts, first)? },
        Call::Wait => Request::Wait { until_ns: first, events: own_events(facts, second)? },
        Call::SetTimer => Request::SetTimer { at_ns: first },
        Call::PublishPrices => {
            if !facts.publisher() {
                return Err(CallError::NotPublisher);
            }
            readable(facts, first, PRICE_WORDS as u64 * 8)?;
            Request::PublishPrices { place: first }
        }
        Call::RegisterUpcalls => {
            readable(facts, first, REGISTRATION_WORDS as u64 * 8)?;
            Request::RegisterUpcalls { place: first }
        }
        Call::StartApplication => Request::StartApplication(name(facts, first, second)?),
        Call::EndApplication => Request::EndApplication(name(facts, first, second)?),
        Call::ApplicationStatus => Request::ApplicationStatus(name(facts, first, second)?),
        Call::OpenChannel => {
            let name = name(facts, first, second)?;
            pages_range(third, 1)?;
            Request::OpenChannel { name, address: third }
        }
        Call::CloseChannel => Request::CloseChannel(facts.channels().named(first, facts.caller())?),
        Call::NotifyChannel => {
            let channel = facts.channels().named(first, facts.caller())?;
            facts.channels().peer(channel, facts.caller()).ok_or(CallError::Gone)?;
            Request::NotifyChannel(channel)
        }
        Call::CallCore => {
            let core = facts.cores().named(first)?;
            if !facts.has_context_on(core) {
                return Err(CallError::NotOwner);
            }
            Request::CallCore(core)
        }
        Call::Steer => {
            let line = facts.devices().may_steer([first, second], third, facts.caller())?;
            Request::Steer { line, event: third }
        }
        Call::Port => {
            let (bytes, write) = (second & !PORT_WRITE, second & PORT_WRITE != 0);
            if ![1, 2, 4].contains(&bytes) {
                return Err(CallError::BadArgument);
            }
            let port = u16::try_from(first).map_err(|_| CallError::NoSuch)?;
            if !facts.owns_ports(port, bytes as u16) {
                return Err(CallError::NotOwner);
            }
            Request::Port { port, bytes: bytes as u16, value: write.then_some(third as u32) }
        }
    })
}

fn map(arguments: [u64; 5], facts: &impl Facts) -> Result<Request, CallError> {
    let [address, pages, flags, colours, colour] = arguments;
    let rights = rights(flags & !(CONTIGUOUS | LARGE))?;
    let (contiguous, large) = (flags & CONTIGUOUS != 0, flags & LARGE != 0);
    if contiguous && !facts.trusted() {
        return Err(CallError::NotTrusted);
    }
    pages_range(address, pages)?;
    let page_frames = if large { LARGE_PAGES } else { 1 };
    if !pages.is_multiple_of(page_frames) {
        return Err(CallError::BadLength);
    }
    if !address.is_multiple_of(page_frames * PAGE_LEN) {
        return Err(CallError::BadAddress);
    }
    let coloured = colours.is_power_of_two() && colours <= COLOURS_MAX && colour < colours;
    let (divisor, rest) = match (colours, colour) {
        (0, 0) => (page_frames, 0),
        _ if coloured && !large => (colours, colour),
        _ => return Err(CallError::BadArgument),
    };
    let shape = Shape { count: if contiguous { pages } else { page_frames }, divisor, rest };
    // The count first: it bounds the walk over the tables.
    if facts.free_frames() < pages + table_frames_max(pages / page_frames) {
        return Err(CallError::NoMemory);
    }
    if !facts.unmapped(address, pages) {
        return Err(CallError::AlreadyMapped);
    }
    if shape != Shape::ANY && !facts.pieces(shape, pages / shape.count) {
        return Err(CallError::NoMemory);
    }
    Ok(Request::Map { address, pages, rights, shape, large, tell: contiguous })
}

fn acquire_device(device: u64, address: u64, place: u64, facts: &impl Facts) -> Result<Request, CallError> {
    let device = facts.devices().named(device)?;
    // A device that no IOMMU stands before can be told to reach everything.
    let known = facts.devices().known(device).ok_or(CallError::NoSuch)?;
    if !facts.trusted() && (!facts.confined() || known.state & CONFINED == 0) {
        return Err(CallError::NotTrusted);
    }
    facts.devices().may_acquire(device, facts.caller())?;
    let pages = facts.device_pages(device);
    if pages == 0 || pages > WINDOW_LEN / PAGE_LEN {
        return Err(CallError::NoSuch);
    }
    pages_range(address, pages)?;
    if !place.is_multiple_of(8) {
        return Err(CallError::BadAddress);
    }
    writable(facts, place, DEVICE_INFO_WORDS as u64 * 8)?;
    if !facts.unmapped(address, pages) {
        return Err(CallError::AlreadyMapped);
    }
    // One more for the root of the device's own tables.
    if facts.free_frames() < table_frames_max(pages) + 1 {
        return Err(CallError::NoMemory);
    }
    Ok(Request::AcquireDevice { device, address, place })
}

/// Checks where upcalls shall go. The block and the stack can be taken away later: then the kernel finds out when it
/// wants to use them, and ends the application.
pub fn registration(
    words: &[u64; REGISTRATION_WORDS],
    facts: &impl Facts,
) -> Result<Registration, CallError> {
    let [entry, block, stack, stack_len, return_start, return_end, again, moves] = *words;
    for address in [entry, return_start, again] {
        if !facts.executable(address) {
            return Err(CallError::BadAddress);
        }
    }
    // The range is a handful of instructions; a long one would swallow every event of the program.
    if return_end <= return_start || return_end - return_start > 64 {
        return Err(CallError::BadLength);
    }
    // So it lies on one page, and the kernel walks to it once.
    if !block.is_multiple_of(BLOCK_ALIGNMENT) {
        return Err(CallError::BadAddress);
    }
    writable(facts, block, BLOCK_LEN)?;
    if !(FRAME_LEN..=PAGES_MAX * PAGE_LEN).contains(&stack_len) {
        return Err(CallError::BadLength);
    }
    let end = stack.checked_add(stack_len).ok_or(CallError::BadAddress)?;
    writable(facts, end - FRAME_LEN, FRAME_LEN)?;
    Ok(Registration { entry, block, stack, stack_len, return_start, return_end, again, moves })
}

fn name(facts: &impl Facts, text: u64, len: u64) -> Result<Name, CallError> {
    if len == 0 || len > application::NAME_LEN_MAX {
        return Err(CallError::BadLength);
    }
    readable(facts, text, len)?;
    Ok(Name { text, len })
}

/// Whether a channel's memory can be mapped there: the second look, when its size is known. Changes nothing.
pub fn channel_fits(address: u64, pages: u64, new: bool, facts: &impl Facts) -> Result<(), CallError> {
    pages_range(address, pages)?;
    if facts.free_frames() < table_frames_max(pages) + if new { pages } else { 0 } {
        return Err(CallError::NoMemory);
    }
    if !facts.unmapped(address, pages) {
        return Err(CallError::AlreadyMapped);
    }
    if new && !facts.pieces(Shape::together(pages), 1) {
        return Err(CallError::NoMemory);
    }
    Ok(())
}

fn rights(flags: u64) -> Result<Rights, CallError> {
    if ![0, WRITE, EXECUTE, NO_ACCESS].contains(&flags) {
        return Err(CallError::BadArgument);
    }
    Ok(Rights { access: flags & NO_ACCESS == 0, write: flags & WRITE != 0, execute: flags & EXECUTE != 0 })
}

fn pages_range(address: u64, pages: u64) -> Result<(), CallError> {
    if pages == 0 || pages > PAGES_MAX {
        return Err(CallError::BadLength);
    }
    if !address.is_multiple_of(PAGE_LEN) {
        return Err(CallError::BadAddress);
    }
    within(address, pages * PAGE_LEN)
}

fn owned_pages(facts: &impl Facts, address: u64, pages: u64, sparse: bool) -> Result<(), CallError> {
    pages_range(address, pages)?;
    let owned = if sparse { facts.only_owned(address, pages) } else { facts.owned(address, pages) };
    if !owned {
        return Err(CallError::NotMapped);
    }
    let cuts = |edge: u64| !edge.is_multiple_of(LARGE_PAGES * PAGE_LEN) && facts.large(edge);
    if cuts(address) || cuts(address + pages * PAGE_LEN) {
        return Err(CallError::BadAddress);
    }
    Ok(())
}

fn within(start: u64, len: u64) -> Result<(), CallError> {
    match start.checked_add(len) {
        Some(end) if start >= USER_START && end <= USER_END => Ok(()),
        _ => Err(CallError::BadAddress),
    }
}

fn readable(facts: &impl Facts, start: u64, len: u64) -> Result<(), CallError> {
    within(start, len)?;
    if facts.readable(start, len) { Ok(()) } else { Err(CallError::BadAddress) }
}

fn writable(facts: &impl Facts, start: u64, len: u64) -> Result<(), CallError> {
    within(start, len)?;
    if facts.writable(start, len) { Ok(()) } else { Err(CallError::BadAddress) }
}

fn own_events(facts: &impl Facts, events: u64) -> Result<u64, CallError> {
    if events & !facts.devices().events(facts.caller()) == 0 { Ok(events) } else { Err(CallError::NotOwner) }
}

#[cfg(test)]
#[path = "call_tests.rs"]
mod tests;
