//! Several pairs of queues: told to steer, served by two cores, with a link that goes and comes, and started again. The
//! host asks over many flows; the guest sends every datagram back on the pair that its source port chooses, and judges
//! on which one the next of that flow came.
//!
//! With `# pairs = 2` in the configuration. Parts are numbered; a datagram of [`END`] and the number ends that part, so one
//! that comes late ends no other.

use crate::frames::{UDP_HEADERS, reflect};
use crate::{NotOk, Outcome, ensure, report};
use alloc::format;
use alloc::string::String;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use nom_guest_devices::{Acquired, acquire, memory};
use nom_runtime::abi::device::kind;
use nom_runtime::thread::Mutex;
use nom_runtime::{cores, log, now_ns, wait};
use nom_stack::port::{Egress, Frame, Ingress};
use nom_virtio_net::{Config, Device, Pair, Spread, start_spread};
use nom_virtqueue::transport::{Mapped, Transport};

/// The guest's address.
const ADDRESS: [u8; 4] = [10, 77, 0, 2];
/// Ends a part, with the digit of its number behind it. The host sends it until it comes back.
const END: &[u8] = b"end";
/// The parts that the host drives.
const STEERED: u8 = b'1';
const TWO_CORES: u8 = b'2';
const LINK: u8 = b'3';
const AGAIN: u8 = b'4';
/// The host asks over the flows of one pair only.
const FIRST_ASLEEP: u8 = b'5';
const SECOND_ASLEEP: u8 = b'6';
/// Each pair has a vector for what comes in and one for what goes out.
const VECTORS_APART: u16 = 2;
/// A core that sleeps looks that often whether the part is over.
const LOOK_NS: u64 = 50_000_000;
/// Begins the first datagram of a flow in a part: it may come on any pair.
const FIRST: &[u8] = b"first";
/// The longest frame that is reflected.
const FRAME_MAX: usize = 1514;
/// How long the host may take for a part.
const PATIENCE_NS: u64 = 60_000_000_000;
/// The host's kernel forgets where a flow belongs when it is silent for seconds, as on a busy machine: of so many
/// datagrams one may come on the wrong pair. Without steering half would.
const ASTRAY_SHARE: u64 = 8;

type Bells = <Mapped as Transport>::Bell;
type Halves = Pair<Bells>;

/// What the further core serves, on its way there and back.
static HANDED: Mutex<Option<(Halves, [u8; 6])>> = Mutex::new(None);
/// The part is over.
static OVER: AtomicBool = AtomicBool::new(false);
/// The further core has put its pair back.
static BACK: AtomicBool = AtomicBool::new(false);
/// Datagrams that came on each pair.
static CAME: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

/// What the further core waits for, and which part it is, where it sleeps.
static ASLEEP: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
/// How often each core was woken by its pair's interrupt.
static WOKEN: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

/// Runs the parts; says whether all went well.
pub fn run() -> Result<bool, String> {
    let memory = memory().map_err(|_| "no memory is registered")?;
    let card = acquire(kind::NETWORK).map_err(|error| format!("no network card: {error:?}"))?;
    let vectors = card.vector(0).zip(card.vector(1));
    let Acquired { registers, device, .. } = card;
    let (vectors_apart, pairs) = (VECTORS_APART, 2);
    let config =
        Config { vectors, vectors_apart, pairs, receive_buffers: 64, send_frames: 32, ..Config::default() };
    let Spread { device: mut network, mut pairs } =
        start_spread(registers, &memory, config).map_err(|error| format!("{error}"))?;
    if pairs.len() != 2 {
        return Err(format!("the card has {} pair of queues, not 2", pairs.len()));
    }
    let mac = network.mac();
    let event = device.event();
    let mut well = true;
    let mut note = |name: &str, outcome: Outcome| well &= report(name, outcome);
    note("pairs_follow_the_sender", steered(&mut pairs, mac, STEERED));
    note("pairs_are_served_by_two_cores", two_cores(&mut pairs, mac));
    note("link_goes_and_comes", link(&mut network, &mut pairs, event));
    let again = network.restart_spread(&mut pairs);
    let again = again.map_err(|error| NotOk::from(format!("{error}")));
    note("pairs_start_again", again.and_then(|()| steered(&mut pairs, mac, AGAIN)));
    let events = match vectors {
        Some((into, _)) => [0, 1].map(|pair| device.own_event(u32::from(into + pair * VECTORS_APART)).ok()),
        None => [None; 2],
    };
    note("pairs_wake_their_own_core_first", asleep(&mut pairs, mac, FIRST_ASLEEP, events));
    note("pairs_wake_their_own_core_second", asleep(&mut pairs, mac, SECOND_ASLEEP, events));
    network.stop().map_err(|error| format!("{error}"))?;
    Ok(well)
}

/// What came of one look at a pair.
#[derive(Default)]
struct Looked {
    datagrams: u64,
    astray: u64,
    over: bool,
}

