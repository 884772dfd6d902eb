//! Hostile calls against a small world: whatever is accepted must be within the caller's rights.

use nom_abi::call::{BASE, CALLS, FOREVER};
use nom_abi::upcall::device_event;

use super::*;
use crate::channels::End;
use crate::frames::Frame;
use crate::schedule::Context;
use crate::tests::Dice;

/// Readable, writable or executable ranges of the world's one application.
const CODE: core::ops::Range<u64> = 0x40_0000..0x40_3000;
const DATA: core::ops::Range<u64> = 0x50_0000..0x50_4000;
/// Three pages of 2 MiB.
const LARGE_DATA: core::ops::Range<u64> = 0x80_0000..0xe0_0000;

struct World {
    cores: Cores,
    channels: Channels,
    devices: Devices,
    displaced: bool,
    trusted: bool,
    confined: bool,
    publisher: bool,
    free: u64,
}

fn world() -> World {
    let mut devices = Devices::new();
    for kind in [1, 3, 2] {
        devices.add(kind, 0, kind, kind == 2);
    }
    devices.acquire(Device(0), Application(0));
    devices.acquire(Device(1), Application(1));
    devices.set_ports(Device(0), (0xc000, 32));
    devices.set_ports(Device(1), (0xc020, 32));
    let mut cores = Cores::new(4);
    cores.settle(Application(0));
    cores.settle(Application(1));
    cores.acquire(Core(3), Application(0));
    let mut channels = Channels::new();
    let end = |application| End { application, context: Context(0), address: 0 };
    channels.open(Channel(0), 0, end(Application(0)), (Frame(1), 1));
    channels.open(Channel(0), 1, end(Application(1)), (Frame(1), 1));
    channels.open(Channel(1), 0, end(Application(1)), (Frame(2), 1));
    channels.open(Channel(2), 0, end(Application(0)), (Frame(3), 1));
    World {
        cores,
        channels,
        devices,
        displaced: false,
        trusted: true,
        confined: true,
        publisher: true,
        free: 2000,
    }
}

fn inside(range: &core::ops::Range<u64>, start: u64, len: u64) -> bool {
    start >= range.start && start.checked_add(len).is_some_and(|end| end <= range.end)
}

impl Facts for World {
    fn caller(&self) -> Application {
        Application(0)
    }
    fn channels(&self) -> &Channels {
        &self.channels
    }
    fn context_room(&self) -> bool {
        true
    }
    fn has_context_on(&self, core: Core) -> bool {
        self.cores.owner(core) == Some(Application(0))
    }
    fn confined(&self) -> bool {
        self.confined
    }
    fn displaced(&self) -> bool {
        self.displaced
    }
    fn trusted(&self) -> bool {
        self.trusted
    }
    fn publisher(&self) -> bool {
        self.publisher
    }
    fn cores(&self) -> &Cores {
        &self.cores
    }
    fn devices(&self) -> &Devices {
        &self.devices
    }
    fn readable(&self, start: u64, len: u64) -> bool {
        inside(&CODE, start, len) || inside(&DATA, start, len)
    }
    fn writable(&self, start: u64, len: u64) -> bool {
        inside(&DATA, start, len)
    }
    fn executable(&self, address: u64) -> bool {
        CODE.contains(&address)
    }
    fn unmapped(&self, start: u64, pages: u64) -> bool {
        let end = start + pages * PAGE_LEN;
        [CODE, DATA, LARGE_DATA].iter().all(|range| end <= range.start || start >= range.end)
    }
    fn owned(&self, start: u64, pages: u64) -> bool {
        inside(&DATA, start, pages * PAGE_LEN) || inside(&LARGE_DATA, start, pages * PAGE_LEN)
    }
    fn free_frames(&self) -> u64 {
        self.free
    }
    fn pieces(&self, shape: Shape, pieces: u64) -> bool {
        shape.count.saturating_mul(pieces) <= 100 || shape == Shape::LARGE && pieces <= 1
    }
    fn only_owned(&self, start: u64, pages: u64) -> bool {
        let end = start + pages * PAGE_LEN;
        end <= CODE.start || start >= CODE.end
    }
    fn large(&self, address: u64) -> bool {
        LARGE_DATA.contains(&address)
    }
    fn owns_ports(&self, first: u16, count: u16) -> bool {
        self.devices.owns_ports(first, count, Application(0))
    }
    fn device_pages(&self, device: Device) -> u64 {
        [1, 1, 4][device.0 as usize]
    }
}

