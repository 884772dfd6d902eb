//! What we read and write, held against smoltcp: the same bytes must mean the same to both.

use alloc::vec;
use alloc::vec::Vec;
use core::net::Ipv4Addr;

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire as other;

use super::arp::{self, Arp, Operation};
use super::ethernet::Ethernet;
use super::ipv4::{self, Ipv4};
use super::tcp::{self, Header, Options, Segment};
use crate::random::Random;
use crate::tcp::sequence::Seq;

const CASES: usize = 3_000;

fn bytes(random: &mut Random, bound: u64) -> Vec<u8> {
    (0..random.below(bound)).map(|_| random.next() as u8).collect()
}

fn mac(random: &mut Random) -> [u8; 6] {
    let word = random.next().to_le_bytes();
    [word[0], word[1], word[2], word[3], word[4], word[5]]
}

fn address(random: &mut Random) -> Ipv4Addr {
    Ipv4Addr::from_bits(random.next() as u32)
}

fn options(random: &mut Random) -> Options {
    let mut options = Options {
        segment_max: (random.below(2) == 0).then(|| random.next() as u16),
        window_shift: (random.below(2) == 0).then(|| random.below(15) as u8),
        sack_permitted: random.below(2) == 0,
        sack_count: random.below(4) as u8,
        ..Options::default()
    };
    if options.len() > 40 {
        options.sack_count = 0;
    }
    for range in options.sack.iter_mut().take(usize::from(options.sack_count)) {
        *range = (Seq(random.next() as u32), Seq(random.next() as u32));
    }
    options
}

#[test]
fn ethernet_and_arp_agree() {
    let mut random = Random::new(1);
    for _ in 0..CASES {
        let arp = Arp {
            operation: if random.below(2) == 0 { Operation::Request } else { Operation::Reply },
            sender_mac: mac(&mut random),
            sender: address(&mut random),
            target_mac: mac(&mut random),
            target: address(&mut random),
        };
        let header = Ethernet { destination: mac(&mut random), source: mac(&mut random), ethertype: 0x806 };
        let mut frame = vec![0; 14 + arp::LEN];
        header.emit(&mut frame);
        arp.emit(&mut frame[14..]);
        let theirs = other::EthernetFrame::new_checked(&frame).expect("a frame");
        assert_eq!(theirs.dst_addr().0, header.destination);
        assert_eq!(theirs.src_addr().0, header.source);
        assert_eq!(theirs.ethertype(), other::EthernetProtocol::Arp);
        let packet = other::ArpPacket::new_checked(theirs.payload()).expect("a packet");
        let other::ArpRepr::EthernetIpv4 {
            source_hardware_addr,
            source_protocol_addr,
            target_hardware_addr,
            target_protocol_addr,
            operation,
        } = other::ArpRepr::parse(&packet).expect("ours is theirs")
        else {
            panic!("nothing else exists")
        };
        assert_eq!((source_hardware_addr.0, source_protocol_addr), (arp.sender_mac, arp.sender));
        assert_eq!((target_hardware_addr.0, target_protocol_addr), (arp.target_mac, arp.target));
        assert_eq!(operation == other::ArpOperation::Request, arp.operation == Operation::Request);
        assert_eq!(Ethernet::parse(&frame), Some((header, &frame[14..])));
        assert_eq!(Arp::parse(&frame[14..]), Some(arp));
        // One changed byte: either both still take it, or neither.
        let place = random.below(arp::LEN as u64) as usize;
        frame[14 + place] ^= 1 << random.below(8);
        let theirs = other::ArpPacket::new_checked(&frame[14..])
            .ok()
            .and_then(|packet| other::ArpRepr::parse(&packet).ok());
        let known = theirs.is_some_and(|repr| {
            let other::ArpRepr::EthernetIpv4 { operation, .. } = repr else { return false };
            matches!(operation, other::ArpOperation::Request | other::ArpOperation::Reply)
        });
        assert_eq!(Arp::parse(&frame[14..]).is_some(), known);
    }
}

