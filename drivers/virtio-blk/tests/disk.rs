//! The driver against disks in software: honest ones that do things in any order, failing ones, and ones that lie.

use nom_virtio_blk::fake::{FakeDisk, Heard};
use nom_virtio_blk::{Config, Disk, DiskError, Refused, Ticket, start};
use nom_virtqueue::fake::FakeDevice;
use nom_virtqueue::queue::Fault;
use nom_virtqueue::transport::StartError;

const LEN: usize = 256 << 10;
const CONFIG: Config = Config { requests: 8, request_len: 8 << 10, vector: None };

fn running(event_index: bool) -> (FakeDisk, Disk<FakeDevice>) {
    let disk = FakeDisk::new(LEN, 512, false, event_index);
    let driver = start(disk.device(), &disk.memory(), CONFIG).unwrap();
    (disk, driver)
}

fn serve_all(disk: &mut FakeDisk) {
    while let Some(heard) = disk.fetch() {
        disk.serve(&heard);
    }
}

/// What a flush has to keep: places and bytes.
type Owed = Vec<(usize, Vec<u8>)>;

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

#[test]
fn what_is_written_is_read() {
    for event_index in [false, true] {
        let (mut disk, mut driver) = running(event_index);
        assert_eq!((driver.capacity(), driver.block_len(), driver.read_only()), (LEN as u64, 512, false));
        let bytes: Vec<u8> = (0..8192u32).map(|at| (at / 5) as u8).collect();
        let written = driver.write(4096, &bytes).unwrap();
        assert!(driver.kick());
        assert!(!driver.kick(), "nothing new");
        assert!(driver.arm());
        serve_all(&mut disk);
        assert_eq!(disk.interrupts, 1);
        let done = driver.poll().unwrap();
        assert_eq!((done.ticket, done.outcome), (written, Ok(())));
        assert_eq!(driver.bytes(written), b"", "a write is nothing to read");
        let read = driver.read(4096 + 512, 1024).unwrap();
        driver.kick();
        serve_all(&mut disk);
        assert_eq!(driver.poll().unwrap().ticket, read);
        assert_eq!(driver.bytes(read), &bytes[512..1536]);
        assert_eq!(driver.under_way(), 1);
        driver.release(read);
        assert_eq!((driver.bytes(read), driver.under_way()), (&b""[..], 0));
        driver.release(written);
        assert_eq!(driver.poll(), None);
        driver.stop().unwrap();
    }
}

#[test]
fn requests_that_the_disk_has_no_place_for_are_refused() {
    let (disk, mut driver) = running(true);
    for (from, len, why) in [
        (0, 0, Refused::Misaligned),
        (1, 512, Refused::Misaligned),
        (0, 511, Refused::Misaligned),
        (0, 8704, Refused::TooLong),
        (LEN as u64, 512, Refused::BeyondEnd),
        (LEN as u64 - 512, 1024, Refused::BeyondEnd),
        (u64::MAX - 511, 512, Refused::BeyondEnd),
    ] {
        assert_eq!(driver.read(from, len), Err(why), "{from} {len}");
        assert_eq!(driver.write(from, &vec![0; len]), Err(why), "{from} {len}");
    }
    for _ in 0..8 {
        driver.read(0, 512).unwrap();
    }
    assert_eq!(driver.read(0, 512), Err(Refused::Busy));
    assert_eq!(driver.flush(), Err(Refused::Busy));
    assert!(disk.contents.iter().all(|byte| *byte == 0));

    let disk = FakeDisk::new(LEN, 4096, true, true);
    let mut driver = start(disk.device(), &disk.memory(), CONFIG).unwrap();
    assert!(driver.read_only());
    assert_eq!(driver.write(0, &[0; 4096]), Err(Refused::ReadOnly));
    assert_eq!(driver.read(512, 4096), Err(Refused::Misaligned), "its blocks are larger");
    assert!(driver.read(4096, 4096).is_ok());
}

