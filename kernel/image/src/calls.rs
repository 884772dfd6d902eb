//! Carrying out calls that were decoded. Nothing here can be refused any more, except for what is only seen when an
//! argument's content is copied.

use core::sync::atomic::Ordering;

use nom_abi::application::NAME_LEN_MAX;
use nom_abi::board;
use nom_abi::call::{Call, CallError, LARGE_PAGES, LOG_LEN_MAX, PAGE_LEN};
use nom_abi::channel::{channel_event, opened};
use nom_abi::exit::ENDED;
use nom_abi::statistics::Counter;
use nom_abi::upcall::{BOARD, CALLED};
use nom_kernel_core::Application;
use nom_kernel_core::call::{Name, Request, Rights, channel_fits, decode, registration};
use nom_kernel_core::channels::{Channel, End};
use nom_kernel_core::frames::{Frame, Owner, Shape};

use crate::context::Vectors;
use crate::paging::Leaf;
use crate::state::{self, Caller, Calling, Kernel, add, count, most, with};
use crate::trap::Trap;
use crate::{clock, cpu, paging, processors, serial, statistics};

/// What becomes of a call.
pub enum Answer {
    /// It is answered: error or value.
    Now(Result<u64, CallError>),
    /// Its number is not ours.
    Foreign {
        /// The caller has a handler for that.
        listens: bool,
    },
    /// It has more to do than is done at once: the caller calls again, with that many pages done.
    Again(u64),
    /// The caller does not go on now: it waits, or it has ended.
    Gone,
}

/// A call came.
pub fn call(trap: &Trap) -> Answer {
    if trap.rax == Call::Nothing as u64 {
        // Nothing to check and nothing to do: what is pending is told on the way back.
        statistics::called(trap.rax);
        return Answer::Now(Ok(0));
    }
    let arguments = [trap.rdi, trap.rsi, trap.rdx, trap.r10, trap.r8];
    let answer = with(|kernel| {
        let Some(caller) = kernel.caller(cpu::here()) else { return Answer::Gone };
        let decoded = decode(trap.rax, arguments, &Calling { kernel, caller: &caller });
        if !matches!(decoded, Ok(Request::Fill { .. })) {
            statistics::called(trap.rax);
        }
        match decoded {
            Ok(Request::Exit { code }) => {
                kernel.end(caller.number, code, None);
                Answer::Gone
            }
            Ok(Request::Wait { until_ns, events }) => wait(kernel, &caller, trap, until_ns, events),
            Ok(Request::Map { address, pages, rights, shape, large, tell }) => {
                reserve(kernel, &caller, address, pages, rights, shape, large);
                fill(&caller, address, pages, 0, tell)
            }
            Ok(Request::Fill { address, pages, done, tell }) => fill(&caller, address, pages, done, tell),
            Ok(request) => {
                let answer = invoke(request, kernel, &caller);
                // A call may end its own context.
                if kernel.caller(caller.here).is_none() { Answer::Gone } else { Answer::Now(answer) }
            }
            Err(CallError::UnknownCall) => {
                let listens = kernel.page(caller.context).is_some_and(|page| page.upcalls.is_some());
                Answer::Foreign { listens }
            }
            Err(error) => Answer::Now(Err(error)),
        }
    });
    answer.unwrap_or(Answer::Gone)
}

/// The context rests until there is something to tell or the time has come.
fn wait(kernel: &mut Kernel, caller: &Caller, trap: &Trap, until_ns: u64, events: u64) -> Answer {
    count(Counter::Waits);
    unmask(kernel, caller, events);
    let now_ns = clock::now_ns();
    let came = kernel.schedule.take(caller.context) | kernel.pending(caller.context);
    if came != 0 || until_ns <= now_ns {
        return Answer::Now(Ok(came));
    }
    kernel.rest(caller.context, trap, Vectors::GivenUp);
    kernel.schedule.block(caller.here, until_ns, now_ns);
    if kernel.may_relieve {
        kernel.relieve();
    }
    Answer::Gone
}

/// Lets interrupts in; the caller's context hears them.
fn unmask(kernel: &mut Kernel, caller: &Caller, events: u64) {
    if events != 0 {
        let lines = kernel.devices.told_as(events, caller.number);
        let missed = lines.filter(|&line| kernel.found.unmask(line, caller.context, caller.here));
        let missed = missed.fold(0, |events, line| events | kernel.devices.event(line));
        kernel.post(caller.context, missed);
    }
}

