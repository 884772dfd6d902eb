//! What devices may reach: memory that was registered for them, their owner's interrupt, and nothing else. A source of
//! random bytes writes them wherever it is told to, so it serves as the device that is aimed at everything.

use alloc::boxed::Box;
use alloc::format;
use core::sync::atomic::Ordering;

use nom_runtime::abi::call::{CallError, PAGE_LEN, WRITE};
use nom_runtime::abi::device::kind::ENTROPY;
use nom_runtime::abi::device::state::{BLOCKED, CONFINED, PRESENT, STOPPED};
use nom_runtime::abi::device::{VECTORS_MAX, listed};
use nom_runtime::abi::exit::ENDED;
use nom_runtime::abi::statistics::Counter;
use nom_runtime::abi::upcall::DEVICES;
use nom_runtime::call::{end_application, map, register_dma, withdraw_dma};
use nom_runtime::device::{Device, acquire, list, state};
use nom_runtime::{board, heap_region, log, now_ns, trusted, wait};
use nom_trial as trial;
use nom_trial::{Attempts, read, write};

use crate::device::{Queue, Registers, text};
use crate::many::{counter, order, status, until};
use crate::orders::{self, DONE, FOUND};
use crate::{Case, NotOk, Outcome, ensure};

/// For every image and machine.
pub const CASES: [Case; 4] = [
    ("dma_the_board_says_how_devices_stand", the_board),
    ("dma_calls_are_checked", calls_are_checked),
    ("dma_two_race_for_one_device", race),
    ("dma_owner_killed_in_flight", killed_in_flight),
];

/// For images that are not trusted, behind an IOMMU.
pub const CONFINED_CASES: [Case; 11] = [
    ("dma_reaches_what_is_registered", registered),
    ("dma_unregistered_is_blocked", unregistered),
    ("dma_withdrawn_is_blocked", withdrawn),
    ("dma_read_only_is_not_written", read_only),
    ("dma_follows_rights", follows_rights),
    ("dma_unmapped_is_blocked", unmapped),
    ("dma_kernel_and_registers_are_blocked", kernel_is_blocked),
    ("dma_neighbour_is_blocked", neighbour),
    ("dma_foreign_interrupt_is_blocked", foreign_interrupt),
    ("dma_interrupt_storm_is_stopped", storm),
    ("dma_going_on_is_stopped", going_on),
];

/// Where an image that is not trusted meets a device that no IOMMU confines.
pub const REFUSED: [Case; 1] = [("dma_unconfined_devices_are_refused", unconfined_refused)];

/// Every device is for this image.
pub fn may_be_had() -> bool {
    trusted() || list().all(|device| state(device.number) & CONFINED != 0)
}

fn unconfined_refused() -> Outcome {
    let mut refused = 0;
    for found in list() {
        let answer = acquire(found.number);
        let confined = state(found.number) & CONFINED != 0;
        ensure!(answer.is_ok() == confined, "{found:?}, confined {confined}: {answer:?}");
        if !confined {
            refused += 1;
            ensure!(answer == Err(CallError::NotTrusted), "{answer:?}");
        }
    }
    ensure!(refused > 0, "there was none");
    Ok(())
}

/// Where cases map pages of their own.
const PLACE: u64 = 0x6200_0000_0000;
/// The same address is mapped by a neighbour; see [`orders::NEIGHBOUR`].
pub const NEIGHBOUR_PLACE: u64 = 0x6300_0000_0000;
/// How long something may take that must come: virtual time, and generous.
const PATIENCE_NS: u64 = 60_000_000_000;
const DEVICE_WRITES: u64 = 2 << 32;
/// Where messages are written that name an entry of the kernel's table by bits 5 and up; the data is ignored.
const INTERRUPT_WINDOW: u64 = 0xfee0_0010;

/// Where a message is written that names a device's first interrupt.
fn interrupt(device: u64) -> u64 {
    INTERRUPT_WINDOW | (device * u64::from(VECTORS_MAX)) << 5
}

/// The device that writes where it is told to.
pub struct Engine {
    pub device: Device,
    registers: Registers,
    queue: Box<Queue>,
    rounds: u16,
}