#[test]
fn ipv4_and_tcp_agree_on_what_we_write() {
    let mut random = Random::new(2);
    for _ in 0..CASES {
        let payload = bytes(&mut random, 600);
        let options = options(&mut random);
        let header = Header {
            source_port: 1 + random.below(65_535) as u16,
            destination_port: 1 + random.below(65_535) as u16,
            sequence: Seq(random.next() as u32),
            acknowledgement: Seq(random.next() as u32),
            flags: [tcp::SYN, tcp::ACK, tcp::ACK | tcp::PSH, tcp::ACK | tcp::FIN, tcp::SYN | tcp::ACK]
                [random.below(5) as usize],
            window: random.next() as u16,
        };
        let packet = Ipv4 {
            source: address(&mut random),
            destination: address(&mut random),
            protocol: ipv4::PROTOCOL_TCP,
            fragment: false,
            congestion: 0,
        };
        let mut frame = vec![0; 80];
        let header_len = header.emit(&mut frame[20..], &options);
        assert_eq!(header_len, tcp::HEADER + usize::from(options.len()));
        frame.truncate(20 + header_len);
        frame.extend_from_slice(&payload);
        packet.emit(&mut frame, header_len + payload.len());
        let mut sum = super::checksum::Sum::new();
        sum.add_pseudo_header(packet.source.octets(), packet.destination.octets(), 6, frame.len() - 20);
        sum.add(&frame[20..]);
        frame[36..38].copy_from_slice(&sum.finish());

        let theirs = other::Ipv4Packet::new_checked(&frame).expect("a packet");
        assert!(theirs.verify_checksum());
        assert_eq!((theirs.src_addr(), theirs.dst_addr()), (packet.source, packet.destination));
        assert_eq!((theirs.total_len() as usize, theirs.dont_frag()), (frame.len(), true));
        let segment = other::TcpPacket::new_checked(theirs.payload()).expect("a segment");
        let (from, to) = (packet.source.into(), packet.destination.into());
        let repr =
            other::TcpRepr::parse(&segment, &from, &to, &ChecksumCapabilities::default()).expect("theirs");
        assert_eq!((repr.src_port, repr.dst_port), (header.source_port, header.destination_port));
        assert_eq!(repr.seq_number.0 as u32, header.sequence.0);
        let acknowledges = header.flags & tcp::ACK != 0;
        assert_eq!(
            repr.ack_number.map(|number| number.0 as u32),
            acknowledges.then_some(header.acknowledgement.0)
        );
        assert_eq!((repr.window_len, repr.payload), (header.window, payload.as_slice()));
        assert_eq!(repr.max_seg_size, options.segment_max);
        assert_eq!(repr.sack_permitted, options.sack_permitted);
        assert_eq!(repr.window_scale, options.window_shift);
        for (range, theirs) in options.ranges().iter().zip(repr.sack_ranges) {
            assert_eq!(theirs, Some((range.0.0, range.1.0)));
        }

        let (parsed, content) = Ipv4::parse(&frame).expect("our own");
        assert_eq!(parsed, packet);
        let ours = Segment::parse(content).expect("our own");
        assert!(tcp::checksum_good(packet.source, packet.destination, content));
        assert_eq!(Options::parse(ours.options), options);
        assert_eq!((ours.sequence, ours.flags, ours.payload), (header.sequence, header.flags, &payload[..]));
    }
}

#[test]
fn changed_bytes_are_refused_by_both_or_read_alike() {
    let mut random = Random::new(3);
    let mut taken = 0;
    for _ in 0..CASES {
        let mut frame = bytes(&mut random, 120);
        // Half of the noise is made to look like the beginning of something.
        if random.below(2) == 0 && frame.len() >= 40 {
            let len = frame.len() as u16;
            let header_len = 20 + 4 * random.below(3) as u8;
            frame[0] = 0x40 | (header_len / 4);
            frame[2..4].copy_from_slice(&len.to_be_bytes());
            frame[10..12].copy_from_slice(&[0, 0]);
            if let Some(header) = frame.get(..usize::from(header_len)) {
                let mut sum = super::checksum::Sum::new();
                sum.add(header);
                frame[10..12].copy_from_slice(&sum.finish());
            }
        }
        let theirs = other::Ipv4Packet::new_checked(&frame)
            .ok()
            .filter(|packet| packet.version() == 4 && packet.header_len() >= 20 && packet.verify_checksum());
        let ours = Ipv4::parse(&frame).ok();
        assert_eq!(ours.is_some(), theirs.is_some(), "{frame:?}");
        let (Some((packet, content)), Some(theirs)) = (ours, theirs) else { continue };
        taken += 1;
        assert_eq!(packet.source, theirs.src_addr());
        assert_eq!(packet.fragment, theirs.more_frags() || theirs.frag_offset() != 0);
        assert_eq!(content, theirs.payload());
        let theirs = other::TcpPacket::new_checked(content).ok();
        let ours = Segment::parse(content);
        assert_eq!(ours.is_some(), theirs.is_some());
        let (Some(ours), Some(theirs)) = (ours, theirs) else { continue };
        assert_eq!(ours.payload, theirs.payload());
        assert_eq!(ours.options, theirs.options());
        assert_eq!((ours.has(tcp::SYN), ours.has(tcp::ACK)), (theirs.syn(), theirs.ack()));
        let (from, to) = (packet.source.into(), packet.destination.into());
        assert_eq!(
            tcp::checksum_good(packet.source, packet.destination, content),
            theirs.verify_checksum(&from, &to)
        );
    }
    assert!(taken > CASES / 10, "{taken} were packets");
}