fn invoke(request: Request, kernel: &mut Kernel, caller: &Caller) -> Result<u64, CallError> {
    match request {
        Request::Log { text, len } => {
            let mut bytes = [0; LOG_LEN_MAX as usize];
            let bytes = &mut bytes[..len as usize];
            if !caller.space.copy_in(text, bytes) {
                return Err(CallError::BadAddress);
            }
            serial::application_line(core::str::from_utf8(bytes).map_err(|_| CallError::NotText)?);
        }
        Request::AcquireCore { core, entry, stack, argument } => {
            // One that was moved home and has not left still has the block and the stack that the next one would have.
            let number = caller.number;
            if kernel.schedule.of(number).any(|context| kernel.is_displaced(context, number)) {
                return Err(CallError::Taken);
            }
            kernel.cores.acquire(core, caller.number);
            // Decoding has seen that there is room and a frame.
            kernel.add_context(caller.number, core, entry, stack, argument).ok_or(CallError::NoMemory)?;
            kernel.show_application(caller.number);
        }
        Request::Leave => kernel.end_context(caller.context, caller.number),
        Request::ReleaseCore(core) => kernel.take_core(core, caller.number),
        Request::CallCore(core) => {
            let context = state::context_on(kernel, caller.number, core).ok_or(CallError::NotOwner)?;
            kernel.post(context, CALLED);
        }
        Request::RegisterDma { address, pages } => {
            kernel.register_dma(caller, address, pages, true);
            kernel.show_memory(caller.number);
            return Ok(address);
        }
        Request::WithdrawDma { address, pages } => kernel.withdraw_dma(caller, address, pages),
        Request::Unmap { address, pages } => {
            kernel.withdraw_dma(caller, address, pages);
            let (mut at, before) = (address, kernel.frames.free());
            while at < address + pages * PAGE_LEN {
                let (size, first) = caller.space.unmap(at);
                if let Some(first) = first {
                    paging::release(&mut kernel.frames, first, size, caller.owner());
                }
                at = (at & !(size - 1)) + size;
            }
            // Nobody gets these frames before the lock is free.
            processors::forget(&caller.space);
            kernel.show_memory(caller.number);
            return Ok(kernel.frames.free() - before);
        }
        Request::Protect { address, pages, rights } => {
            let mut at = address;
            while at < address + pages * PAGE_LEN {
                at += caller.space.protect(at, rights);
            }
            processors::forget(&caller.space);
            kernel.register_dma(caller, address, pages, false);
        }
        Request::AcquireDevice { device, address, place } => {
            kernel.give_device(device, address, place, caller);
            kernel.show_memory(caller.number);
        }
        Request::ReleaseDevice(device) => kernel.take_device(device, Some(&caller.space)),
        Request::Port { port, bytes, value } => return Ok(u64::from(reach_port(port, bytes, value))),
        Request::Steer { line, event } => kernel.devices.steer(line, event),
        Request::Unmask { events } => unmask(kernel, caller, events),
        Request::SetTimer { at_ns } => {
            kernel.schedule.set_timer(caller.context, at_ns);
            processors::attend(caller.here);
        }
        Request::PublishPrices { place } => {
            let words = caller.space.words_in(place).ok_or(CallError::BadAddress)?;
            let board = paging::words(kernel.shared[0], board::WORDS);
            let published = board::publish_words(board, clock::now_ns(), &words);
            let generation = published.map_err(|_| CallError::NoSuch)?;
            kernel.post_all(BOARD);
            return Ok(generation);
        }
        Request::RegisterUpcalls { place } => {
            let words = caller.space.words_in(place).ok_or(CallError::BadAddress)?;
            let registered = registration(&words, &Calling { kernel, caller })?;
            if let Some(page) = kernel.page(caller.context) {
                page.register(registered);
            }
        }
        Request::StartApplication(name) => {
            let number = named(kernel, caller, name)?;
            kernel.begin(number, Some(caller.number))?;
        }
        Request::EndApplication(name) => {
            let number = named(kernel, caller, name)?;
            kernel.lives.may_end(number, caller.number)?;
            kernel.end(number, ENDED, None);
        }
        Request::ApplicationStatus(name) => {
            let number = named(kernel, caller, name)?;
            return Ok(kernel.lives.status(number).word());
        }
        Request::OpenChannel { name, address } => return open_channel(kernel, caller, name, address),
        Request::CloseChannel(channel) => kernel.close_channel(channel, caller.number, Some(caller)),
        Request::NotifyChannel(channel) => {
            let peer = kernel.channels.peer(channel, caller.number).ok_or(CallError::Gone)?;
            kernel.post(peer.context, channel_event(u32::from(channel.0)));
        }
        Request::Nothing
        | Request::Exit { .. }
        | Request::Wait { .. }
        | Request::Map { .. }
        | Request::Fill { .. } => {}
    }
    Ok(0)
}

/// Writes an application's port, or reads it.
fn reach_port(port: u16, bytes: u16, value: Option<u32>) -> u32 {
    match (bytes, value) {
        (1, Some(value)) => cpu::out8(port, value as u8),
        (2, Some(value)) => cpu::out16(port, value as u16),
        (_, Some(value)) => cpu::out32(port, value),
        (1, None) => return cpu::in8(port).into(),
        (2, None) => return cpu::in16(port).into(),
        (_, None) => return cpu::in32(port),
    }
    0
}