fn fault(fault: trial::Fault) -> NotOk {
    format!("a register is not there: {fault:x?}").into()
}

impl Engine {
    pub fn start() -> Result<Engine, NotOk> {
        let mut all = list();
        let listed = all.find(|listed| listed.kind == ENTROPY);
        let listed = listed.ok_or(NotOk::Skipped("the machine has no such device"))?;
        let device = acquire(listed.number).map_err(text)?;
        let registers = Registers { transport: device.transport, queue: 0, vector: 0 };
        let queue = Queue::new();
        registers.start(queue.places()).map_err(fault)?;
        Ok(Engine { device, registers, queue, rounds: 0 })
    }

    /// Has it write there, and waits until it says that it did. (It says so too when that was blocked: a device does not
    /// hear what becomes of a write.) Answers the events that came meanwhile.
    pub fn aim(&mut self, address: u64, len: u64) -> Result<u64, NotOk> {
        self.shoot(address, len)?;
        self.settle(self.device.event(), BLOCKED | STOPPED)
    }

    /// A place in its own queue's page, which is registered.
    pub fn place(&self) -> u64 {
        self.queue.places()[0] + 256
    }

    /// Has it write somewhere in its own queue's page, which is registered, and sees that it did.
    pub fn aim_within(&mut self, len: u64) -> Outcome {
        let before = self.rounds;
        self.aim(self.place(), len)?;
        ensure!(self.queue.used[1].load(Ordering::Acquire) == before + 1, "it did not serve");
        Ok(())
    }

    /// Waits until the device is done, or stands like this.
    fn settle(&self, events: u64, enough: u8) -> Result<u64, NotOk> {
        let mut came = 0;
        let limit = now_ns() + PATIENCE_NS;
        while self.queue.used[1].load(Ordering::Acquire) != self.rounds {
            let stands = state(self.device.number);
            if stands & enough != 0 || stands & PRESENT == 0 {
                break;
            }
            ensure!(now_ns() < limit, "the device is silent");
            came |= wait(Some(now_ns() + 1_000_000), events);
        }
        Ok(came)
    }

    /// Waits until the board says that something was blocked.
    fn until_blocked(&self) -> Outcome {
        until("the block", || state(self.device.number) & BLOCKED != 0)
    }

    /// Has it write there, and waits for nothing.
    pub fn shoot(&mut self, address: u64, len: u64) -> Outcome {
        self.rounds += 1;
        self.queue.descriptors[0] = [address, DEVICE_WRITES | len];
        self.queue.available[1].store(self.rounds, Ordering::Release);
        self.registers.notify().map_err(fault)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Nobody uses its registers any more; a case that wants to know whether it went well asks the board.
        let _ = trial::release(self.device);
    }
}

/// Aims a fresh device there: the kernel says by an event and by the board that it did not get through.
pub fn blocked(address: u64) -> Outcome {
    let mut engine = Engine::start()?;
    let _ = wait(Some(0), 0);
    let mut events = engine.aim(address, 4)?;
    let limit = now_ns() + PATIENCE_NS;
    while events & DEVICES == 0 {
        ensure!(now_ns() < limit, "nobody said that {address:#x} was blocked");
        events |= wait(Some(now_ns() + 1_000_000), 0);
    }
    engine.until_blocked()?;
    log!("blocked {address:#x}");
    Ok(())
}

fn page(address: u64, flags: u64) -> Outcome {
    map(address, 1, flags).map(|_| ()).map_err(text)
}

/// Bytes of a page that are not zero.
pub fn written(address: u64) -> Result<usize, NotOk> {
    let mut count = 0;
    for place in (address..address + PAGE_LEN).step_by(8) {
        let word = read(place).map_err(fault)?;
        count += word.to_le_bytes().iter().filter(|&&byte| byte != 0).count();
    }
    Ok(count)
}

fn the_board() -> Outcome {
    for found in list() {
        let before = listed(board(), found.number).ok_or(NotOk::Skipped("it has just left"))?;
        ensure!(before.owner.is_none() && before.state & PRESENT != 0, "{before:?}");
        ensure!((before.state & CONFINED != 0) != trusted(), "{before:?} in a trusted image: {}", trusted());
        let device = acquire(found.number).map_err(text)?;
        let owned = listed(board(), found.number);
        trial::release(device).map_err(text)?;
        ensure!(owned.is_some_and(|one| one.owner.is_some()), "acquired: {owned:?}");
        ensure!(
            listed(board(), found.number) == Some(before),
            "released: {:?}",
            listed(board(), found.number)
        );
    }
    Ok(())
}

