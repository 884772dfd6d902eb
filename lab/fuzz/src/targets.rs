//! Everything that takes bytes from outside.

use crate::{Target, hardware, machine, wire};
use nom_feeds::http::Response;
use nom_feeds::metadata::Answer;
use nom_kernel_core::bundle::{self, Kind, Part};
use nom_kernel_core::elf;
use nom_machine::attach;
use nom_service::management::Message;
use nom_stack::dhcp;
use nom_stack::wire::dns;

/// Words of texts with units.
const UNITS: &[&[u8]] =
    &[b" = ", b" $/GB", b" us", b" MiB", b"$/core/h", b"\n", b"#", b"e9", b"-", b"0.000", b".."];

/// All targets, by the path of what they try.
pub static TARGETS: &[Target] = &[
    Target {
        name: "bundle",
        what: "the bundle of an image (kernel/core)",
        seeds: || vec![sample_bundle()],
        tokens: &[b"nombundl"],
        run: |bytes| {
            if let Ok(bundle) = bundle::read(bytes) {
                assert!(bundle.parts().count() > 0 && bundle.len() <= bytes.len());
            }
        },
    },
    Target {
        name: "elf",
        what: "ELF files of applications (kernel/core) and images (host/machine)",
        seeds: || vec![sample_elf()],
        tokens: &[b"\x7fELF"],
        run: |bytes| {
            if let Ok(application) = elf::application(bytes) {
                let pages: u64 = application.segments().map(|part| part.end_page() - part.first_page()).sum();
                assert!(pages > 0);
            }
            let _ = attach::attached(bytes).map(bundle::read);
            let _ = attach::detached(bytes).map(|kernel| attach::attach(&kernel, &[7; 100]));
        },
    },
    Target {
        name: "machine",
        what: "sequences of calls of several applications that start and die at any point (kernel/core)",
        seeds: machine::seeds,
        tokens: &[],
        run: machine::play,
    },
    Target {
        name: "management",
        what: "lines from an application (service)",
        seeds: || {
            vec![
                Message::Refused { reason: "wrong token".into() }.line().into_bytes(),
                Message::Stats(Default::default()).line().into_bytes(),
                Message::Knobs(Default::default()).line().into_bytes(),
                b"{\"machine\":{\"at_ns\":7,\"words\":\"1,,ffffffffffffffff,,2\"}}\n".to_vec(),
                Message::Hello(Default::default()).line().into_bytes(),
                Message::Bye(Default::default()).line().into_bytes(),
            ]
        },
        tokens: &[b"\"", b"{", b"}", b":", b",", b"\\u0000", b"-", b"\"stats\""],
        run: |bytes| {
            let Ok(text) = core::str::from_utf8(bytes) else { return };
            if let Ok(message) = Message::parse(text) {
                assert_eq!(Message::parse(&message.line()), Ok(message), "what is written is read");
            }
        },
    },
    Target {
        name: "dhcp",
        what: "what servers say that lend addresses (network/stack)",
        seeds: || {
            let mut offer = vec![0; 240];
            offer[..3].copy_from_slice(&[2, 1, 6]);
            offer[16..20].copy_from_slice(&[10, 0, 0, 9]);
            offer[236..].copy_from_slice(&[99, 130, 83, 99]);
            let tail = [53, 1, 2, 54, 4, 10, 0, 0, 1, 1, 4, 255, 255, 255, 0, 51, 4, 0, 0, 14, 16, 255];
            vec![[&offer[..], &tail].concat()]
        },
        tokens: &[&[53, 1, 5], &[53, 1, 6], &[3, 4, 10, 0, 0, 1], &[58, 4, 0, 0, 0, 1], &[255]],
        run: |bytes| {
            let mac = [2, 0, 0, 0, 0, 1];
            let mut client = dhcp::Client::new(mac, 7, 0);
            let mut answer = bytes.to_vec();
            // An offer, and the same bytes as whatever comes after the request.
            for now_ns in [1, 2] {
                let (Some(asked), _) = client.run(now_ns) else { break };
                if answer.len() >= 240 {
                    answer[4..8].copy_from_slice(&asked.bytes[4..8]);
                    answer[28..34].copy_from_slice(&mac);
                }
                client.receive(&answer, now_ns);
                if let Some(place) = answer.windows(3).position(|option| option == [53, 1, 2]) {
                    answer[place + 2] = 5;
                }
            }
            if let Some(lease) = client.lease() {
                assert!(
                    nom_stack::wire::ipv4::is_host(lease.address) && (1..=30).contains(&lease.prefix_len)
                );
                assert!(lease.until_ns > 2 && client.deadline_ns() <= lease.until_ns);
            }
        },
    },
    Target {
        name: "dns",
        what: "what servers say that know names (network/stack)",
        seeds: || {
            let name = dns::Name::parse("prices.example").expect("it is a name");
            let mut answer = dns::question(7, &name, dns::Kind::A);
            answer[2..8].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 2]);
            answer
                .extend_from_slice(&[0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 6, 3, b'w', b'w', b'w', 0xc0, 19]);
            answer.extend_from_slice(&[0xc0, 44, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 0, 0, 7]);
            vec![answer]
        },
        tokens: &[&[0xc0, 12], &[0xc0, 44], &[0, 5, 0, 1], &[0, 28, 0, 1], &[0xff, 0xff], &[0]],
        run: |bytes| {
            let name = dns::Name::parse("prices.example").expect("it is a name");
            for kind in [dns::Kind::A, dns::Kind::Aaaa] {
                if let Some(dns::Answer::Address { address, .. }) = dns::answer(bytes, 7, &name, kind) {
                    assert_eq!(address.is_ipv4(), kind == dns::Kind::A);
                }
            }
        },
    },
    Target {
        name: "configuration",

        what: "a service's configuration (service) and the kernel's part of it (kernel/core)",
        seeds: || {
            let keys = nom_service::configuration::KEYS;
            let text: String = keys.iter().map(|key| format!("{} = {}\n", key.name, key.example)).collect();
            vec![
                text.into_bytes(),
                b"image.trusted = yes\nkernel.heap = 8 MiB\n".to_vec(),
                b"utility = own\nlatency.limit = 1 ms\nvalue = 0.2 $/Mop * (1 - min(1, 100 * late))\n".to_vec(),
                b"slo = p99 < 1 ms\nprices = http://10.0.2.2:8080/prices\nprices = day-ahead http://10.0.0.9/ watts=9\n"
                    .to_vec(),
            ]
        },
        tokens: UNITS,
        run: |bytes| {
            let Ok(text) = core::str::from_utf8(bytes) else { return };
            let _ = nom_service::configuration::Configuration::parse(text).map_err(|error| error.to_string());
            let _ = nom_kernel_core::configuration::read(text).map_err(|error| error.to_string());
        },
    },
    Target {
        name: "command-line",
        what: "the kernel's command line (kernel/core)",
        seeds: || {
            vec![b"virtio_mmio.device=512@0xfeb00e00:12 virtio_mmio.device=4K@0xfeb00c00:11 quiet".to_vec()]
        },
        tokens: &[b"virtio_mmio.device=", b"@", b":", b"0x", b" ", b"ffffffffffffffff"],
        run: |bytes| {
            let Ok(text) = core::str::from_utf8(bytes) else { return };
            assert!(nom_kernel_core::command_line::mmio_devices(text).count() <= text.len());
        },
    },
    Target {
        name: "pci",
        what: "PCI functions that lie about themselves (hardware/pci)",
        seeds: || vec![hardware::sample_pci()],
        tokens: &[b"\xf4\x1a", b"\x09", b"\x11", b"\x10", b"\xff\xff\xff\xff", b"\x04\x06"],
        run: hardware::pci,
    },
    Target {
        name: "acpi",
        what: "firmware's tables (hardware/acpi)",
        seeds: || vec![hardware::sample_tables()],
        tokens: &[b"RSD PTR ", b"RSDT", b"DMAR", b"APIC", b"MCFG", b"_MP_", b"PCMP", b"\xff\xff\xff\xff"],
        run: hardware::sealed_tables,
    },
    Target {
        name: "kv",
        what: "a client of the cache, whose answers may not depend on how bytes are cut (apps/kv)",
        seeds: || {
            let script = b"set a 0 0 2\r\nok\r\nget a b\r\ndelete a\r\nget a\r\nversion\r\nstats\r\nquit\r\n";
            vec![[&[3; 16], &script[..]].concat(), [&[200; 16], &script[..]].concat()]
        },
        tokens: &[b"get ", b"set ", b"delete ", b" noreply", b"\r\n", b" 0 0 ", b"a", b"gets ", b"-1"],
        run: nom_kv::script::fuzz,
    },
    Target {
        name: "httpd",
        what: "a client of the web server, whose answers may not depend on how bytes are cut (apps/httpd)",
        seeds: || {
            let script = b"GET /large.txt HTTP/1.1\r\nHost: x\r\nRange: bytes=0-9,-5\r\nAccept-Encoding: gzip\r\n\r\n\
                POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nT: v\r\n\r\n\
                GET /a HTTP/1.0\r\nConnection: keep-alive\r\nIf-None-Match: *\r\nContent-Length: 3\r\n\r\nabc";
            vec![[&[3; 16], &script[..]].concat(), [&[200; 16], &script[..]].concat()]
        },
        tokens: &[
            b"\r\n",
            b"\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\n",
            b"HEAD ",
            b"Content-Length: ",
            b"\n",
            b"\r",
            b"0\r\n\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Range: bytes=",
            b"Expect: 100-continue\r\n",
            b"/../",
            b"%2e",
            b"\"",
            b",",
        ],
        run: nom_httpd::script::fuzz,
    },
    Target {
        name: "ledger",
        what: "sealed windows from a service (economy/ledger)",
        seeds: || vec![b"{\"number\":1,\"sealed\":true,\"start_ns\":0,\"end_ns\":1000}".to_vec()],
        tokens: &[b"\"", b"{", b"}", b":", b",", b"-", b"\"hash\":", b"null", b"true"],
        run: |bytes| {
            let Ok(text) = core::str::from_utf8(bytes) else { return };
            if let Ok(window) = nom_ledger::Window::parse(text) {
                assert_eq!(nom_ledger::Window::parse(&window.to_json()), Ok(window));
            }
        },
    },
    Target {
        name: "points",
        what: "working points (economy/points)",
        seeds: || vec![POINTS.to_vec()],
        tokens: UNITS,
        run: |bytes| {
            let Ok(text) = core::str::from_utf8(bytes) else { return };
            if let Ok(points) = nom_points::Points::parse(text) {
                assert_eq!(nom_points::Points::parse(&points.to_string()).as_ref(), Ok(&points));
            }
        },
    },
    Target {
        name: "schedule",
        what: "a price schedule (feeds)",
        seeds: || {
            vec![
                b"at 0 s: bandwidth 1 $/Gbit, core 0.04 $/core/h\nat 60 s: bandwidth 10 $/Gbit\nloop 120 s\n"
                    .to_vec(),
            ]
        },
        tokens: UNITS,
        run: |bytes| {
            let Ok(text) = core::str::from_utf8(bytes) else { return };
            if let Ok(schedule) = nom_feeds::Schedule::parse(text) {
                for elapsed_ns in [0, 1, 1_000_000_000, u64::MAX / 2, u64::MAX] {
                    assert!(schedule.at(elapsed_ns).since_ns <= elapsed_ns);
                }
            }
        },
    },
    Target {
        name: "metadata",
        what: "the answer of a metadata service (feeds)",
        seeds: || {
            let answer = "{\"generation\":3,\"provider_unix_ns\":1700000000000000000,\"prices\":{\"core\":\"3 $/core/h\"},\
                          \"next\":{\"provider_unix_ns\":1700000060000000000,\"prices\":{\"core\":\"1 $/core/h\"}},\"valid_s\":60}";
            vec![answer.into()]
        },
        tokens: &[b"\"", b"{", b"}", b"[", b"]", b":", b",", b"\\u0000", b"null", b"1e9", b"-"],
        run: |bytes| {
            let Ok(text) = core::str::from_utf8(bytes) else { return };
            if let Ok(answer) = Answer::parse(text) {
                assert_eq!(Answer::parse(&answer.to_json()), Ok(answer));
            }
        },
    },
    Target {
        name: "http",
        what: "an HTTP response, which may not depend on how bytes are cut (feeds)",
        seeds: || {
            vec![
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n{}".to_vec(),
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1;x=y\r\n}\r\n0\r\n\r\n"
                    .to_vec(),
            ]
        },
        tokens: &[
            b"\r\n",
            b"Content-Length: ",
            b"Transfer-Encoding: chunked",
            b"ffffffffffffffff",
            b"\r\n\r\n",
            b" ",
        ],
        run: |bytes| {
            let whole = respond(bytes, bytes.len().max(1));
            assert_eq!(respond(bytes, 1), whole);
            assert_eq!(respond(bytes, 7), whole);
        },
    },
    Target {
        name: "feeds",
        what: "answers of price providers, each given to every adapter (feeds)",
        seeds: nom_feeds::fuzzing::answers,
        tokens: &[
            b"<", b">", b"</item>", b"&amp;", b"<Point>", b"\"", b"{", b"[", b",", b"null", b"-", b"e9",
            b"0", b":",
        ],
        run: nom_feeds::fuzzing::answer,
    },
    Target {
        name: "traces",
        what: "recorded prices as tables, JSON and schedules, and the lines of feeds (feeds)",
        seeds: nom_feeds::fuzzing::traces,
        tokens: UNITS,
        run: nom_feeds::fuzzing::trace,
    },
    Target {
        name: "stack",
        what: "frames and almost fitting segments from a hostile peer (network/stack with apps/kv behind it)",
        seeds: || vec![wire::sample()],
        tokens: &[],
        run: wire::play,
    },
    Target {
        name: "connection",
        what: "a connection's value that is put into a stack (network/stack)",
        seeds: nom_stack::fuzzing::exported,
        tokens: &[&[0xff, 0xff, 0xff, 0xff], &[0xff; 8], &[0, 0, 0, 0], &[0, 0, 0, 0x80]],
        run: |bytes| {
            nom_stack::fuzzing::import(bytes);
        },
    },
    Target {
        name: "virtio-net",
        what: "a network card that lies (drivers/virtio-net)",
        seeds: || {
            vec![
                (0..64).collect(),
                vec![
                    2, 0, 0, 0, 11, 0, 0, 200, 11, 0, 3, 255, 9, 0, 0, 0, 10, 0, 0, 0, 12, 200, 9, 1, 13, 0,
                    0, 0,
                ],
                vec![4, 1, 1, 0, 9, 0, 0, 0, 10, 0, 0, 0, 2, 0, 0, 0, 0, 1, 9, 0, 1, 0, 0, 0],
            ]
        },
        tokens: &[],
        run: nom_virtio_net::fuzzing::play,
    },
    Target {
        name: "virtio-blk",
        what: "a disk that lies (drivers/virtio-blk)",
        seeds: || vec![(0..96).collect(), vec![0, 1, 3, 1, 2, 4, 3, 0, 5, 0, 0, 0, 6, 1, 1, 0]],
        tokens: &[],
        run: nom_virtio_blk::fuzzing::play,
    },
];