/// Sends back what waits on pair `at` of `pairs`, on the pair that `choose` names for its source port.
fn serve(pairs: &mut [Halves], at: usize, mac: [u8; 6], part: u8, choose: impl Fn(usize) -> usize) -> Looked {
    let mut looked = Looked::default();
    pairs[at].receiver.look(now_ns());
    while let Some(arrival) = pairs[at].receiver.take() {
        let mut room = [0; FRAME_MAX];
        let bytes = pairs[at].receiver.bytes(&arrival);
        let len = bytes.len().min(FRAME_MAX);
        room[..len].copy_from_slice(&bytes[..len]);
        pairs[at].receiver.give_back(arrival);
        let frame = &mut room[..len];
        if !reflect(frame, mac, ADDRESS) {
            continue;
        }
        let mut to = at;
        if frame[12..14] == [8, 0] && len > UDP_HEADERS {
            // They were exchanged.
            to = choose(usize::from(frame[37]));
            looked.datagrams += 1;
            looked.astray += u64::from(to != at && !frame[UDP_HEADERS..].starts_with(FIRST));
            let ends = frame[UDP_HEADERS..].strip_prefix(END);
            looked.over |= ends.is_some_and(|rest| rest.first() == Some(&part));
        }
        let sender = &mut pairs[to].sender;
        // One that finds no room is lost, and the host asks again.
        let _ = sender.queue(Frame { headers: frame, payload: &[], checksum: None, segment_len: None });
        sender.kick();
        sender.completed();
    }
    looked
}

fn healthy(pairs: &[Halves]) -> Outcome {
    let fault = pairs.iter().find_map(|pair| pair.receiver.fault().or(pair.sender.fault()));
    ensure!(fault.is_none(), "the card broke the contract: {fault:?}");
    Ok(())
}

/// One core, both pairs: what is answered on a pair comes there from then on.
fn steered(pairs: &mut [Halves], mac: [u8; 6], part: u8) -> Outcome {
    log!("pairs: part {}", char::from(part));
    let until_ns = now_ns() + PATIENCE_NS;
    let (mut came, mut astray, mut over) = ([0, 0], 0, false);
    while !over {
        ensure!(now_ns() < until_ns, "the host does not end it: {came:?} came");
        for (at, came) in came.iter_mut().enumerate() {
            let looked = serve(pairs, at, mac, part, |port| port % 2);
            *came += looked.datagrams;
            astray += looked.astray;
            over |= looked.over;
        }
        healthy(pairs)?;
    }
    ensure!(came[0] > 0 && came[1] > 0, "nothing came on one of the pairs: {came:?}");
    let all = came[0] + came[1];
    ensure!(astray <= all / ASTRAY_SHARE, "{astray} of {all} came on the other pair");
    Ok(())
}

/// Each core has a pair, and knows nothing of the other.
fn two_cores(pairs: &mut alloc::vec::Vec<Halves>, mac: [u8; 6]) -> Outcome {
    let Some(second) = pairs.pop() else { return Err(String::from("there is no second pair").into()) };
    *HANDED.lock() = Some((second, mac));
    if let Err(error) = cores::start(1, second_core, 0) {
        pairs.extend(HANDED.lock().take().map(|(pair, _)| pair));
        return Err(format!("no second core: {error:?}").into());
    }
    log!("pairs: part {}", char::from(TWO_CORES));
    let until_ns = now_ns() + PATIENCE_NS;
    while !OVER.load(Ordering::Acquire) {
        let looked = serve(&mut pairs[..1], 0, mac, TWO_CORES, |_| 0);
        CAME[0].fetch_add(looked.datagrams, Ordering::Relaxed);
        if looked.over || now_ns() > until_ns {
            OVER.store(true, Ordering::Release);
        }
    }
    // The other core sees the end in its next turn.
    while !BACK.load(Ordering::Acquire) {
        core::hint::spin_loop();
    }
    pairs.extend(HANDED.lock().take().map(|(pair, _)| pair));
    ensure!(pairs.len() == 2, "the second core lost its pair");
    healthy(pairs)?;
    let came = [0, 1].map(|at| CAME[at].load(Ordering::Relaxed));
    ensure!(came[0] > 0 && came[1] > 0, "nothing came to one of the cores: {came:?}");
    ensure!(now_ns() < until_ns, "the host does not end it: {came:?} came");
    Ok(())
}

fn second_core(_: u64) {
    let Some((pair, mac)) = HANDED.lock().take() else {
        BACK.store(true, Ordering::Release);
        return;
    };
    let mut pair = [pair];
    while !OVER.load(Ordering::Acquire) {
        let looked = serve(&mut pair, 0, mac, TWO_CORES, |_| 0);
        CAME[1].fetch_add(looked.datagrams, Ordering::Relaxed);
        if looked.over {
            OVER.store(true, Ordering::Release);
        }
    }
    let [pair] = pair;
    *HANDED.lock() = Some((pair, mac));
    BACK.store(true, Ordering::Release);
}

