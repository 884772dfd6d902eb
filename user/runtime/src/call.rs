//! Calls into the kernel as functions. Arguments go as they are: the kernel checks them.

use core::arch::asm;

use nom_abi::application::Status;
use nom_abi::board::PRICE_WORDS;
use nom_abi::call::{Call, CallError, PORT_WRITE, SPARSE};
use nom_abi::device::{DEVICE_INFO_WORDS, DeviceInfo};

/// One call with any number and arguments: what `rax` and `rdx` hold afterwards. The functions below are for use.
///
/// # Safety
/// The kernel checks what arguments name, but only against what is the application's: a call may unmap or overwrite
/// any memory of the caller. What it changes must be the caller's to give.
pub unsafe fn raw(number: u64, arguments: [u64; 5]) -> (u64, u64) {
    let (status, value);
    // SAFETY: what memory the call changes the caller answers for; registers that the contract gives up are declared
    // as lost.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => status,
            in("rdi") arguments[0],
            in("rsi") arguments[1],
            inlateout("rdx") arguments[2] => value,
            in("r10") arguments[3],
            in("r8") arguments[4],
            lateout("rcx") _, lateout("r11") _,
            lateout("xmm0") _, lateout("xmm1") _, lateout("xmm2") _, lateout("xmm3") _,
            lateout("xmm4") _, lateout("xmm5") _, lateout("xmm6") _, lateout("xmm7") _,
            lateout("xmm8") _, lateout("xmm9") _, lateout("xmm10") _, lateout("xmm11") _,
            lateout("xmm12") _, lateout("xmm13") _, lateout("xmm14") _, lateout("xmm15") _,
        );
    }
    (status, value)
}

fn call(call: Call, arguments: [u64; 5]) -> Result<u64, CallError> {
    // SAFETY: the functions of this file pass places that they were lent, or are unsafe themselves.
    match unsafe { raw(call as u64, arguments) } {
        (0, value) => Ok(value),
        (error, _) => Err(CallError::from_number(error)),
    }
}

/// Lets waiting events in.
pub fn nothing() {
    let _ = call(Call::Nothing, [0; 5]);
}

/// One line of text.
pub fn log(text: &str) -> Result<(), CallError> {
    call(Call::Log, [text.as_ptr() as u64, text.len() as u64, 0, 0, 0]).map(|_| ())
}

/// Ends the application.
pub fn exit(code: u8) -> ! {
    loop {
        let _ = call(Call::Exit, [u64::from(code), 0, 0, 0, 0]);
    }
}

/// Makes a core the caller's and begins there; [`crate::cores::start`] is the way to do it.
pub(crate) fn acquire_core(core: u32, entry: u64, stack: u64, argument: u64) -> Result<(), CallError> {
    call(Call::AcquireCore, [u64::from(core), entry, stack, argument, 0]).map(|_| ())
}

/// The context on that core gets the event [`nom_abi::upcall::CALLED`].
pub fn call_core(core: u32) -> Result<(), CallError> {
    call(Call::CallCore, [u64::from(core), 0, 0, 0, 0]).map(|_| ())
}

/// Starts an application of the image, which the caller may end.
pub fn start_application(name: &str) -> Result<(), CallError> {
    call(Call::StartApplication, [name.as_ptr() as u64, name.len() as u64, 0, 0, 0]).map(|_| ())
}

/// Ends an application that the caller has started.
pub fn end_application(name: &str) -> Result<(), CallError> {
    call(Call::EndApplication, [name.as_ptr() as u64, name.len() as u64, 0, 0, 0]).map(|_| ())
}

/// How an application is doing.
pub fn application_status(name: &str) -> Result<Status, CallError> {
    let arguments = [name.as_ptr() as u64, name.len() as u64, 0, 0, 0];
    call(Call::ApplicationStatus, arguments).map(Status::from_word)
}

pub(crate) fn open_channel(name: &str, address: u64) -> Result<(u32, u64), CallError> {
    let arguments = [name.as_ptr() as u64, name.len() as u64, address, 0, 0];
    call(Call::OpenChannel, arguments).map(nom_abi::channel::parts)
}

pub(crate) fn close_channel(channel: u32) -> Result<(), CallError> {
    call(Call::CloseChannel, [u64::from(channel), 0, 0, 0, 0]).map(|_| ())
}

pub(crate) fn notify_channel(channel: u32) -> Result<(), CallError> {
    call(Call::NotifyChannel, [u64::from(channel), 0, 0, 0, 0]).map(|_| ())
}

/// Gives a core back, with what runs there.
pub fn release_core(core: u32) -> Result<(), CallError> {
    call(Call::ReleaseCore, [u64::from(core), 0, 0, 0, 0]).map(|_| ())
}