fn calls_are_checked() -> Outcome {
    if trusted() {
        let answer = register_dma(PLACE, 1);
        ensure!(answer == Err(CallError::NoSuch), "{answer:?}");
        return Ok(());
    }
    let code = trial::code_address() & !(PAGE_LEN - 1);
    for (address, pages, error) in [
        (PLACE, 1, CallError::NotMapped),
        (PLACE + 1, 1, CallError::BadAddress),
        (PLACE, 0, CallError::BadLength),
        (PLACE, u64::MAX, CallError::BadLength),
        (PLACE, 1 << 24, CallError::NotMapped),
        (0, 1, CallError::BadAddress),
        (0x7fff_ffff_f000, 1, CallError::BadAddress),
        (0xffff_8000_0000_0000, 1, CallError::BadAddress),
        (!0xfff, 2, CallError::BadAddress),
        // Half of it is mapped.
        (heap_region().virtual_base as u64 - PAGE_LEN, 2, CallError::NotMapped),
        // What the kernel shows is not the application's to give.
        (board().as_ptr() as u64, 1, CallError::NotMapped),
    ] {
        let answers = [register_dma(address, pages).err(), withdraw_dma(address, pages).err()];
        ensure!(answers == [Some(error); 2], "{address:#x}, {pages}: {answers:?}");
    }
    // Registered twice and withdrawn twice is registered and withdrawn.
    for answer in [register_dma(code, 1).map(|_| ()), register_dma(code, 1).map(|_| ())] {
        ensure!(answer.is_ok(), "{answer:?}");
    }
    for answer in [withdraw_dma(code, 1), withdraw_dma(code, 1)] {
        ensure!(answer.is_ok(), "{answer:?}");
    }
    Ok(())
}

fn registered() -> Outcome {
    let _attempts = Attempts::begin();
    let free = counter(Counter::FreeFrames);
    for round in 0..3 {
        page(PLACE, WRITE)?;
        let known = register_dma(PLACE, 1).map_err(text)?;
        ensure!(known == PLACE, "devices know it as {known:#x}");
        Engine::start()?.aim(PLACE + 256, 64)?;
        let count = written(PLACE)?;
        trial::unmap(PLACE, 1).map_err(text)?;
        ensure!((17..=64).contains(&count), "{count} bytes were written");
        // Tables for new places stay; nothing else may.
        ensure!(round == 0 || counter(Counter::FreeFrames) + 8 > free, "frames are lost");
    }
    Ok(())
}

fn unregistered() -> Outcome {
    let _attempts = Attempts::begin();
    page(PLACE, WRITE)?;
    blocked(PLACE)?;
    let count = written(PLACE)?;
    trial::unmap(PLACE, 1).map_err(text)?;
    ensure!(count == 0, "{count} bytes were written");
    // The device serves again after that.
    registered()
}

fn withdrawn() -> Outcome {
    let _attempts = Attempts::begin();
    page(PLACE, WRITE)?;
    register_dma(PLACE, 1).map_err(text)?;
    let mut engine = Engine::start()?;
    engine.aim(PLACE, 64)?;
    let first = written(PLACE)?;
    // The IOMMU has just translated this address: it must forget.
    withdraw_dma(PLACE, 1).map_err(text)?;
    (PLACE..PLACE + 64).step_by(8).try_for_each(|at| write(at, 0)).map_err(fault)?;
    engine.aim(PLACE, 64)?;
    engine.until_blocked()?;
    let count = written(PLACE)?;
    trial::unmap(PLACE, 1).map_err(text)?;
    ensure!(first > 16 && count == 0, "{first} bytes were written, then {count}");
    Ok(())
}

fn read_only() -> Outcome {
    let _attempts = Attempts::begin();
    page(PLACE, 0)?;
    register_dma(PLACE, 1).map_err(text)?;
    blocked(PLACE)?;
    let count = written(PLACE)?;
    trial::unmap(PLACE, 1).map_err(text)?;
    ensure!(count == 0, "{count} bytes were written");
    Ok(())
}

