//! Connections that go on in another server, in the middle of what they were at.

use crate::script::{self, example};
use nom_stack::application::{Application, Io};
use nom_stack::scripted::Link;
use std::vec::Vec;

const REQUESTS: [&[u8]; 5] = [
    b"GET /large.txt HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /large.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"GET /large.txt HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"GET /large.txt HTTP/1.1\r\nHost: x\r\nRange: bytes=0-99999,100001-\r\n\r\n",
    b"GET /large.txt HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\nRange: bytes=7-\r\n\r\n",
];

#[test]
fn an_answer_goes_on_in_another_server_wherever_it_was() {
    for request in REQUESTS {
        let mut whole = script::open(example(0), 0, usize::MAX);
        whole.send(request);
        let closed = whole.link.closed;
        let expected = whole.finish().0;
        for pieces in 1..20 {
            let mut script = script::open(example(0), 0, 4096);
            script.send(request);
            // What the stack still has is the stack's to move.
            script.deliver(pieces);
            let mut output = core::mem::take(&mut script.output);
            let state = script.app.hand_over(script.link.id).expect("it can be moved");
            assert_eq!(script.app.hand_over(script.link.id), None, "nothing is left of it");
            script.link.deliver(&mut script.app, usize::MAX, &mut output);
            assert_eq!(script.app.site().held(), 0);

            let mut next = example(0);
            let mut link = Link::new(0, 4096);
            assert!(next.take_over(&mut link, &state));
            for cut in 0..state.len() {
                assert!(!example(0).take_over(&mut Link::new(0, 4096), &state[..cut]), "{cut} of its bytes");
            }
            while link.deliver(&mut next, 1, &mut output) || !link.is_settled() {
                next.writable(&mut link);
            }
            assert!(output == expected, "{pieces} pieces before, then {} bytes", output.len());
            assert_eq!((link.closed, link.unacknowledged()), (closed, 0));
            next.ended(link.id, nom_stack::application::Ended::Closed);
            assert_eq!(next.site().held(), 0);
        }
    }
}

#[test]
fn what_the_successor_does_not_have_is_not_promised() {
    let mut script = script::open(example(0), 0, 4096);
    script.send(REQUESTS[0]);
    let state = script.app.hand_over(script.link.id).unwrap();
    let mut next = example(0);
    next.site_mut().remove("/large.txt");
    assert!(!next.take_over(&mut Link::new(0, 4096), &state));
    assert_eq!((next.site().held(), next.tally().connections), (0, 0));
    // Bytes that say more than there is.
    let mut far: Vec<u8> = state.clone();
    let len = far.len();
    far[len - 8..].copy_from_slice(&200_001_u64.to_le_bytes());
    assert!(!example(0).take_over(&mut Link::new(0, 4096), &far));
    // A part that ends before it begins.
    let mut backwards: Vec<u8> = state.clone();
    let [from, to] = [1_000_u64, 999].map(u64::to_le_bytes);
    backwards[len - 16..len - 8].copy_from_slice(&from);
    backwards[len - 8..].copy_from_slice(&to);
    assert!(!example(0).take_over(&mut Link::new(0, 4096), &backwards));
    // Who is within a request's content is not moved.
    let mut script = script::open(example(0), 0, 4096);
    script.send(b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhe");
    assert_eq!(script.app.hand_over(script.link.id), None);
    script.send(b"llo");
    script.settle();
    assert!(script.output.starts_with(b"HTTP/1.1 200 "), "and goes on here");
}
