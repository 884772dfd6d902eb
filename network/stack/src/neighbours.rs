//! Who is on our link: a bounded table of IPv4 and Ethernet addresses, filled by ARP.
//!
//! Passive connections need none of this (answers go to where the opening came from); it serves active openings.
//! We learn from requests for our own address and from replies that we asked for, and believe nothing else.

use alloc::boxed::Box;
use core::net::Ipv4Addr;

use crate::batch::Outbox;
use crate::config::Config;
use crate::counters::Drop;
use crate::link6::Link6;
use crate::port::Egress;
use crate::rate::Bucket;
use crate::wire::arp::{self, Arp, Operation};
use crate::wire::ethernet::{self, BROADCAST, Ethernet};
use crate::wire::ipv4::is_host;

/// Neighbours that are remembered; beyond that the one heard longest ago is forgotten.
const NEIGHBOURS: usize = 64;
/// Questions that are open at the same time; beyond that the oldest is forgotten and asked again by its timer.
const QUESTIONS: usize = 16;
/// ARP replies that we send in a second.
const REPLIES_PER_SECOND: u32 = 1_000;

#[derive(Clone, Copy)]
struct Neighbour {
    address: Ipv4Addr,
    mac: [u8; 6],
    heard_ns: u64,
}

/// The table.
pub(crate) struct Neighbours {
    table: [Option<Neighbour>; NEIGHBOURS],
    questions: [Option<Ipv4Addr>; QUESTIONS],
    next_question: usize,
    replies: Bucket,
    mac: [u8; 6],
    address: Ipv4Addr,
    /// Those of IPv6, where it is spoken.
    pub(crate) six: Option<Box<Link6>>,
    /// When the link has something to do by itself.
    pub(crate) tidy_ns: u64,
}

impl Neighbours {
    pub(crate) fn new(config: &Config, now_ns: u64) -> Self {
        Self {
            table: [None; NEIGHBOURS],
            questions: [None; QUESTIONS],
            next_question: 0,
            replies: Bucket::new(REPLIES_PER_SECOND),
            mac: config.mac,
            address: config.address,
            six: config.ipv6.as_ref().map(|six| Box::new(Link6::new(config, six, now_ns))),
            // The first addresses are to be tried at once.
            tidy_ns: if config.ipv6.is_some() { now_ns } else { u64::MAX },
        }
    }

    /// The link has changed: it may have something to do sooner or later than before.
    pub(crate) fn note_tidy(&mut self) {
        self.tidy_ns = self.six.as_ref().map_or(u64::MAX, |six| six.deadline_ns());
    }

    /// We have another address, perhaps on another link: nobody is known there.
    pub(crate) fn set_address(&mut self, address: Ipv4Addr) {
        self.address = address;
        self.table = [None; NEIGHBOURS];
        self.questions = [None; QUESTIONS];
    }

    /// The Ethernet address of a neighbour, if it is known.
    pub(crate) fn find(&self, address: Ipv4Addr) -> Option<[u8; 6]> {
        self.table.iter().flatten().find(|neighbour| neighbour.address == address).map(|found| found.mac)
    }

    /// Forgets a neighbour that does not answer.
    pub(crate) fn forget(&mut self, address: Ipv4Addr) {
        for place in &mut self.table {
            if place.is_some_and(|found| found.address == address) {
                *place = None;
            }
        }
    }

    /// Asks who has an address.
    pub(crate) fn ask<E: Egress>(&mut self, address: Ipv4Addr, out: &mut Outbox<E>, now_ns: u64) {
        if !self.questions.contains(&Some(address)) {
            self.questions[self.next_question] = Some(address);
            self.next_question = (self.next_question + 1) % QUESTIONS;
        }
        let arp = Arp {
            operation: Operation::Request,
            sender_mac: self.mac,
            sender: self.address,
            target_mac: [0; 6],
            target: address,
        };
        send(&arp, BROADCAST, self.mac, out, now_ns);
    }

    /// Acts on an ARP packet. Returns a neighbour whose address is news to whoever asked for it.
    pub(crate) fn receive<E: Egress>(
        &mut self,
        packet: &[u8],
        out: &mut Outbox<E>,
        now_ns: u64,
    ) -> Option<(Ipv4Addr, [u8; 6])> {
        let Some(arp) = Arp::parse(packet) else {
            out.counters.drop(Drop::Malformed);
            return None;
        };
        if self.address.is_unspecified()
            || arp.target != self.address
            || arp.sender == self.address
            || !ethernet::is_station(arp.sender_mac)
        {
            out.counters.drop(Drop::NotForUs);
            return None;
        }
        if arp.operation == Operation::Request {
            if self.replies.take(now_ns) {
                let reply = Arp {
                    operation: Operation::Reply,
                    sender_mac: self.mac,
                    sender: self.address,
                    target_mac: arp.sender_mac,
                    target: arp.sender,
                };
                send(&reply, arp.sender_mac, self.mac, out, now_ns);
            } else {
                out.counters.drop(Drop::RateLimited);
            }
        }
        let asked = self.questions.iter_mut().find(|question| **question == Some(arp.sender));
        if arp.operation == Operation::Reply && asked.is_none() {
            out.counters.drop(Drop::NotForUs);
            return None;
        }
        if let Some(question) = asked {
            *question = None;
        }
        if !is_host(arp.sender) {
            return None;
        }
        self.learn(arp.sender, arp.sender_mac, now_ns);
        Some((arp.sender, arp.sender_mac))
    }

    fn learn(&mut self, address: Ipv4Addr, mac: [u8; 6], now_ns: u64) {
        let known = self.table.iter().position(|place| place.is_some_and(|found| found.address == address));
        let place = known.or_else(|| {
            (0..NEIGHBOURS).min_by_key(|&place| self.table[place].map_or(0, |found| found.heard_ns + 1))
        });
        if let Some(place) = place {
            self.table[place] = Some(Neighbour { address, mac, heard_ns: now_ns });
        }
    }
}

fn send<E: Egress>(arp: &Arp, destination: [u8; 6], source: [u8; 6], out: &mut Outbox<E>, now_ns: u64) {
    let mut frame = [0; ethernet::HEADER + arp::LEN];
    Ethernet { destination, source, ethertype: ethernet::TYPE_ARP }.emit(&mut frame);
    arp.emit(&mut frame[ethernet::HEADER..]);
    out.send(&frame, (&[], None), None, now_ns);
}