fn follows_rights() -> Outcome {
    let _attempts = Attempts::begin();
    page(PLACE, WRITE)?;
    register_dma(PLACE, 1).map_err(text)?;
    let mut engine = Engine::start()?;
    engine.aim(PLACE, 64)?;
    trial::protect(PLACE, 1, 0).map_err(text)?;
    let before = written(PLACE)?;
    engine.aim(PLACE + 1024, 64)?;
    engine.until_blocked()?;
    drop(engine);
    let after = written(PLACE)?;
    trial::protect(PLACE, 1, WRITE).map_err(text)?;
    Engine::start()?.aim(PLACE + 1024, 64)?;
    let last = written(PLACE)?;
    trial::unmap(PLACE, 1).map_err(text)?;
    ensure!(before > 16 && before == after && last > after, "{before}, {after}, {last} bytes are written");
    Ok(())
}

/// A frame goes back and to another place while the device still knows its old address.
fn unmapped() -> Outcome {
    let _attempts = Attempts::begin();
    page(PLACE, WRITE)?;
    register_dma(PLACE, 1).map_err(text)?;
    let mut engine = Engine::start()?;
    engine.aim(PLACE, 64)?;
    let first = written(PLACE)?;
    trial::unmap(PLACE, 1).map_err(text)?;
    // The frame that was just freed is the first to be given again.
    page(PLACE + 64 * PAGE_LEN, WRITE)?;
    engine.aim(PLACE, 64)?;
    engine.until_blocked()?;
    let count = written(PLACE + 64 * PAGE_LEN)?;
    trial::unmap(PLACE + 64 * PAGE_LEN, 1).map_err(text)?;
    ensure!(first > 16 && count == 0, "{first} bytes were written, then {count} of another page");
    Ok(())
}

/// Physical addresses of what matters most are no addresses of a confined device.
fn kernel_is_blocked() -> Outcome {
    let _attempts = Attempts::begin();
    for address in [
        0x0,
        0x10_0000,
        0x20_0000,
        0x300_0000,
        0xb000_0000,
        0xfec0_0000,
        0xfed9_0000,
        0x7fff_ffff_f000,
        0xffff_8000_0010_0000,
        0xffff_ffff_8010_0000,
    ] {
        blocked(address)?;
    }
    Ok(())
}

fn neighbour() -> Outcome {
    let _attempts = Attempts::begin();
    let channel = order(orders::NEIGHBOUR)?;
    let words = channel.words();
    until("the neighbour", || words[DONE].load(Ordering::Acquire) == 1)?;
    // It has registered a page at this address; we have not, then we have.
    blocked(NEIGHBOUR_PLACE)?;
    page(NEIGHBOUR_PLACE, WRITE)?;
    register_dma(NEIGHBOUR_PLACE, 1).map_err(text)?;
    Engine::start()?.aim(NEIGHBOUR_PLACE, 64)?;
    let own = written(NEIGHBOUR_PLACE)?;
    trial::unmap(NEIGHBOUR_PLACE, 1).map_err(text)?;
    words[DONE].store(2, Ordering::Release);
    channel.notify().map_err(text)?;
    until("the neighbour's answer", || words[DONE].load(Ordering::Acquire) == 3)?;
    let changed = words[FOUND].load(Ordering::Acquire);
    end_application("peer").map_err(text)?;
    ensure!(own > 16, "{own} bytes of our own page were written");
    ensure!(changed == 0, "{changed} words of the neighbour's page have changed");
    Ok(())
}

fn foreign_interrupt() -> Outcome {
    let _attempts = Attempts::begin();
    let own = u64::from(engine_number()?);
    // Another device's interrupt, and one that nobody has. (Not every unit records these: that nothing comes is what
    // counts.)
    for address in [interrupt(own - 1), INTERRUPT_WINDOW | 200 << 5] {
        let mut engine = Engine::start()?;
        let came = || counter(Counter::SpuriousInterrupts) + counter(Counter::Interrupts);
        let before = came();
        engine.shoot(address, 4)?;
        engine.settle(0, BLOCKED | STOPPED)?;
        let interrupts = came() - before;
        ensure!(interrupts == 0, "{interrupts} interrupts came through by {address:#x}");
    }
    Ok(())
}