/// Fresh zeroed frames at a chosen address, in pages of 2 MiB with `LARGE`; the value is the physical address with
/// `CONTIGUOUS`, else 0.
pub fn map(address: u64, pages: u64, flags: u64) -> Result<u64, CallError> {
    call(Call::Map, [address, pages, flags, 0, 0])
}

/// Fresh zeroed frames of a colour: their numbers leave `colour` when divided by `colours`.
pub fn map_coloured(
    address: u64,
    pages: u64,
    flags: u64,
    colours: u64,
    colour: u64,
) -> Result<u64, CallError> {
    call(Call::Map, [address, pages, flags, colours, colour])
}

/// Takes mappings away. Not a safe function: what lies there must not be used any more.
///
/// # Safety
/// Nothing may refer to these pages.
pub unsafe fn unmap(address: u64, pages: u64) -> Result<(), CallError> {
    call(Call::Unmap, [address, pages, 0, 0, 0]).map(|_| ())
}

/// Takes whatever of one's own is mapped on these pages away; says how many frames were given back.
///
/// # Safety
/// Nothing may refer to these pages.
pub unsafe fn unmap_sparse(address: u64, pages: u64) -> Result<u64, CallError> {
    call(Call::Unmap, [address, pages, SPARSE, 0, 0])
}

/// Changes the rights of pages.
///
/// # Safety
/// Nothing may refer to these pages in a way that the new rights do not allow.
pub unsafe fn protect(address: u64, pages: u64, flags: u64) -> Result<(), CallError> {
    call(Call::Protect, [address, pages, flags, 0, 0]).map(|_| ())
}

pub(crate) fn acquire_device(device: u32, address: u64) -> Result<DeviceInfo, CallError> {
    let mut words = [0; DEVICE_INFO_WORDS];
    let place = words.as_mut_ptr() as u64;
    call(Call::AcquireDevice, [u64::from(device), address, place, 0, 0])?;
    Ok(DeviceInfo::from_words(&words))
}

pub(crate) fn release_device(device: u32) -> Result<(), CallError> {
    call(Call::ReleaseDevice, [u64::from(device), 0, 0, 0, 0]).map(|_| ())
}

/// Lets the caller's devices reach these pages, at the same addresses; answers the first one as devices know it.
pub fn register_dma(address: u64, pages: u64) -> Result<u64, CallError> {
    call(Call::RegisterDma, [address, pages, 0, 0, 0])
}

/// The caller's devices reach these pages no more.
pub fn withdraw_dma(address: u64, pages: u64) -> Result<(), CallError> {
    call(Call::WithdrawDma, [address, pages, 0, 0, 0]).map(|_| ())
}

/// Lets interrupts in that are told as these events; [`crate::wait`] can do it too.
pub fn unmask(events: u64) -> Result<(), CallError> {
    call(Call::Unmask, [events, 0, 0, 0, 0]).map(|_| ())
}

/// Reads `bytes` (1, 2 or 4) from a port of the caller's.
pub fn read_port(port: u16, bytes: u64) -> Result<u32, CallError> {
    call(Call::Port, [u64::from(port), bytes, 0, 0, 0]).map(|value| value as u32)
}

/// Writes `bytes` (1, 2 or 4) to a port of the caller's.
pub fn write_port(port: u16, bytes: u64, value: u32) -> Result<(), CallError> {
    call(Call::Port, [u64::from(port), bytes | PORT_WRITE, u64::from(value), 0, 0]).map(|_| ())
}

pub(crate) fn steer(device: u32, vector: u32, event: u64) -> Result<(), CallError> {
    call(Call::Steer, [u64::from(device), u64::from(vector), event, 0, 0]).map(|_| ())
}

pub(crate) fn wait(until_ns: u64, events: u64) -> Result<u64, CallError> {
    call(Call::Wait, [until_ns, events, 0, 0, 0])
}

/// One timer event at this time; [`nom_abi::call::FOREVER`] takes it back.
pub fn set_timer(at_ns: u64) -> Result<(), CallError> {
    call(Call::SetTimer, [at_ns, 0, 0, 0, 0]).map(|_| ())
}

pub(crate) fn publish_prices(words: &[u64; PRICE_WORDS]) -> Result<u64, CallError> {
    call(Call::PublishPrices, [words.as_ptr() as u64, 0, 0, 0, 0])
}

pub(crate) fn register_upcalls(registration: &nom_abi::upcall::Registration) -> Result<(), CallError> {
    call(Call::RegisterUpcalls, [core::ptr::from_ref(registration) as u64, 0, 0, 0, 0]).map(|_| ())
}
