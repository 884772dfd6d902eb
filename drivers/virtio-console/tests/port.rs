//! The console against a device in software.

use nom_dma::fake::FakeMemory;
use nom_virtio_console::{Console, start};
use nom_virtqueue::fake::{DeviceQueue, FakeDevice};
use nom_virtqueue::transport::{FEATURE_EVENT_INDEX, FEATURE_VERSION_1, KIND_CONSOLE, StartError};

struct Host {
    receiving: DeviceQueue,
    sending: DeviceQueue,
    interrupts: u32,
}

impl Host {
    /// Gives the guest as much as it has buffers for; returns how much.
    fn say(&mut self, bytes: &[u8], piece: usize) -> usize {
        let mut count = 0;
        for piece in bytes.chunks(piece) {
            let Some(chain) = self.receiving.pop().unwrap() else { break };
            let written = self.receiving.scatter(&chain, piece).unwrap();
            self.receiving.push(chain.head, written);
            self.interrupts += u32::from(self.receiving.finish());
            count += written as usize;
        }
        count
    }

    fn hear(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(chain) = self.sending.pop().unwrap() {
            all.extend(self.sending.gather(&chain).unwrap());
            self.sending.push(chain.head, 0);
        }
        assert!(!self.sending.finish(), "nobody asked for interrupts");
        all
    }
}

fn running(event_index: bool) -> (Console<FakeDevice>, Host) {
    let memory = FakeMemory::new(1 << 20);
    let offered = FEATURE_VERSION_1 | if event_index { FEATURE_EVENT_INDEX } else { 0 };
    let device = FakeDevice::new(KIND_CONSOLE, offered, &[128, 128], &[]);
    let console = start(device.clone(), &memory, None).unwrap();
    let queue = |at| device.queue(&memory, at).unwrap();
    (console, Host { receiving: queue(0), sending: queue(1), interrupts: 0 })
}

#[test]
fn bytes_go_both_ways_in_order_whatever_the_pieces() {
    for event_index in [false, true] {
        let (mut console, mut host) = running(event_index);
        let text: Vec<u8> = (0..50_000u32).map(|number| ((number * 31) >> 3) as u8).collect();
        let (mut said, mut read, mut written, mut heard) = (0, Vec::new(), 0, Vec::new());
        for turn in 0..2_000usize {
            said += host.say(&text[said..(said + 97 * (turn % 9)).min(text.len())], 1 + turn % 200);
            let mut into = vec![0; 1 + turn * 13 % 400];
            let count = console.read(&mut into);
            read.extend_from_slice(&into[..count]);
            let end = (written + 501 * (turn % 11)).min(text.len());
            written += console.write(&text[written..end]);
            if turn % 3 == 0 {
                heard.extend(host.hear());
            }
        }
        heard.extend(host.hear());
        assert_eq!((said, written), (text.len(), text.len()));
        assert!(read == text, "{} of {} bytes were read", read.len(), text.len());
        assert!(heard == text);
        assert_eq!(console.fault(), None);
    }
}

#[test]
fn writing_takes_only_what_fits() {
    let (mut console, mut host) = running(true);
    let text = [7; 40_000];
    assert_eq!(console.write(&text), 16 * 1024);
    assert_eq!(console.write(&text), 0);
    assert!(!console.flushed());
    assert_eq!(host.hear().len(), 16 * 1024);
    assert!(console.flushed());
    assert_eq!(console.write(&text), 16 * 1024);
}

#[test]
fn a_sleeper_is_woken_once_and_never_sleeps_on_bytes() {
    let (mut console, mut host) = running(true);
    host.say(b"hello", 10);
    assert_eq!(host.interrupts, 0);
    assert!(!console.arm());
    let mut into = [0; 3];
    assert_eq!(console.read(&mut into), 3);
    assert!(!console.arm(), "half a buffer is left");
    assert_eq!(console.read(&mut into), 2);
    assert!(console.arm());
    host.say(b"drain\n", 10);
    assert_eq!(host.interrupts, 1);
    assert_eq!(console.read(&mut into), 3);
    host.say(b"more", 10);
    assert_eq!(host.interrupts, 1);
}

/// What a device with ports says, as bytes.
fn say_control(control: &mut DeviceQueue, port: u32, event: u16, value: u16) {
    let chain = control.pop().unwrap().unwrap();
    let message = [&port.to_le_bytes()[..], &event.to_le_bytes(), &value.to_le_bytes(), b"a name"].concat();
    let written = control.scatter(&chain, &message).unwrap();
    control.push(chain.head, written);
    control.finish();
}

#[test]
fn a_device_with_ports_says_who_listens() {
    let memory = FakeMemory::new(1 << 20);
    let offered = FEATURE_VERSION_1 | FEATURE_EVENT_INDEX | 2;
    let device = FakeDevice::new(KIND_CONSOLE, offered, &[128, 128, 32, 32, 128, 128], &[]);
    let mut console = start(device.clone(), &memory, None).unwrap();
    let queue = |at| device.queue(&memory, at).unwrap();
    let (mut control, mut answers) = (queue(2), queue(3));
    let mut host = Host { receiving: queue(4), sending: queue(5), interrupts: 0 };
    let mut answer = || {
        let chain = answers.pop().unwrap()?;
        let bytes = answers.gather(&chain).unwrap();
        answers.push(chain.head, 0);
        answers.finish();
        Some(bytes)
    };
    assert_eq!(answer().unwrap(), [0, 0, 0, 0, 0, 0, 1, 0], "device ready");
    assert_eq!((console.write(b"early"), console.peer()), (0, 0));
    // A port that is out of reach, then ours.
    say_control(&mut control, 77, 1, 1);
    say_control(&mut control, 1, 1, 1);
    assert!(console.arm(), "nobody came or went: the caller may sleep");
    assert_eq!(console.read(&mut [0; 10]), 0);
    assert_eq!(answer().unwrap(), [1, 0, 0, 0, 3, 0, 1, 0], "port ready");
    assert_eq!(answer().unwrap(), [1, 0, 0, 0, 6, 0, 1, 0], "port open");
    assert_eq!(answer(), None);
    assert_eq!(console.write(b"nobody listens"), 0);
    for turn in 1..100 {
        say_control(&mut control, 1, 6, 1);
        assert_eq!(console.write(b"hello"), 5);
        assert_eq!(console.peer(), turn);
        assert_eq!(host.hear(), b"hello");
        host.say(b"there", 10);
        let mut into = [0; 10];
        assert_eq!(console.read(&mut into), 5);
        say_control(&mut control, 1, 6, 0);
        assert!(!console.arm());
        assert_eq!(console.write(b"gone"), 0);
        assert_eq!(console.peer(), 0);
        assert!(console.arm());
    }
    assert_eq!(console.fault(), None);
}

#[test]
fn a_device_that_lies_falls_silent() {
    let (mut console, mut host) = running(true);
    host.receiving.pop().unwrap().unwrap();
    host.receiving.push_raw(3, 100_000);
    host.receiving.finish();
    assert_eq!(console.read(&mut [0; 10]), 0);
    assert!(console.fault().is_some());
    let card = FakeDevice::new(1, FEATURE_VERSION_1, &[8, 8], &[]);
    assert_eq!(start(card, &FakeMemory::new(1 << 16), None).unwrap_err(), StartError::WrongKind);
}