fn ask(call: Call, arguments: &[u64]) -> Result<Request, CallError> {
    let mut all = [0; 5];
    all[..arguments.len()].copy_from_slice(arguments);
    decode(call as u64, all, &world())
}

#[test]
fn honest_calls_are_understood() {
    assert_eq!(ask(Call::Log, &[DATA.start, 5]), Ok(Request::Log { text: DATA.start, len: 5 }));
    assert_eq!(ask(Call::Exit, &[500]), Ok(Request::Exit { code: 127 }));
    let acquired = Request::AcquireCore { core: Core(2), entry: CODE.start, stack: 7, argument: 8 };
    assert_eq!(ask(Call::AcquireCore, &[2, CODE.start, 7, 8]), Ok(acquired));
    assert_eq!(ask(Call::ReleaseCore, &[3]), Ok(Request::ReleaseCore(Core(3))));
    assert_eq!(ask(Call::CallCore, &[3]), Ok(Request::CallCore(Core(3))));
    assert_eq!(ask(Call::NotifyChannel, &[0]), Ok(Request::NotifyChannel(Channel(0))));
    assert_eq!(ask(Call::CloseChannel, &[2]), Ok(Request::CloseChannel(Channel(2))));
    let name = Name { text: DATA.start, len: 4 };
    assert_eq!(ask(Call::StartApplication, &[DATA.start, 4]), Ok(Request::StartApplication(name)));
    let rights = Rights { access: true, write: true, execute: false };
    let (address, shape) = (0x60_0000, Shape::together(9));
    let mapped = Request::Map { address, pages: 9, rights, shape, large: false, tell: true };
    assert_eq!(ask(Call::Map, &[address, 9, WRITE | CONTIGUOUS]), Ok(mapped));
    let shape = Shape { count: 1, divisor: 64, rest: 5 };
    let mapped = Request::Map { address, pages: 9, rights, shape, large: false, tell: false };
    assert_eq!(ask(Call::Map, &[address, 9, WRITE, 64, 5]), Ok(mapped));
    let mapped = Request::Map { address, pages: 512, rights, shape: Shape::LARGE, large: true, tell: false };
    assert_eq!(ask(Call::Map, &[address, 512, WRITE | LARGE]), Ok(mapped));
    let filled = Request::Fill { address, pages: 512, done: 64, tell: false };
    let again = decode(64 << 32 | Call::Map as u64, [address, 512, WRITE | LARGE, 0, 0], &world());
    assert_eq!(again, Ok(filled));
    let unmapped = Request::Unmap { address: LARGE_DATA.start, pages: 1024 };
    assert_eq!(ask(Call::Unmap, &[LARGE_DATA.start, 1024]), Ok(unmapped));
    let unmapped = Request::Unmap { address: DATA.start, pages: 50 };
    assert_eq!(ask(Call::Unmap, &[DATA.start, 50, SPARSE]), Ok(unmapped));
    let rights = Rights { access: false, write: false, execute: false };
    let protected = Request::Protect { address: DATA.start, pages: 1, rights };
    assert_eq!(ask(Call::Protect, &[DATA.start, 1, NO_ACCESS]), Ok(protected));
    assert_eq!(ask(Call::Unmask, &[device_event(0)]), Ok(Request::Unmask { events: device_event(0) }));
    let steered = Request::Steer { line: Line { device: Device(0), vector: 0 }, event: device_event(9) };
    assert_eq!(ask(Call::Steer, &[0, 0, device_event(9)]), Ok(steered));
    let port = |port, bytes, value| Ok(Request::Port { port, bytes, value });
    assert_eq!(ask(Call::Port, &[0xc01c, 4]), port(0xc01c, 4, None));
    assert_eq!(ask(Call::Port, &[0xc01f, 1 | PORT_WRITE, 7]), port(0xc01f, 1, Some(7)));
    assert_eq!(ask(Call::Wait, &[FOREVER, 0]), Ok(Request::Wait { until_ns: FOREVER, events: 0 }));
    assert_eq!(ask(Call::ReleaseDevice, &[0]), Ok(Request::ReleaseDevice(Device(0))));
    let acquired = Request::AcquireDevice { device: Device(2), address: 0x70_0000, place: DATA.start };
    assert_eq!(ask(Call::AcquireDevice, &[2, 0x70_0000, DATA.start]), Ok(acquired));
}

