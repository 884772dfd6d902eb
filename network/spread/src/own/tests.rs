//! Three cores with a queue each, and frames that come to the wrong one.

use super::*;
use crate::rings;
use crate::tests::{CORES, In, PORT, Rung, US, arp, packet, segment, take};
use alloc::rc::Rc;
use core::cell::RefCell;
use core::net::Ipv4Addr;
use nom_stack::wire::arp::Operation;
use nom_stack::wire::checksum::Sum;
use nom_stack::wire::ipv4::PROTOCOL_ICMP;

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);
/// Where a core's own connection began.
const OURS: u16 = 49_152;

struct Bench {
    waiting: Vec<Rc<RefCell<VecDeque<Vec<u8>>>>>,
    bells: Vec<Rung>,
    cores: Vec<OwnReceiver<In, Rung>>,
}

fn bench() -> Bench {
    let bells: Vec<Rung> = (0..CORES).map(|_| Rung::default()).collect();
    let queues: Vec<In> = (0..CORES).map(|_| In::default()).collect();
    let waiting = queues.iter().map(|queue| Rc::clone(&queue.waiting)).collect();
    let (first, others) = rings(&bells);
    let all = core::iter::once(first).chain(others);
    let cores = queues.into_iter().zip(all).map(|(queue, rings)| OwnReceiver::new(queue, rings, PORT));
    Bench { waiting, bells, cores: cores.collect() }
}

impl Bench {
    fn comes(&self, core: usize, frame: &[u8]) {
        self.waiting[core].borrow_mut().push_back(frame.to_vec());
    }

    /// Each core looks until nothing moves any more; what each of them took.
    fn taken(&mut self) -> Vec<Vec<(Vec<u8>, bool)>> {
        let mut all = vec![Vec::new(); CORES];
        for now_ns in 1..=CORES as u64 + 1 {
            for (core, all) in self.cores.iter_mut().zip(&mut all) {
                core.look(now_ns);
                all.extend(core::iter::from_fn(|| take(core)));
            }
        }
        for core in &self.cores {
            assert!(core.device().taken.iter().all(Option::is_none), "the device has all its buffers");
        }
        all
    }
}

/// A router's word that a packet to this client was too long.
fn too_big(client: Ipv4Addr, from: u16) -> Vec<u8> {
    let mut content = vec![3, 4, 0, 0, 0, 0, 5, 0];
    content.extend_from_slice(&packet(US, client, nom_stack::wire::ipv4::PROTOCOL_TCP, &[0; 8])[14..]);
    let ports = content.len() - 8;
    content[ports..ports + 2].copy_from_slice(&from.to_be_bytes());
    let sum = Sum::of(&content).finish();
    content[2..4].copy_from_slice(&sum);
    packet(Ipv4Addr::new(10, 0, 0, 1), US, PROTOCOL_ICMP, &content)
}

/// With its words of the device: it vouches for frames of odd length.
fn seen(frame: &[u8]) -> (Vec<u8>, bool) {
    (frame.to_vec(), frame.len() % 2 == 1)
}

#[test]
fn a_client_stays_where_it_came_and_answers_come_to_who_asked() {
    for queue in 0..CORES {
        let mut bench = bench();
        let (client, answer) = (segment(CLIENT, 40_000, PORT, 3), segment(CLIENT, 80, OURS, 4));
        let answers = [answer.clone(), segment(CLIENT, 80, OURS, 5), vec![0; 60]];
        bench.comes(queue, &client);
        answers.iter().for_each(|answer| bench.comes(queue, answer));
        let taken = bench.taken();
        let mut expected = vec![Vec::new(); CORES];
        expected[queue].push(seen(&client));
        expected[0].extend(answers.iter().map(|answer| seen(answer)));
        assert_eq!(taken, expected, "queue {queue}");
        let handed = if queue == 0 { 0 } else { answers.len() as u64 };
        assert_eq!(bench.cores[queue].counters(), Counters { handed, ..Counters::default() });
    }
}

