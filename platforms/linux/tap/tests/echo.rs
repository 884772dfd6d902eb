//! The TAP device against Linux's own UDP: a tiny ARP and UDP echo over the two halves, no stack involved.

use nom_stack::port::{Egress, Frame, Ingress, PartialChecksum};
use nom_tap::{TapConfig, TapEgress, TapError, TapIngress, namespace, open};
use std::net::UdpSocket;
use std::time::{Duration, Instant};

const MAC: [u8; 6] = [2, 0x6e, 0x6f, 0x6d, 0, 2];

/// Answers ARP and echoes UDP until `wanted` datagrams were echoed or the deadline passed.
fn echo(ingress: &mut TapIngress, egress: &mut TapEgress, wanted: usize) -> usize {
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut echoed = 0;
    // Payload has to stay in place until its frame is complete.
    let mut kept: Vec<Vec<u8>> = Vec::new();
    while echoed < wanted && Instant::now() < deadline {
        ingress.look(1);
        while let Some(arrival) = ingress.take() {
            let frame = ingress.bytes(&arrival).to_vec();
            ingress.give_back(arrival);
            let mut out = frame.clone();
            out[..6].copy_from_slice(&frame[6..12]);
            out[6..12].copy_from_slice(&MAC);
            if frame[12..14] == [8, 6] {
                out[21] = 2;
                out[22..28].copy_from_slice(&MAC);
                out[28..32].copy_from_slice(&frame[38..42]);
                out[32..42].copy_from_slice(&frame[22..32]);
                egress
                    .queue(Frame { headers: &out, payload: &[], checksum: None, segment_len: None })
                    .unwrap();
            } else if frame[12..14] == [8, 0] && frame[23] == 17 {
                out[26..30].copy_from_slice(&frame[30..34]);
                out[30..34].copy_from_slice(&frame[26..30]);
                out[34..36].copy_from_slice(&frame[36..38]);
                out[36..38].copy_from_slice(&frame[34..36]);
                // The device adds what the checksum covers: only the pseudo-header's sum stands there.
                let length = u16::from_be_bytes([frame[38], frame[39]]);
                let mut sum = 17 + u32::from(length);
                for pair in frame[26..34].chunks(2) {
                    sum += u32::from(u16::from_be_bytes([pair[0], pair[1]]));
                }
                while sum > 0xffff {
                    sum = (sum & 0xffff) + (sum >> 16);
                }
                out[40..42].copy_from_slice(&(sum as u16).to_be_bytes());
                let end = 34 + usize::from(length);
                kept.push(out[42..end].to_vec());
                let payload = kept.last().unwrap();
                // Many pieces for some frames, few for others.
                let pieces: Vec<&[u8]> = payload.chunks(if echoed % 2 == 0 { 11 } else { 700 }).collect();
                let checksum = Some(PartialChecksum { start: 34, offset: 6 });
                let frame = Frame { headers: &out[..42], payload: &pieces, checksum, segment_len: None };
                egress.queue(frame).unwrap();
                echoed += 1;
            }
        }
        egress.kick();
    }
    assert_eq!(egress.completed() as usize, kept.len() + 1, "one ARP answer and the echoes");
    assert_eq!(egress.refused(), 0);
    assert!(egress.joined_bytes() > 0);
    echoed
}

/// True when the test can run here; an ordinary user inside a threaded test cannot have a namespace.
fn entered() -> bool {
    match namespace::enter() {
        Ok(()) => true,
        Err(error @ TapError::Namespace(_)) => {
            println!("SKIPPED: {error}");
            false
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn linux_udp_is_echoed_byte_for_byte() {
    if !entered() {
        return;
    }
    let (mut ingress, mut egress) = match open(&TapConfig::default()) {
        Ok(halves) => halves,
        Err(TapError::NoTun(error)) => return println!("SKIPPED: no /dev/net/tun: {error}"),
        Err(error) => panic!("{error}"),
    };
    let socket = UdpSocket::bind("10.77.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let client = std::thread::spawn(move || {
        for len in [0, 1, 17, 300, 512, 1472] {
            let sent: Vec<u8> = (0..len).map(|i| (i * 7 + len) as u8).collect();
            socket.send_to(&sent, "10.77.0.2:7").unwrap();
            let mut answer = vec![0; 2000];
            let (got, _) = socket.recv_from(&mut answer).unwrap();
            assert_eq!(&answer[..got], &sent, "{len}");
        }
    });
    assert_eq!(echo(&mut ingress, &mut egress, 6), 6);
    client.join().unwrap();
}

#[test]
fn a_bad_interface_name_is_refused() {
    if !entered() {
        return;
    }
    let config = TapConfig { name: "much-too-long-for-a-name".into(), ..TapConfig::default() };
    match open(&config) {
        Err(TapError::NoTun(error)) => println!("SKIPPED: no /dev/net/tun: {error}"),
        other => {
            let error = other.map(drop).unwrap_err().to_string();
            assert!(error.contains("is no interface name"), "{error}");
        }
    }
}