#[test]
fn each_refusal_has_its_reason() {
    use CallError::*;
    for (call, arguments, error) in [
        (Call::Log, &[0, 5][..], BadAddress),
        (Call::Log, &[DATA.start, 0], BadLength),
        (Call::Log, &[DATA.start, LOG_LEN_MAX + 1], BadLength),
        (Call::Log, &[DATA.end - 2, 5], BadAddress),
        (Call::Log, &[u64::MAX, 5], BadAddress),
        (Call::Log, &[0xffff_8000_0000_0000, 5], BadAddress),
        (Call::AcquireCore, &[0], Taken),
        (Call::AcquireCore, &[1], Taken),
        (Call::AcquireCore, &[4], NoSuch),
        (Call::AcquireCore, &[2, DATA.start], BadAddress),
        (Call::AcquireCore, &[2, CODE.start, u64::MAX], BadAddress),
        (Call::CallCore, &[1], NotOwner),
        (Call::CallCore, &[9], NoSuch),
        (Call::StartApplication, &[DATA.start, 41], BadLength),
        (Call::StartApplication, &[DATA.start, 0], BadLength),
        (Call::EndApplication, &[8, 4], BadAddress),
        (Call::ApplicationStatus, &[DATA.end - 2, 4], BadAddress),
        (Call::OpenChannel, &[DATA.start, 4, 8], BadAddress),
        (Call::OpenChannel, &[DATA.start, 4, USER_END], BadAddress),
        (Call::CloseChannel, &[1], NoSuch),
        (Call::CloseChannel, &[99], NoSuch),
        (Call::NotifyChannel, &[1], NoSuch),
        (Call::NotifyChannel, &[2], Gone),
        (Call::ReleaseCore, &[0], BadArgument),
        (Call::ReleaseCore, &[1], NotOwner),
        (Call::ReleaseCore, &[2], NotOwner),
        (Call::Map, &[0x60_0000, 0, WRITE], BadLength),
        (Call::Map, &[0x60_0000, u64::MAX, WRITE], BadLength),
        (Call::Map, &[0x60_0001, 1, WRITE], BadAddress),
        (Call::Map, &[0, 1, WRITE], BadAddress),
        (Call::Map, &[USER_END, 1, WRITE], BadAddress),
        (Call::Map, &[0xffff_ffff_8000_0000, 1, WRITE], BadAddress),
        (Call::Map, &[0x60_0000, 1, WRITE | EXECUTE], BadArgument),
        (Call::Map, &[0x60_0000, 1, 32], BadArgument),
        (Call::Map, &[0x60_0000, 1, WRITE | NO_ACCESS], BadArgument),
        (Call::Map, &[0x60_1000, 512, WRITE | LARGE], BadAddress),
        (Call::Map, &[0x60_0000, 511, WRITE | LARGE], BadLength),
        (Call::Map, &[0x60_0000, 1, WRITE | LARGE], BadLength),
        (Call::Map, &[0, 512, WRITE | LARGE], BadAddress),
        (Call::Map, &[USER_END & !0x1f_ffff, 512, WRITE | LARGE], BadAddress),
        (Call::Map, &[0x60_0000, 512, WRITE | LARGE, 2, 0], BadArgument),
        (Call::Map, &[0x60_0000, 1 << 24, WRITE | LARGE], NoMemory),
        (Call::Map, &[0x80_0000, 512, WRITE | LARGE], AlreadyMapped),
        (Call::Map, &[0x2000_0000, 1024, WRITE | LARGE | CONTIGUOUS], NoMemory),
        (Call::Map, &[0x60_0000, 101, WRITE | CONTIGUOUS, 2, 0], NoMemory),
        (Call::Map, &[0x60_0000, 1, WRITE, 3, 0], BadArgument),
        (Call::Map, &[0x60_0000, 1, WRITE, 4, 4], BadArgument),
        (Call::Map, &[0x60_0000, 1, WRITE, 0, 1], BadArgument),
        (Call::Map, &[0x60_0000, 1, WRITE, 2 * COLOURS_MAX, 0], BadArgument),
        (Call::Map, &[0x60_0000, 1, WRITE, 1 << 63, 0], BadArgument),
        (Call::Map, &[0x60_0000, 101, WRITE, 2, 0], NoMemory),
        (Call::Unmap, &[LARGE_DATA.start + 0x1000, 1023], BadAddress),
        (Call::Unmap, &[LARGE_DATA.start, 513], BadAddress),
        (Call::Unmap, &[LARGE_DATA.start, 513, SPARSE], BadAddress),
        (Call::Unmap, &[CODE.start - PAGE_LEN, 9, SPARSE], NotMapped),
        (Call::Unmap, &[USER_END - PAGE_LEN, 2, SPARSE], BadAddress),
        (Call::Unmap, &[DATA.start, PAGES_MAX + 1, SPARSE], BadLength),
        (Call::Unmap, &[DATA.start, 1, WRITE], BadArgument),
        (Call::Protect, &[LARGE_DATA.start, 1, 0], BadAddress),
        (Call::Protect, &[DATA.start, 1, NO_ACCESS | WRITE], BadArgument),
        (Call::Map, &[DATA.start, 1, WRITE], AlreadyMapped),
        (Call::Map, &[0x60_0000, 511, WRITE | LARGE | CONTIGUOUS], BadLength),
        (Call::Map, &[0x2000_0000, 2000, WRITE], NoMemory),
        (Call::Map, &[0x60_0000, 101, WRITE | CONTIGUOUS], NoMemory),
        (Call::Unmap, &[CODE.start, 1], NotMapped),
        (Call::Unmap, &[DATA.start, 5], NotMapped),
        (Call::Protect, &[DATA.start, 1, WRITE | EXECUTE], BadArgument),
        (Call::AcquireDevice, &[0, 0x70_0000, DATA.start], Taken),
        (Call::AcquireDevice, &[1, 0x70_0000, DATA.start], Taken),
        (Call::AcquireDevice, &[3, 0x70_0000, DATA.start], NoSuch),
        (Call::AcquireDevice, &[2, 0x70_0000, CODE.start], BadAddress),
        (Call::AcquireDevice, &[2, 0x70_0000, DATA.start + 4], BadAddress),
        (Call::AcquireDevice, &[2, DATA.start, DATA.start], AlreadyMapped),
        (Call::ReleaseDevice, &[1], NotOwner),
        (Call::RegisterDma, &[CODE.start, 1], NotMapped),
        (Call::RegisterDma, &[DATA.start, 5], NotMapped),
        (Call::RegisterDma, &[DATA.start + 8, 1], BadAddress),
        (Call::RegisterDma, &[DATA.start, 0], BadLength),
        (Call::WithdrawDma, &[0xffff_8000_0000_0000, 1], BadAddress),
        (Call::Unmask, &[device_event(1)], NotOwner),
        (Call::Port, &[0xc000, 3], BadArgument),
        (Call::Port, &[0xc000, 0], BadArgument),
        (Call::Port, &[0xc000, 1 << 32 | 1], BadArgument),
        (Call::Port, &[0xc000, PORT_WRITE], BadArgument),
        (Call::Port, &[0xc01e, 4], NotOwner),
        (Call::Port, &[0xc020, 1], NotOwner),
        (Call::Port, &[0xbfff, 1], NotOwner),
        (Call::Port, &[0x3f8, 1], NotOwner),
        (Call::Port, &[0xffff, 4], NotOwner),
        (Call::Port, &[0x1_c000, 1], NoSuch),
        (Call::Steer, &[1, 0, device_event(9)], NotOwner),
        (Call::Steer, &[3, 0, device_event(9)], NoSuch),
        (Call::Steer, &[0, 1, device_event(9)], NoSuch),
        (Call::Steer, &[0, u64::MAX, device_event(9)], NoSuch),
        (Call::Steer, &[0, 0, device_event(9) | device_event(8)], BadArgument),
        (Call::Steer, &[0, 0, 1], BadArgument),
        (Call::Steer, &[0, 0, 0], BadArgument),
        (Call::Unmask, &[u64::MAX], NotOwner),
        (Call::Wait, &[0, 1], NotOwner),
        (Call::PublishPrices, &[8], BadAddress),
        (Call::RegisterUpcalls, &[DATA.end - 8], BadAddress),
    ] {
        assert_eq!(ask(call, arguments), Err(error), "{call:?} {arguments:x?}");
    }
    assert_eq!(decode(1, [0; 5], &world()), Err(UnknownCall));
    assert_eq!(decode(BASE + 99, [0; 5], &world()), Err(UnknownCall));
    assert_eq!(decode(1 << 32 | Call::Unmap as u64, [DATA.start, 1, 0, 0, 0], &world()), Err(UnknownCall));
    let again = |arguments| decode(1 << 32 | Call::Map as u64, arguments, &world());
    assert_eq!(again([0, 5, 0, 0, 0]), Err(BadAddress));
    assert_eq!(again([DATA.start, u64::MAX, 0, 0, 0]), Err(BadLength));
    let stranger = World { trusted: false, publisher: false, ..world() };
    let asked = |call: Call, arguments| decode(call as u64, arguments, &stranger);
    assert_eq!(asked(Call::PublishPrices, [DATA.start, 0, 0, 0, 0]), Err(NotPublisher));
    assert_eq!(asked(Call::Map, [0x60_0000, 1, CONTIGUOUS, 0, 0]), Err(NotTrusted));
    let again = decode(1 << 32 | Call::Map as u64, [DATA.start, 1, CONTIGUOUS, 0, 0], &stranger);
    assert_eq!(again, Err(NotTrusted));
    // Only a device that an IOMMU stands before is for everybody.
    let device = |number| [number, 0x70_0000, DATA.start, 0, 0];
    assert!(asked(Call::AcquireDevice, device(2)).is_ok());
    assert_eq!(asked(Call::AcquireDevice, device(0)), Err(NotTrusted));
    let bare = World { trusted: false, confined: false, ..world() };
    let asked = |call: Call, arguments| decode(call as u64, arguments, &bare);
    assert_eq!(asked(Call::AcquireDevice, device(2)), Err(NotTrusted));
    assert_eq!(asked(Call::RegisterDma, [DATA.start, 1, 0, 0, 0]), Err(NoSuch));
}

