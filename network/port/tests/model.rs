//! The race of publishing a frame and falling asleep, explored exhaustively: the rings' own code over modelled memory.
//! The test is repeated without the fences, where it must fail: a model that cannot fail proves nothing.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use loom::thread;
use nom_port::{Bell, Gone, SLOT_WORDS, Side, Words, open};
use nom_stack::port::{Egress, Frame, Ingress};

const CONTROL: usize = 64;
const SLOTS: usize = 4;
/// Words of a slot that these frames use: the length and two with bytes.
const USED: usize = 3;

struct Memory {
    /// One word of each line.
    lines: Vec<AtomicU64>,
    slots: Vec<AtomicU64>,
    fences: bool,
}

#[derive(Clone)]
struct Shared(Arc<Memory>);

impl Shared {
    fn new(fences: bool) -> Self {
        let words = |count| (0..count).map(|_| AtomicU64::new(0)).collect();
        // One slot of each direction is all that is touched.
        Self(Arc::new(Memory { lines: words(CONTROL / 8), slots: words(2 * USED), fences }))
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        if at < CONTROL {
            assert_eq!(at % 8, 0, "one word of each line is used");
            return &self.0.lines[at / 8];
        }
        let (slot, word) = ((at - CONTROL) / SLOT_WORDS, (at - CONTROL) % SLOT_WORDS);
        assert!(slot % SLOTS == 0 && word < USED, "slot {slot}, word {word}");
        &self.0.slots[slot / SLOTS * USED + word]
    }
}

impl Words for Shared {
    fn count(&self) -> usize {
        CONTROL + 2 * SLOTS * SLOT_WORDS
    }

    fn load(&self, at: usize, order: Ordering) -> u64 {
        self.word(at).load(order)
    }

    fn store(&self, at: usize, value: u64, order: Ordering) {
        self.word(at).store(value, order);
    }

    fn fence(&self) {
        if self.0.fences {
            fence(Ordering::SeqCst);
        }
    }
}

#[derive(Clone)]
struct Rung(Arc<AtomicBool>);

impl Bell for Rung {
    fn ring(&self) -> Result<(), Gone> {
        self.0.store(true, Ordering::Release);
        Ok(())
    }
}

fn explore(fences: bool) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(move || {
        let memory = Shared::new(fences);
        let (rung, ignored) =
            (Rung(Arc::new(AtomicBool::new(false))), Rung(Arc::new(AtomicBool::new(false))));
        let (mut receiver, _sender) = open(memory.clone(), Side::Port, None, ignored, 0).unwrap();
        let (_receiver, mut sender) = open(memory, Side::Switch, Some([2; 6]), rung.clone(), 0).unwrap();
        // The beginning of a life rings as well; here only the frame counts.
        rung.0.store(false, Ordering::Release);
        assert_eq!(receiver.look(0), 0);
        let switch = thread::spawn(move || {
            let frame =
                Frame { headers: b"sixteen bytes in", payload: &[], checksum: None, segment_len: None };
            sender.queue(frame).unwrap();
            sender.kick();
        });
        let sleeps = receiver.look(1) == 0 && receiver.arm();
        if sleeps {
            switch.join().unwrap();
            assert!(rung.0.load(Ordering::Acquire), "it sleeps, and nobody wakes it");
            assert_eq!(receiver.look(2), 1);
        } else {
            // What kept it awake is there to be taken.
            assert_eq!(receiver.look(2), 1);
            switch.join().unwrap();
        }
        let frame = receiver.take().expect("a frame");
        assert_eq!(receiver.bytes(&frame), b"sixteen bytes in");
    });
}

#[test]
fn no_wake_up_is_lost() {
    explore(true);
}

#[test]
#[should_panic(expected = "it sleeps, and nobody wakes it")]
fn without_fences_the_model_sees_the_loss() {
    explore(false);
}