/// Serves one pair, asleep between datagrams, until the part is over.
fn serve_asleep(pair: &mut [Halves], core: usize, mac: [u8; 6], part: u8, event: u64, until_ns: u64) {
    while !OVER.load(Ordering::Acquire) {
        let looked = serve(pair, 0, mac, part, |_| 0);
        CAME[core].fetch_add(looked.datagrams, Ordering::Relaxed);
        if looked.over || now_ns() > until_ns {
            OVER.store(true, Ordering::Release);
        } else if looked.datagrams == 0 && pair[0].receiver.arm() {
            let came = wait(Some(now_ns() + LOOK_NS), event);
            WOKEN[core].fetch_add(u64::from(came & event != 0), Ordering::Relaxed);
        }
    }
}

/// Each core sleeps until its own pair interrupts. The host asks over one pair: the other core sleeps on.
fn asleep(pairs: &mut alloc::vec::Vec<Halves>, mac: [u8; 6], part: u8, events: [Option<u64>; 2]) -> Outcome {
    let [Some(first), Some(second)] = events else {
        log!("pairs: part {}", char::from(part));
        return steered_quietly(pairs, mac, part);
    };
    let Some(handed) = pairs.pop() else { return Err(String::from("there is no second pair").into()) };
    *HANDED.lock() = Some((handed, mac));
    ASLEEP[0].store(second, Ordering::Release);
    ASLEEP[1].store(part.into(), Ordering::Release);
    CAME.iter().chain(&WOKEN).for_each(|count| count.store(0, Ordering::Release));
    [&OVER, &BACK].iter().for_each(|flag| flag.store(false, Ordering::Release));
    if let Err(error) = cores::start(1, second_core_asleep, 0) {
        pairs.extend(HANDED.lock().take().map(|(pair, _)| pair));
        return Err(format!("no second core: {error:?}").into());
    }
    log!("pairs: part {}", char::from(part));
    let until_ns = now_ns() + PATIENCE_NS;
    serve_asleep(&mut pairs[..1], 0, mac, part, first, until_ns);
    while !BACK.load(Ordering::Acquire) {
        core::hint::spin_loop();
    }
    pairs.extend(HANDED.lock().take().map(|(pair, _)| pair));
    healthy(pairs)?;
    let [came, woken] = [&CAME, &WOKEN].map(|counts| [0, 1].map(|at| counts[at].load(Ordering::Relaxed)));
    log!("pairs: {came:?} datagrams came, and the cores were woken {woken:?} times");
    ensure!(now_ns() < until_ns, "the host does not end it: {came:?} came");
    let (asked, other) = if part == FIRST_ASLEEP { (0, 1) } else { (1, 0) };
    ensure!(came[asked] > 0 && woken[asked] > 0, "its own core was not woken: {came:?}, {woken:?}");
    let most = came[asked] / ASTRAY_SHARE;
    ensure!(woken[other] <= most, "the other core was woken {} times for {came:?}", woken[other]);
    Ok(())
}

/// A card with one line for all its queues: there is nothing to tell apart, and the host is answered all the same.
fn steered_quietly(pairs: &mut [Halves], mac: [u8; 6], part: u8) -> Outcome {
    let until_ns = now_ns() + PATIENCE_NS;
    let mut over = false;
    while !over {
        ensure!(now_ns() < until_ns, "the host does not end it");
        for at in 0..pairs.len() {
            over |= serve(pairs, at, mac, part, |port| port % 2).over;
        }
    }
    healthy(pairs)?;
    Err(NotOk::Skipped("the card has one line"))
}

fn second_core_asleep(_: u64) {
    let Some((pair, mac)) = HANDED.lock().take() else {
        return BACK.store(true, Ordering::Release);
    };
    let (event, part) = (ASLEEP[0].load(Ordering::Acquire), ASLEEP[1].load(Ordering::Acquire) as u8);
    let mut pair = [pair];
    serve_asleep(&mut pair, 1, mac, part, event, now_ns() + PATIENCE_NS);
    let [pair] = pair;
    *HANDED.lock() = Some((pair, mac));
    BACK.store(true, Ordering::Release);
}

/// Asleep, woken by the card when the link changes; then datagrams come and go as before.
fn link(network: &mut Device<Mapped>, pairs: &mut [Halves], event: u64) -> Outcome {
    for up in [false, true] {
        log!("pairs: waiting for the link to be {}", if up { "up" } else { "down" });
        let until_ns = now_ns() + PATIENCE_NS;
        loop {
            let mac = network.mac();
            let mut may_sleep = true;
            for at in 0..2 {
                serve(pairs, at, mac, LINK, |port| port % 2);
                may_sleep &= pairs[at].receiver.arm();
            }
            if let Some(change) = network.link_change() {
                ensure!(change == up, "the link is the other way");
                break;
            }
            ensure!(now_ns() < until_ns, "nothing told of the link");
            if may_sleep {
                wait(Some(until_ns), event);
            }
        }
    }
    ensure!(!network.needs_reset(), "the card says it is unwell");
    steered(pairs, network.mac(), LINK)
}