#[test]
fn registrations_are_checked() {
    let good = [
        CODE.start,
        DATA.start,
        DATA.start + 64,
        0x2000,
        CODE.start + 8,
        CODE.start + 30,
        CODE.start + 40,
        0,
    ];
    assert!(registration(&good, &world()).is_ok());
    for (place, value) in [
        (0, DATA.start),
        (0, 0),
        (1, CODE.start),
        (1, DATA.start + 4),
        (1, DATA.end - 8),
        (2, u64::MAX),
        (2, 0xffff_8000_0000_0000),
        (3, 8),
        (3, u64::MAX),
        (4, 0),
        (5, CODE.start),
        (5, u64::MAX),
        (6, DATA.start),
    ] {
        let mut bad = good;
        bad[place] = value;
        assert!(registration(&bad, &world()).is_err(), "word {place} = {value:#x}");
    }
}

/// Arguments near every edge there is.
fn claim(dice: &mut Dice) -> u64 {
    let edges = [
        0,
        1,
        2,
        3,
        8,
        PAGE_LEN,
        LOG_LEN_MAX,
        PAGES_MAX,
        USER_START,
        USER_END,
        CODE.start,
        CODE.end,
        DATA.start,
        DATA.end,
        0x7fff_ffff_ffff,
        0x8000_0000_0000,
        0xffff_8000_0000_0000,
        u64::MAX,
        i64::MAX as u64,
    ];
    match dice.below(4) {
        0 => dice.any(),
        1 => dice.below(64),
        2 => edges[dice.below(edges.len() as u64) as usize]
            .wrapping_sub(dice.below(3))
            .wrapping_add(dice.below(3)),
        _ => edges[dice.below(edges.len() as u64) as usize],
    }
}