/// A device may write its own interrupt's address as often as it likes, whatever its MSI-X table says.
fn storm() -> Outcome {
    let _attempts = Attempts::begin();
    let mut engine = Engine::start()?;
    let address = interrupt(u64::from(engine.device.number));
    let before = counter(Counter::Interrupts);
    for _ in 0..2_000 {
        if state(engine.device.number) & STOPPED != 0 {
            break;
        }
        engine.shoot(address, 4)?;
        engine.settle(0, STOPPED)?;
    }
    let interrupts = counter(Counter::Interrupts) - before;
    let stands = state(engine.device.number);
    drop(engine);
    log!("{interrupts} interrupts until the device was stopped");
    ensure!(stands & STOPPED != 0, "{interrupts} interrupts, and it stands at {stands:#x}");
    ensure!((2..200).contains(&interrupts), "{interrupts} interrupts");
    ensure!(state(engine_number()?) & STOPPED == 0, "stopped for its next owner too");
    registered()
}

fn engine_number() -> Result<u32, NotOk> {
    Ok(Engine::start()?.device.number)
}

/// Blocked twice without being given back: it is stopped, and reports end.
fn going_on() -> Outcome {
    let _attempts = Attempts::begin();
    let mut engine = Engine::start()?;
    let before = counter(Counter::BlockedTransfers);
    for _ in 0..50 {
        if state(engine.device.number) & STOPPED != 0 {
            break;
        }
        // The device calls itself broken after the first: it is started again behind the kernel's back.
        engine.shoot(PLACE, 4)?;
        engine.settle(0, STOPPED)?;
        engine.queue = Queue::new();
        engine.rounds = 0;
        engine.registers.start(engine.queue.places()).map_err(fault)?;
    }
    let reports = counter(Counter::BlockedTransfers) - before;
    let stands = state(engine.device.number);
    drop(engine);
    ensure!(stands & STOPPED != 0, "after {reports} reports it stands at {stands:#x}");
    ensure!(reports <= 4, "{reports} reports");
    registered()
}

/// Two applications acquire and release the same device as fast as they can: it is never both's.
fn race() -> Outcome {
    const ROUNDS: u64 = 40;
    let number = engine_number()?;
    let channel = order(orders::RACE)?;
    let words = channel.words();
    words[orders::DEVICE].store(u64::from(number) + 1, Ordering::Release);
    let (mut won, limit) = (0, now_ns() + PATIENCE_NS);
    while won < ROUNDS || words[FOUND].load(Ordering::Acquire) < ROUNDS {
        won += u64::from(orders::grab(number, words)?);
        ensure!(now_ns() < limit, "we won {won} times, the other {}", words[FOUND].load(Ordering::Acquire));
        if won.is_multiple_of(16) {
            wait(Some(now_ns() + 50_000), 0);
        }
    }
    let both = words[orders::BOTH].load(Ordering::Acquire);
    end_application("peer").map_err(text)?;
    log!("{won} times ours, {} times the other's", words[FOUND].load(Ordering::Acquire));
    ensure!(both == 0, "{both} times it was both's");
    Ok(())
}

/// The owner of a card dies with a thousand receive buffers posted: frames come back, the card serves the next one.
fn killed_in_flight() -> Outcome {
    let mut last = 0;
    for round in 0..4 {
        let channel = order(orders::FLIGHT)?;
        let words = channel.words();
        until("buffers in flight", || words[DONE].load(Ordering::Acquire) == 1)?;
        let posted = words[FOUND].load(Ordering::Acquire);
        end_application("peer").map_err(text)?;
        if posted == 0 {
            return Err(NotOk::Skipped("the machine has no card with a large ring"));
        }
        ensure!(posted >= 1000, "{posted} buffers only");
        let ended = status("peer");
        ensure!(ended.code == ENDED, "{ended:?}");
        let free = counter(Counter::FreeFrames);
        ensure!(round == 0 || free == last, "{last} free frames became {free}");
        last = free;
        log!("{posted} buffers were in flight");
    }
    Ok(())
}
