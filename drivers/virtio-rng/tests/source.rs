//! The driver against sources in software.

use nom_dma::fake::FakeMemory;
use nom_virtio_rng::{ASK_LEN, Draw, Source, start};
use nom_virtqueue::fake::{DeviceQueue, FakeDevice};
use nom_virtqueue::queue::Fault;
use nom_virtqueue::transport::{FEATURE_EVENT_INDEX, FEATURE_VERSION_1, KIND_ENTROPY, StartError};

fn running() -> (DeviceQueue, Source<FakeDevice>, FakeDevice) {
    let device = FakeDevice::new(KIND_ENTROPY, FEATURE_VERSION_1 | FEATURE_EVENT_INDEX, &[8], &[]);
    let memory = FakeMemory::new(1 << 16);
    let source = start(device.clone(), &memory, None).unwrap();
    let queue = device.queue(&memory, 0).unwrap();
    (queue, source, device)
}

fn answer(queue: &mut DeviceQueue, bytes: &[u8]) -> bool {
    let chain = queue.pop().unwrap().expect("it was asked");
    let written = queue.scatter(&chain, bytes).unwrap();
    queue.push(chain.head, written);
    let interrupt = queue.finish();
    queue.want_notification(true);
    interrupt
}

#[test]
fn every_byte_is_given_once() {
    let (mut queue, mut source, device) = running();
    let mut into = [0; ASK_LEN];
    for round in 1..100u8 {
        assert_eq!(source.draw(&mut into), Draw::Thinking);
        assert!(source.arm());
        let bytes: Vec<u8> = (0..=round % 64).map(|at| at.wrapping_mul(round) ^ round).collect();
        assert!(answer(&mut queue, &bytes), "a sleeper is woken");
        assert!(!source.arm(), "there is one");
        assert_eq!(source.draw(&mut into), Draw::Bytes(bytes.len()));
        assert_eq!(&into[..bytes.len()], bytes);
    }
    assert_eq!(device.with(|registers| registers.rung[0]), 100);
    source.stop().unwrap();
}

#[test]
fn a_source_that_repeats_itself_or_lies_is_turned_down() {
    let good: Vec<u8> = (0..64).map(|at| at * 3 + 1).collect();
    let lies: [&dyn Fn(&mut DeviceQueue); 5] = [
        &|queue| _ = answer(queue, &[]),
        &|queue| _ = answer(queue, &[0; 64]),
        &|queue| _ = answer(queue, &[255; 64]),
        &|queue| _ = answer(queue, &good),
        // It says that it wrote and did not.
        &|queue| {
            let chain = queue.pop().unwrap().unwrap();
            queue.push(chain.head, 64);
            queue.finish();
        },
    ];
    for (number, lie) in lies.iter().enumerate() {
        let (mut queue, mut source, _) = running();
        let mut into = [0; ASK_LEN];
        answer(&mut queue, &good);
        assert_eq!(source.draw(&mut into), Draw::Bytes(64));
        lie(&mut queue);
        into = [9; ASK_LEN];
        assert_eq!(source.draw(&mut into), Draw::Broken, "{number}");
        assert_eq!((into, source.fault()), ([9; ASK_LEN], Some(Fault::Nonsense)));
        assert_eq!(source.draw(&mut into), Draw::Broken);
    }
    let (mut queue, mut source, _) = running();
    queue.push_raw(0, 65);
    queue.finish();
    assert_eq!(source.draw(&mut [0; ASK_LEN]), Draw::Broken);
    assert_eq!(source.fault(), Some(Fault::WroteTooMuch));
}

#[test]
fn what_is_no_source_is_refused() {
    let memory = FakeMemory::new(1 << 16);
    let disk = FakeDevice::new(2, FEATURE_VERSION_1, &[8], &[]);
    assert_eq!(start(disk, &memory, None).unwrap_err(), StartError::WrongKind);
    let small = FakeDevice::new(KIND_ENTROPY, FEATURE_VERSION_1, &[1], &[]);
    assert_eq!(start(small, &memory, None).unwrap_err(), StartError::Queue(0));
}
