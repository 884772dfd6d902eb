//! The TAP device behind a wire that loses frames, by a fixed sequence.

use nom_stack::port::{Arrival, Egress, Frame, Full, Ingress, Offloads};
use nom_tap::{TapEgress, TapIngress};

struct Luck(u64, f64);

impl Luck {
    fn lost(&mut self) -> bool {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) as f64) < self.1 * (1u64 << 53) as f64
    }
}

pub struct LossyIngress(TapIngress, Luck);

impl LossyIngress {
    pub fn new(ingress: TapIngress, loss: f64) -> Self {
        Self(ingress, Luck(0x1234_5678_9abc_def1, loss))
    }
}

impl Ingress for LossyIngress {
    fn look(&mut self, now_ns: u64) -> usize {
        self.0.look(now_ns)
    }

    fn oldest_ns(&self) -> Option<u64> {
        self.0.oldest_ns()
    }

    fn capacity(&self) -> usize {
        self.0.capacity()
    }

    fn take(&mut self) -> Option<Arrival> {
        loop {
            let arrival = self.0.take()?;
            if !self.1.lost() {
                return Some(arrival);
            }
            self.0.give_back(arrival);
        }
    }

    fn bytes(&self, arrival: &Arrival) -> &[u8] {
        self.0.bytes(arrival)
    }

    fn give_back(&mut self, arrival: Arrival) {
        self.0.give_back(arrival);
    }

    fn arm(&mut self) -> bool {
        self.0.arm()
    }
}

/// Loses a frame by making it one for nobody.
pub struct LossyEgress(TapEgress, Luck);

impl LossyEgress {
    pub fn new(egress: TapEgress, loss: f64) -> Self {
        Self(egress, Luck(0xfedc_ba98_7654_3211, loss))
    }
}

impl Egress for LossyEgress {
    fn offloads(&self) -> Offloads {
        self.0.offloads()
    }

    fn mtu(&self) -> usize {
        self.0.mtu()
    }

    fn room(&self) -> usize {
        self.0.room()
    }

    fn capacity(&self) -> usize {
        self.0.capacity()
    }

    fn queue(&mut self, frame: Frame<'_>) -> Result<u64, Full> {
        if !self.1.lost() {
            return self.0.queue(frame);
        }
        let mut headers = frame.headers.to_vec();
        headers[..6].copy_from_slice(&[2, 0xff, 0xff, 0xff, 0xff, 0xff]);
        self.0.queue(Frame { headers: &headers, ..frame })
    }

    fn kick(&mut self) -> bool {
        self.0.kick()
    }

    fn completed(&mut self) -> u64 {
        self.0.completed()
    }
}
