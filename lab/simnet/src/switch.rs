//! An Ethernet switch: learns which address is behind which port, and floods what it does not know.

use crate::simulation::{Node, Rest};
use std::collections::{HashMap, VecDeque};

/// Addresses that are remembered. What comes beyond is flooded.
const ADDRESSES_MAX: usize = 65_536;

/// A switch with as many ports as links are connected to it.
#[derive(Debug, Default)]
pub struct Switch {
    ports: usize,
    addresses: HashMap<[u8; 6], usize>,
    out: VecDeque<(usize, Vec<u8>)>,
}

impl Switch {
    /// A switch with this many ports.
    pub fn new(ports: usize) -> Self {
        Self { ports, ..Self::default() }
    }
}

impl Node for Switch {
    fn deliver(&mut self, _now_ns: u64, port: usize, frame: &[u8], damaged: bool) {
        // A real switch checks the frame's check sequence.
        let (false, Some(head)) = (damaged, frame.first_chunk::<12>()) else { return };
        let [to, from] = [0, 6].map(|at| head[at..at + 6].try_into().unwrap_or([0; 6]));
        if self.addresses.len() < ADDRESSES_MAX || self.addresses.contains_key(&from) {
            self.addresses.insert(from, port);
        }
        match self.addresses.get(&to) {
            Some(&known) if known == port => {}
            Some(&known) => self.out.push_back((known, frame.to_vec())),
            None => {
                let others = (0..self.ports).filter(|&other| other != port);
                self.out.extend(others.map(|other| (other, frame.to_vec())));
            }
        }
    }

    fn step(&mut self, now_ns: u64) -> Rest {
        Rest { worked: false, deadline_ns: None, free_ns: now_ns }
    }

    fn depart(&mut self) -> Option<(usize, Vec<u8>)> {
        self.out.pop_front()
    }
}