#[test]
fn what_is_for_all_comes_to_all_once() {
    let (answer, narrow) = (arp(Operation::Reply), too_big(CLIENT, PORT));
    for queue in 0..CORES {
        let mut bench = bench();
        for frame in [&answer, &narrow] {
            bench.comes(queue, frame);
        }
        assert_eq!(bench.taken(), vec![vec![seen(&answer), seen(&narrow)]; CORES], "queue {queue}");
    }
    // Of another connection than a client's: the first core's.
    let mut bench = bench();
    let (question, narrow) = (arp(Operation::Request), too_big(CLIENT, OURS));
    bench.comes(2, &question);
    bench.comes(2, &narrow);
    let taken = bench.taken();
    assert_eq!(taken, [vec![seen(&question), seen(&narrow)], vec![], vec![]]);
}

#[test]
fn who_sleeps_is_woken_once_for_what_is_handed_over() {
    let mut bench = bench();
    bench.taken();
    assert!(bench.cores.iter_mut().all(OwnReceiver::arm), "nothing is there");
    let rung = |bench: &Bench| bench.bells.iter().map(|bell| bell.0.get()).collect::<Vec<_>>();
    let before = rung(&bench);
    bench.comes(1, &segment(CLIENT, 80, OURS, 3));
    bench.comes(1, &segment(CLIENT, 80, OURS, 4));
    assert!(!bench.cores[1].arm(), "its queue has something");
    assert_eq!(bench.cores[1].look(5), 0, "nothing for itself");
    assert_eq!(rung(&bench), [before[0] + 1, before[1], before[2]]);
    assert!(!bench.cores[0].arm(), "something was handed over");
    assert_eq!(
        (bench.cores[0].look(6), bench.cores[0].oldest_ns()),
        (2, Some(CORES as u64 + 1)),
        "it came since the last look"
    );
    assert!(!bench.cores[0].arm(), "and was not taken");
    assert!(bench.cores[1].arm());
}

#[test]
fn a_first_core_that_does_not_keep_up_loses_what_is_handed_over_and_clients_lose_nothing() {
    let mut bench = bench();
    for number in 0..SLOTS + 10 {
        bench.comes(1, &segment(CLIENT, 80, OURS, 0));
        bench.comes(1, &segment(CLIENT, 40_000, PORT, number % 9));
        assert_eq!(bench.cores[1].look(1), 1);
        assert!(take(&mut bench.cores[1]).is_some());
    }
    let counters = bench.cores[1].counters();
    assert_eq!((counters.lost, counters.handed), (10, SLOTS as u64));
    assert_eq!((bench.cores[1].lost(), bench.cores[0].lost()), (10, 0), "who hands over counts");
    // What it takes and keeps is still bounded.
    bench.cores[0].look(2);
    let kept: Vec<Arrival> = core::iter::from_fn(|| bench.cores[0].take()).collect();
    assert_eq!(kept.len(), SLOTS);
    bench.comes(1, &segment(CLIENT, 80, OURS, 7));
    bench.cores[1].look(3);
    assert_eq!(bench.cores[0].look(3), 0, "all places for what is handed over are lent");
    for arrival in kept {
        assert_eq!(bench.cores[0].bytes(&arrival).len(), arrival.len as usize);
        bench.cores[0].give_back(arrival);
    }
    assert_eq!(bench.cores[0].look(4), 1);
}

#[test]
fn what_is_longer_than_a_slot_is_lost_and_counted() {
    let mut bench = bench();
    let long = |len| segment(CLIENT, 80, OURS, len - segment(CLIENT, 80, OURS, 0).len());
    bench.comes(2, &long(nom_port::FRAME_MAX));
    bench.comes(2, &long(nom_port::FRAME_MAX - 1));
    let taken = bench.taken();
    assert_eq!(taken[0], [seen(&long(nom_port::FRAME_MAX - 1))]);
    assert_eq!((bench.cores[2].counters().lost, bench.cores[2].counters().handed), (1, 1));
}