/// Copies a name that an application has in its memory and does something with it.
fn with_name<T>(
    caller: &Caller,
    name: Name,
    work: impl FnOnce(&str) -> Result<T, CallError>,
) -> Result<T, CallError> {
    let mut bytes = [0; NAME_LEN_MAX as usize];
    let bytes = bytes.get_mut(..name.len as usize).ok_or(CallError::BadLength)?;
    if !caller.space.copy_in(name.text, bytes) {
        return Err(CallError::BadAddress);
    }
    work(core::str::from_utf8(bytes).map_err(|_| CallError::NotText)?)
}

fn named(kernel: &Kernel, caller: &Caller, name: Name) -> Result<Application, CallError> {
    with_name(caller, name, |name| kernel.numbered(name))
}

fn open_channel(kernel: &mut Kernel, caller: &Caller, name: Name, address: u64) -> Result<u64, CallError> {
    // A channel that is not for the caller is as absent as one that no image names.
    let (_, configuration) = kernel.image.ok_or(CallError::NoSuch)?;
    let (place, side, pages) = with_name(caller, name, |name| {
        let mut channels = configuration.channels().enumerate();
        let (place, allowed) = channels.find(|(_, allowed)| allowed.name == name).ok_or(CallError::NoSuch)?;
        let own = |end: &str| kernel.numbered(end) == Ok(caller.number);
        let side = allowed.ends.iter().position(|end| own(end)).ok_or(CallError::NoSuch)?;
        Ok((place, side, allowed.len / PAGE_LEN))
    })?;
    let channel = Channel(place as u8);
    kernel.channels.may_open(channel, side)?;
    let there = kernel.channels.memory(channel);
    channel_fits(address, pages, there.is_none(), &Calling { kernel, caller })?;
    let memory = match there {
        Some(memory) => memory,
        None => {
            let first = kernel.frames.take(Shape::together(pages), Frame(0), Owner::channel(channel));
            let first = first.ok_or(CallError::NoMemory)?;
            (first.0..first.0 + pages).for_each(|frame| paging::zero(Frame(frame)));
            (first, pages)
        }
    };
    for page in 0..pages {
        let at = address + page * PAGE_LEN;
        let _ = caller.space.map(at, Frame(memory.0.0 + page).address(), Leaf::Shared, &mut kernel.frames);
    }
    let end = End { application: caller.number, context: caller.context, address };
    kernel.channels.open(channel, side, end, memory);
    if let Some(peer) = kernel.channels.peer(channel, caller.number) {
        kernel.post(peer.context, channel_event(u32::from(channel.0)));
    }
    kernel.show_memory(caller.number);
    kernel.show_channel(channel);
    Ok(opened(channel.0, pages))
}

/// Gives pages their frames; [`fill`] makes them reachable.
fn reserve(
    kernel: &mut Kernel,
    caller: &Caller,
    address: u64,
    pages: u64,
    rights: Rights,
    shape: Shape,
    large: bool,
) {
    let owner = caller.owner();
    // Pieces of a certain shape are taken before tables could take one of them. Each names the one before it in its
    // first word.
    let (mut last, mut from) = (0, Frame(0));
    let pieces = if shape == Shape::ANY { 0 } else { pages / shape.count };
    for _ in 0..pieces {
        let Some(first) = kernel.frames.take(shape, from, owner) else { break };
        from = Frame(first.0 + shape.count);
        paging::words(first.address(), 1)[0].store(last, Ordering::Relaxed);
        last = first.address();
    }
    let mut piece = 0;
    for page in (0..pages).step_by(if large { LARGE_PAGES as usize } else { 1 }) {
        let within = page % shape.count;
        if shape == Shape::ANY {
            // Decoding has counted frames and tables: neither can run out here.
            let Some(frame) = kernel.frames.allocate(owner) else { break };
            piece = frame.address();
        } else if within == 0 {
            piece = last;
            last = paging::words(piece, 1)[0].load(Ordering::Relaxed);
        }
        let physical = piece + within * PAGE_LEN;
        let at = address + page * PAGE_LEN;
        let _ = caller.space.reserve(at, physical, rights, large, &mut kernel.frames);
    }
    kernel.show_memory(caller.number);
}

/// Fills some pages that were reserved.
fn fill(caller: &Caller, address: u64, pages: u64, done: u64, tell: bool) -> Answer {
    let reached = caller.space.fill(address, pages, done);
    add(Counter::FramesZeroed, reached - done);
    most(Counter::FramesZeroedAtOnce, reached - done);
    if reached < pages {
        return Answer::Again(reached);
    }
    Answer::Now(Ok(if tell { caller.space.physical(address) } else { 0 }))
}