/// The target of this name.
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// The response's end: status, body, or what was wrong with it. Cuts the bytes into pieces of this length.
fn respond(bytes: &[u8], piece: usize) -> Result<Option<(u16, Vec<u8>)>, &'static str> {
    let mut response = Response::new();
    for part in bytes.chunks(piece) {
        let mut rest = part;
        while !rest.is_empty() && !response.is_done() {
            let taken = response.push(rest).map_err(|error| error.0)?;
            rest = &rest[taken..];
        }
    }
    Ok(response.is_done().then(|| (response.status(), response.body().to_vec())))
}

/// A points file with one class.
const POINTS: &[u8] = b"nom-points 1\napplication kv\nnoise 0.02\ncapacity_per_s 40000\n\
    class single open utilisation 0..0.3 connections 1..4\n\
    point wait=halt batch=0 : throughput_per_s=18000 useful_bytes=100 wire_bytes=200 core_ns=30000 idle_cores=0 \
    memory_bytes=1 mean_ns=90000 jitter_ns=1000 p99_ns=0 samples=10000 late=750us:12,1ms:3\n";

fn sample_bundle() -> Vec<u8> {
    let parts = [
        Part { kind: Kind::Configuration, name: "configuration", bytes: b"listen = 11211\n" },
        Part { kind: Kind::Application, name: "kv", bytes: &[7; 64] },
    ];
    let mut bytes = vec![0; bundle::encoded_len(&parts)];
    bundle::write(&parts, &mut bytes).expect("the sample is good");
    bytes
}

/// One executable segment and one for data.
fn sample_elf() -> Vec<u8> {
    let mut file = vec![0; 0x2000];
    file[..6].copy_from_slice(b"\x7fELF\x02\x01");
    file[16] = 2;
    file[18] = 62;
    let address: u64 = 0x40_0000;
    file[24..32].copy_from_slice(&address.to_le_bytes());
    file[32] = 64;
    file[54] = 56;
    file[56] = 2;
    for (place, flags, at) in [(0, 5_u8, address), (1, 6, address + 0x1000)] {
        let header = &mut file[64 + place * 56..][..56];
        header[0] = 1;
        header[4] = flags;
        for (offset, value) in [(8, 0x1000), (16, at), (24, at), (32, 0x800), (40, 0x1000), (48, 0x1000)] {
            header[offset..offset + 8].copy_from_slice(&u64::to_le_bytes(value));
        }
    }
    file
}
