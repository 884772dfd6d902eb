//! The core that has the queue: it keeps its own frames, hands the others theirs, and sends what they send.

use crate::peer::{Peer, give};
use crate::steering::{Way, way};
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;
use nom_port::Bell;
use nom_stack::port::{Arrival, Egress, Frame, Full, Ingress, Offloads, Patience};

/// Frames of one other core that are sent in one look.
const TURN_FRAMES: usize = 64;

/// What a core did for the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames that were handed to other cores.
    pub handed: u64,
    /// Frames that found the ring of their core full, or were longer than it takes.
    pub lost: u64,
    /// Frames that were sent for other cores.
    pub sent: u64,
    /// Times that the device was told again of what it was shown, since it stood still.
    pub reminders: u64,
}

impl Counters {
    /// Counts a frame that was handed over, or lost.
    pub(crate) fn count(&mut self, given: bool) {
        self.handed += u64::from(given);
        self.lost += u64::from(!given);
    }
}

/// The device's sending half, for the first core's own frames and for those of the others between them.
#[derive(Debug)]
struct Out<E> {
    device: E,
    /// What the device calls the frames of this core that it has not read yet, the oldest first.
    own: VecDeque<u64>,
    queued: u64,
    completed: u64,
    /// What the device calls the last frame of all cores.
    last: u64,
    patience: Patience,
}

impl<E: Egress> Out<E> {
    fn queue(&mut self, frame: Frame<'_>) -> Result<u64, Full> {
        self.last = self.device.queue(frame)?;
        Ok(self.last)
    }

    /// Reminds a device that stands still, whosever frames wait there: other cores' stacks hear nothing of that. Whether it
    /// had to.
    fn look_after(&mut self, now_ns: u64) -> bool {
        let read = self.device.completed();
        let is_over = self.patience.is_over(read, self.last, now_ns);
        if is_over {
            self.device.remind();
        }
        is_over
    }
}

/// What comes to the first core.
#[derive(Debug)]
pub struct FrontReceiver<I, E, B> {
    device: I,
    out: Rc<RefCell<Out<E>>>,
    peers: Vec<Peer<B>>,
    port: u16,
    /// Frames for this core, which are the device's handles.
    mine: VecDeque<Arrival>,
    /// Whose frames are sent first in the next look, where there is room for some only.
    turn: usize,
    counters: Counters,
}

/// What leaves the first core.
#[derive(Debug)]
pub struct FrontSender<E>(Rc<RefCell<Out<E>>>);

pub(crate) fn halves<I: Ingress, E: Egress, B: Bell>(
    device: I,
    egress: E,
    peers: Vec<Peer<B>>,
    port: u16,
) -> (FrontReceiver<I, E, B>, FrontSender<E>) {
    let own = VecDeque::with_capacity(egress.capacity());
    let out = Rc::new(RefCell::new(Out {
        device: egress,
        own,
        queued: 0,
        completed: 0,
        last: 0,
        patience: Patience::default(),
    }));
    let mine = VecDeque::with_capacity(device.capacity());
    let sender = FrontSender(Rc::clone(&out));
    (FrontReceiver { device, out, peers, port, mine, turn: 0, counters: Counters::default() }, sender)
}

impl<I: Ingress, E: Egress, B: Bell> FrontReceiver<I, E, B> {
    /// The device's receiving half, to look at.
    pub fn device(&self) -> &I {
        &self.device
    }

    /// What was done for other cores.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Hands all that waits in the device to whom it belongs.
    fn hand_out(&mut self) {
        let cores = self.peers.len() + 1;
        while let Some(arrival) = self.device.take() {
            let frame = self.device.bytes(&arrival);
            let way = way(frame, self.port, cores);
            let (from, to) = match way {
                Way::Core(core) => (core, core + 1),
                Way::All => (0, cores),
            };
            for core in from.max(1)..to {
                let says = &mut self.peers[core - 1].says;
                self.counters.count(give(says, frame, arrival.checksum_good));
            }
            if from == 0 {
                self.mine.push_back(arrival);
            } else {
                self.device.give_back(arrival);
            }
        }
        for peer in &mut self.peers {
            peer.says.kick();
        }
    }