#[test]
fn disks_that_cannot_be_are_not_started() {
    let refused = |disk: &FakeDisk| start(disk.device(), &disk.memory(), CONFIG).unwrap_err();
    for block_len in [0, 1, 511, 768, 1 << 17, u32::MAX] {
        assert_eq!(
            refused(&FakeDisk::new(LEN, block_len, false, true)),
            StartError::Configuration,
            "{block_len}"
        );
    }
    let disk = FakeDisk::new(LEN, 512, false, true);
    disk.device().with(|registers| registers.config[..8].fill(0xff));
    assert_eq!(refused(&disk), StartError::Configuration, "more bytes than can be counted");
    disk.device().with(|registers| registers.queues[0].0 = 2);
    disk.device().with(|registers| registers.config[..8].fill(0));
    assert_eq!(refused(&disk), StartError::Queue(0));
    disk.device().with(|registers| registers.kind = 1);
    assert_eq!(refused(&disk), StartError::WrongKind);
    // A segment smaller than a block.
    let disk = FakeDisk::new(LEN, 4096, false, true);
    disk.device().with(|registers| {
        registers.offered |= 2;
        registers.config[8..12].copy_from_slice(&512u32.to_le_bytes());
    });
    assert_eq!(refused(&disk), StartError::Configuration);
}

#[test]
fn a_flush_covers_every_write_before_it_and_none_has_to_wait_for_it() {
    let (mut disk, mut driver) = running(true);
    let first = driver.write(0, &[1; 512]).unwrap();
    let second = driver.write(512, &[2; 512]).unwrap();
    let flush = driver.flush().unwrap();
    let third = driver.write(1024, &[3; 512]).unwrap();
    driver.kick();
    let heard: Vec<Heard> = std::iter::from_fn(|| disk.fetch()).collect();
    assert_eq!(heard.iter().map(|heard| heard.kind).collect::<Vec<_>>(), [1, 1, 1], "the flush is kept back");
    disk.serve(&heard[2]);
    assert_eq!(driver.poll().unwrap().ticket, third);
    disk.serve(&heard[1]);
    assert_eq!(driver.poll().unwrap().ticket, second);
    assert_eq!(driver.poll(), None);
    assert_eq!(disk.fetch(), None);
    disk.serve(&heard[0]);
    assert_eq!(driver.poll().unwrap().ticket, first);
    let heard = disk.fetch().expect("the flush went out by itself");
    assert_eq!(heard.kind, 4);
    assert_eq!(disk.kept[0], 0);
    disk.serve(&heard);
    assert_eq!((driver.poll().unwrap().ticket, disk.kept[0], disk.kept[512]), (flush, 1, 2));

    // A disk that keeps nothing back has nothing to be told.
    let mut disk = FakeDisk::new(LEN, 512, false, true);
    disk.device().with(|registers| registers.offered &= !(1 << 9));
    let mut driver = start(disk.device(), &disk.memory(), CONFIG).unwrap();
    let write = driver.write(0, &[1; 512]).unwrap();
    let flush = driver.flush().unwrap();
    driver.kick();
    assert_eq!(driver.poll(), None);
    serve_all(&mut disk);
    let mut done = [driver.poll().unwrap().ticket, driver.poll().unwrap().ticket];
    done.sort_by_key(|ticket| *ticket != write);
    assert_eq!(done, [write, flush]);
    let flush = driver.flush().unwrap();
    assert!(!driver.arm(), "it is over already");
    assert_eq!(driver.poll().unwrap().ticket, flush);
}

#[test]
fn errors_reach_the_request_that_met_them() {
    let (mut disk, mut driver) = running(true);
    disk.bad.push(1024);
    let tickets: Vec<Ticket> = [0, 1024, 2048].map(|from| driver.read(from, 512).unwrap()).to_vec();
    driver.kick();
    serve_all(&mut disk);
    let outcomes: Vec<_> = std::iter::from_fn(|| driver.poll()).map(|done| done.outcome).collect();
    assert_eq!(outcomes, [Ok(()), Err(DiskError::Io), Ok(())]);
    assert_eq!(driver.bytes(tickets[1]), b"");
    assert_eq!(driver.under_way(), 2, "the failed one needs no release");
    for (status, written, outcome) in [
        (2, 513, Err(DiskError::Unsupported)),
        (0, 512, Err(DiskError::Short)),
        (0, 0, Err(DiskError::Short)),
        (0, 513, Ok(())),
    ] {
        let ticket = driver.read(0, 512).unwrap();
        driver.kick();
        let heard = disk.fetch().unwrap();
        let mut bytes = [7; 513];
        bytes[512] = status;
        disk.answer(&heard, &bytes, written);
        assert_eq!(driver.poll().unwrap().outcome, outcome);
        driver.release(ticket);
    }
    assert_eq!(driver.counters().errors, 4);
}

