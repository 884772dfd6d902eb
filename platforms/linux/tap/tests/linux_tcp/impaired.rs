//! Our TCP and Linux's over links with faults of every kind, and through the corners of the protocol: each byte is
//! compared, whatever it takes.

use crate::between::{LINUX, LINUX6, OURS, OURS6, Place, Terms};
use crate::clients::{PORT, ended, exchange, join, opened, patient, plan};
use nom_simnet::Link;
use nom_simnet::stream::{Plan, Stream};
use std::net::{IpAddr, TcpListener};
use std::thread;

/// One exchange of several connections over one link.
#[derive(Debug, Clone, Copy)]
struct Case {
    terms: Terms,
    connections: usize,
    /// Our side opens them.
    ours_open: bool,
    plan: Plan,
}

/// Returns how many frames suffered; `None` when this machine does not let us.
fn carry(case: Case) -> Option<u64> {
    let mut place = Place::new(&case.terms, Stream::new(case.plan))?;
    let address: IpAddr = if case.terms.six { LINUX6.into() } else { LINUX.into() };
    let clients: Vec<_> = if case.ours_open {
        let listener = TcpListener::bind((address, PORT)).unwrap();
        for _ in 0..case.connections {
            // Our IPv6 address is ours when nobody objected for a second.
            place.run("an address", |place| {
                let now_ns = place.now_ns();
                place.host.engine_mut().connect(address, PORT, now_ns).is_ok()
            });
        }
        let accept = move || {
            let accepted = (0..case.connections).map(|_| patient(listener.accept().unwrap().0));
            join(accepted.map(|stream| thread::spawn(move || exchange(stream, case.plan))).collect());
        };
        vec![thread::spawn(accept)]
    } else {
        place.host.engine_mut().listen(PORT);
        let ours: IpAddr = if case.terms.six { OURS6.into() } else { OURS.into() };
        if case.terms.six {
            place.run("an address", |place| place.host.engine().addresses6().any(|address| address == OURS6));
        }
        let client = move || exchange(opened((ours, PORT).into()), case.plan);
        (0..case.connections).map(|_| thread::spawn(client)).collect()
    };
    place.run(&format!("{case:?}"), |place| {
        ended(&clients) && place.host.engine().application().complete(case.connections)
    });
    join(clients);
    // A frame that was queued before an acknowledgement overtook it is still the device's.
    place.run("the pins", |place| place.host.engine().application().pins_held() == 0);
    assert!(place.there.seen.len_max + 40 <= case.terms.mtu, "{:?}", place.there.seen);
    Some(place.there.faults() + place.back.faults())
}

/// Runs cases, each in a network of its own, at the same time: they mostly wait.
fn carry_all(cases: Vec<Case>) {
    let started: Vec<_> = cases.into_iter().map(|case| (case, thread::spawn(move || carry(case)))).collect();
    for (case, thread) in started {
        match thread.join() {
            Ok(faults) => {
                let faulty =
                    Link { delay_ns: 0, ..case.terms.link } != Link { delay_ns: 0, ..Link::default() };
                assert!(!faulty || faults.is_none_or(|faults| faults > 10), "{case:?}: {faults:?}");
            }
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

const MS: u64 = 1_000_000;

/// Every kind of fault by itself, and all of them together.
fn links() -> Vec<Link> {
    let link = Link { delay_ns: MS, reordering_ns: 3 * MS, ..Link::default() };
    vec![
        Link { loss: 0.03, ..link },
        Link { duplication: 0.1, ..link },
        Link { reordering: 0.1, ..link },
        Link { corruption: 0.03, ..link },
        Link { loss: 0.02, duplication: 0.03, reordering: 0.05, corruption: 0.01, ..link },
    ]
}

fn cases(seed: u64, six: bool, settings: &'static [(&'static str, &'static str)]) -> Vec<Case> {
    let case = |(number, link)| Case {
        terms: Terms { link, seed: seed + number as u64, six, settings, ..Terms::default() },
        connections: 2,
        ours_open: number % 2 == seed as usize % 2,
        plan: plan(250_000, 200_003),
    };
    links().into_iter().enumerate().map(case).collect()
}

#[test]
fn faults_of_every_kind_cost_no_byte() {
    carry_all(cases(100, false, &[]));
    carry_all(cases(201, false, &[]));
}

#[test]
fn faults_of_every_kind_cost_no_byte_over_ipv6() {
    carry_all(cases(300, true, &[]));
}

#[test]
fn a_linux_without_reports_time_stamps_and_scaled_windows_gets_every_byte() {
    carry_all(cases(400, false, &[("tcp_sack", "0")]));
    let plain: &[_] = &[("tcp_sack", "0"), ("tcp_timestamps", "0"), ("tcp_window_scaling", "0")];
    carry_all(cases(501, false, plain));
}

#[test]
#[ignore = "takes minutes: more seeds of the same"]
fn faults_of_every_kind_cost_no_byte_at_length() {
    for seed in 0..30 {
        carry_all(cases(1_000 + seed * 10, false, &[]));
        carry_all(cases(2_000 + seed * 10, true, &[]));
        carry_all(cases(3_000 + seed * 10, false, &[("tcp_sack", "0")]));
    }
}