#[test]
fn whatever_is_accepted_is_within_rights() {
    let world = world();
    let mut dice = Dice::new(11);
    let mut accepted = 0;
    for _ in 0..300_000 {
        let progress = (dice.below(2) * dice.below(1 << 32)) << 32;
        let number = CALLS[dice.below(CALLS.len() as u64) as usize] as u64 | progress;
        let arguments = core::array::from_fn(|_| claim(&mut dice));
        let Ok(request) = decode(number, arguments, &world) else { continue };
        accepted += 1;
        match request {
            Request::Log { text, len } => assert!(world.readable(text, len) && len <= LOG_LEN_MAX),
            Request::Map { address, pages, rights, .. } => {
                assert!(address % PAGE_LEN == 0 && address >= USER_START);
                assert!(address + pages * PAGE_LEN <= USER_END && pages < world.free);
                assert!(!(rights.write && rights.execute));
            }
            Request::Fill { address, pages, .. } => {
                assert!(address >= USER_START && address + pages * PAGE_LEN <= USER_END);
            }
            Request::Unmap { address, pages } => assert!(world.only_owned(address, pages)),
            Request::Protect { address, pages, .. }
            | Request::RegisterDma { address, pages }
            | Request::WithdrawDma { address, pages } => {
                assert!(world.owned(address, pages));
            }
            Request::AcquireCore { core, entry, .. } => {
                assert_eq!(world.cores.owner(core), None);
                assert!(CODE.contains(&entry));
            }
            Request::ReleaseCore(core) => assert_eq!(core, Core(3)),
            Request::Leave => panic!("left a core that was not taken"),
            Request::CallCore(core) => assert_eq!(world.cores.owner(core), Some(Application(0))),
            Request::StartApplication(name)
            | Request::EndApplication(name)
            | Request::ApplicationStatus(name)
            | Request::OpenChannel { name, .. } => {
                assert!(world.readable(name.text, name.len) && (1..=40).contains(&name.len));
            }
            Request::CloseChannel(channel) => assert!([0, 2].contains(&channel.0)),
            Request::NotifyChannel(channel) => assert_eq!(channel, Channel(0)),
            Request::AcquireDevice { device, place, .. } => {
                assert_eq!(world.devices.owner(device), None);
                assert!(world.writable(place, 80));
            }
            Request::Port { port, bytes, .. } => {
                assert!(port >= 0xc000 && port + bytes <= 0xc020 && [1, 2, 4].contains(&bytes));
            }
            Request::Steer { line, event } => {
                assert_eq!(line, Line { device: Device(0), vector: 0 });
                assert!(event.is_power_of_two() && event & nom_abi::upcall::ALL_DEVICES != 0);
            }
            Request::ReleaseDevice(device) => assert_eq!(world.devices.owner(device), Some(Application(0))),
            Request::Unmask { events } | Request::Wait { events, .. } => {
                assert_eq!(events & !device_event(0), 0);
            }
            Request::PublishPrices { place } => assert!(world.readable(place, 80)),
            Request::RegisterUpcalls { place } => assert!(world.readable(place, 64)),
            Request::Nothing | Request::Exit { .. } | Request::SetTimer { .. } => {}
        }
    }
    assert!(accepted > 1000);
}