#[test]
fn a_disk_that_lies_comes_to_no_end_and_harms_nobody() {
    type Lie = (Fault, fn(&mut FakeDisk, &Heard));
    let lies: [Lie; 6] = [
        (Fault::Nonsense, |disk, heard| disk.answer(heard, &[[0; 512].as_slice(), &[3]].concat(), 513)),
        (Fault::Nonsense, |disk, heard| disk.answer(heard, &[], 513)),
        (Fault::WroteTooMuch, |disk, heard| disk.answer(heard, &[], 514)),
        (Fault::NoSuchDescriptor, |disk, _| {
            disk.queue().push_raw(4_000, 1);
            disk.queue().finish();
        }),
        (Fault::NotOut, |disk, heard| {
            disk.serve(heard);
            disk.serve(heard);
        }),
        (Fault::UsedTooMany, |disk, _| disk.queue().set_used_index(77)),
    ];
    for (fault, lie) in lies {
        let (mut disk, mut driver) = running(true);
        driver.read(0, 512).unwrap();
        driver.read(512, 512).unwrap();
        driver.kick();
        let heard = disk.fetch().unwrap();
        lie(&mut disk, &heard);
        let reported = std::iter::from_fn(|| driver.poll()).take(10).count();
        assert!(reported <= 1);
        assert_eq!(driver.fault(), Some(fault));
        assert_eq!(driver.read(0, 512), Err(Refused::Broken));
        assert_eq!(driver.flush(), Err(Refused::Broken));
        assert!(!driver.kick());
    }
}

/// Long histories: reads, writes and flushes that the disk does in any order, some of which fail. Places under way are
/// left alone by others, so that there is one right answer.
#[test]
fn long_histories_agree_with_a_plain_array() {
    for seed in 0..60 {
        let mut random = Random(seed);
        let (mut disk, mut driver) = running(seed % 2 == 0);
        let mut model = vec![0u8; LEN];
        let mut waiting: Vec<Heard> = Vec::new();
        // Ticket, kind, place, bytes; and for a flush what must be kept when it is done.
        let mut asked: Vec<(Ticket, u32, usize, Vec<u8>)> = Vec::new();
        let mut to_keep: Vec<(Ticket, Owed)> = Vec::new();
        let mut finished = 0;
        for step in 0..2_000 {
            let (place, len) = (random.below(LEN / 512 - 16) * 512, (1 + random.below(16)) * 512);
            let free = asked.iter().all(|(_, kind, other, bytes)| {
                *kind == 4 || place + len <= *other || other + bytes.len() <= place
            });
            match random.below(8) {
                0..3 if free => {
                    let bytes = vec![(step % 251) as u8 + 1; len];
                    if let Ok(ticket) = driver.write(place as u64, &bytes) {
                        asked.push((ticket, 1, place, bytes));
                    }
                }
                3..5 if free => {
                    if let Ok(ticket) = driver.read(place as u64, len) {
                        asked.push((ticket, 0, place, vec![0; len]));
                    }
                }
                5 if random.below(4) == 0 => {
                    if let Ok(ticket) = driver.flush() {
                        let writes = asked.iter().filter(|(_, kind, ..)| *kind == 1);
                        let before = writes.map(|(_, _, place, bytes)| (*place, bytes.clone())).collect();
                        to_keep.push((ticket, before));
                        asked.push((ticket, 4, 0, Vec::new()));
                    }
                }
                6 => _ = driver.kick(),
                _ => {
                    waiting.extend(std::iter::from_fn(|| disk.fetch()));
                    if !waiting.is_empty() {
                        let heard = waiting.swap_remove(random.below(waiting.len()));
                        disk.serve(&heard);
                    }
                }
            }
            while let Some(done) = driver.poll() {
                assert_eq!(done.outcome, Ok(()));
                let at =
                    asked.iter().position(|(ticket, ..)| *ticket == done.ticket).expect("asked for, once");
                let (ticket, kind, place, bytes) = asked.swap_remove(at);
                match kind {
                    0 => {
                        assert!(
                            driver.bytes(ticket) == &model[place..place + bytes.len()],
                            "seed {seed} step {step}"
                        );
                        driver.release(ticket);
                    }
                    1 => model[place..place + bytes.len()].copy_from_slice(&bytes),
                    _ => {
                        let at = to_keep.iter().position(|(flush, _)| *flush == ticket).unwrap();
                        for (place, bytes) in to_keep.swap_remove(at).1 {
                            let overwritten = disk.contents[place..][..bytes.len()] != bytes;
                            assert!(
                                overwritten || disk.kept[place..][..bytes.len()] == bytes,
                                "lost: {place}"
                            );
                        }
                    }
                }
                finished += 1;
            }
        }
        assert!(finished > 200, "{finished}");
        assert_eq!(driver.fault(), None);
    }
}