    /// Sends what other cores want sent, as far as there is room.
    fn send_for_others(&mut self, now_ns: u64) {
        let mut out = self.out.borrow_mut();
        let before = self.counters.sent;
        let cores = self.peers.len();
        self.turn = (self.turn + 1) % cores.max(1);
        for number in 0..cores {
            let peer = &mut self.peers[(self.turn + number) % cores];
            if peer.hears.look(now_ns) == 0 {
                continue;
            }
            for _ in 0..TURN_FRAMES {
                if out.device.room() == 0 {
                    // What the device has read since makes room.
                    out.device.completed();
                    if out.device.room() == 0 {
                        break;
                    }
                }
                let Some(arrival) = peer.hears.take() else { break };
                let headers = peer.hears.bytes(&arrival);
                let frame = Frame { headers, payload: &[], checksum: None, segment_len: None };
                self.counters.sent += u64::from(out.queue(frame).is_ok());
                peer.hears.give_back(arrival);
            }
        }
        if self.counters.sent != before {
            out.device.kick();
        }
    }
}

impl<I: Ingress, E: Egress, B: Bell> Ingress for FrontReceiver<I, E, B> {
    fn look(&mut self, now_ns: u64) -> usize {
        self.device.look(now_ns);
        self.hand_out();
        self.send_for_others(now_ns);
        self.counters.reminders += u64::from(self.out.borrow_mut().look_after(now_ns));
        self.mine.len()
    }

    fn oldest_ns(&self) -> Option<u64> {
        self.mine.front().map(|arrival| arrival.arrived_ns)
    }

    fn capacity(&self) -> usize {
        self.device.capacity()
    }

    fn take(&mut self) -> Option<Arrival> {
        self.mine.pop_front()
    }

    fn bytes(&self, arrival: &Arrival) -> &[u8] {
        self.device.bytes(arrival)
    }

    fn give_back(&mut self, arrival: Arrival) {
        self.device.give_back(arrival);
    }

    fn arm(&mut self) -> bool {
        let mut quiet = self.mine.is_empty() && self.device.arm();
        for peer in &mut self.peers {
            // All are asked, whatever the first one says.
            quiet &= peer.hears.arm();
        }
        quiet
    }

    fn lost(&self) -> u64 {
        self.counters.lost
    }
}

impl<E: Egress> FrontSender<E> {
    /// Looks at the device's sending half.
    pub fn with_device<R>(&self, look: impl FnOnce(&E) -> R) -> R {
        look(&self.0.borrow().device)
    }
}

impl<E: Egress> Egress for FrontSender<E> {
    fn offloads(&self) -> Offloads {
        self.0.borrow().device.offloads()
    }

    fn mtu(&self) -> usize {
        self.0.borrow().device.mtu()
    }

    fn room(&self) -> usize {
        self.0.borrow().device.room()
    }

    fn capacity(&self) -> usize {
        self.0.borrow().device.capacity()
    }

    fn queue(&mut self, frame: Frame<'_>) -> Result<u64, Full> {
        let mut out = self.0.borrow_mut();
        let name = out.queue(frame)?;
        out.own.push_back(name);
        out.queued += 1;
        Ok(out.queued)
    }

    fn kick(&mut self) -> bool {
        self.0.borrow_mut().device.kick()
    }

    fn completed(&mut self) -> u64 {
        let mut out = self.0.borrow_mut();
        let read = out.device.completed();
        while out.own.front().is_some_and(|name| *name <= read) {
            out.own.pop_front();
            out.completed += 1;
        }
        out.completed
    }

    // It is reminded by the receiving half, which looks after the frames of all cores.
}