/// What a call takes at most is there, to the last frame, or nothing is begun.
#[test]
fn the_last_frame_decides() {
    let with = |free, call: Call, arguments: [u64; 5]| {
        decode(call as u64, arguments, &World { free, ..world() }).map(drop)
    };
    let tables = table_frames_max(4) + 1;
    let registered = [DATA.start, 4, 0, 0, 0];
    assert_eq!(with(tables, Call::RegisterDma, registered), Ok(()));
    assert_eq!(with(tables - 1, Call::RegisterDma, registered), Err(CallError::NoMemory));
    let acquired = [2, 0x70_0000, DATA.start, 0, 0];
    assert_eq!(with(tables, Call::AcquireDevice, acquired), Ok(()));
    assert_eq!(with(tables - 1, Call::AcquireDevice, acquired), Err(CallError::NoMemory));
    let mapped = [0x60_0000, 9, WRITE, 0, 0];
    let whole = 9 + table_frames_max(9);
    assert_eq!(with(whole, Call::Map, mapped), Ok(()));
    assert_eq!(with(whole - 1, Call::Map, mapped), Err(CallError::NoMemory));
}

#[test]
fn a_channel_fits_where_nothing_is_and_its_frames_lie_together() {
    let fits = |address, pages, new, free| channel_fits(address, pages, new, &World { free, ..world() });
    assert_eq!(fits(0x60_0000, 9, true, 2000), Ok(()));
    // Together there are a hundred frames in this world.
    assert_eq!(fits(0x60_0000, 101, true, 2000), Err(CallError::NoMemory));
    assert_eq!(fits(0x60_0000, 101, false, 2000), Ok(()), "it has its frames already");
    let tables = table_frames_max(9);
    assert_eq!(fits(0x60_0000, 9, true, tables + 9), Ok(()));
    assert_eq!(fits(0x60_0000, 9, true, tables + 8), Err(CallError::NoMemory));
    assert_eq!(fits(0x60_0000, 9, false, tables), Ok(()));
    assert_eq!(fits(0x60_0000, 9, false, tables - 1), Err(CallError::NoMemory));
    assert_eq!(fits(DATA.start - PAGE_LEN, 2, false, 2000), Err(CallError::AlreadyMapped));
    assert_eq!(fits(0x60_0001, 1, false, 2000), Err(CallError::BadAddress));
    assert_eq!(fits(0x60_0000, 0, false, 2000), Err(CallError::BadLength));
}
