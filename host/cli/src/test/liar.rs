//! A network card whose other half lies. The emulator hands a card's queues to a process of ours (vhost-user), which
//! writes into the rings what no card may: the driver must say what is wrong and stop, and nobody else may notice.
//!
//! The protocol is that of QEMU's `docs/interop/vhost-user.rst`, as little of it as a card with one pair of queues
//! needs. The guest's memory comes as files, and is read and written as such.

use super::Cases;
use super::guest::{PATIENCE, judge};
use crate::image;
use nom_machine::machine::{Machine, Nameless};
use nom_machine::qemu::{Kind, Plan};
use nom_machine::scratch::Scratch;
use nom_machine::trouble::{Context, Outcome, Trouble};
use rustix::io::{pread, pwrite};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use std::io::{IoSliceMut, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What is written into a ring's used part: entries (a chain's number, bytes written), and how far they are said to reach.
struct Lie {
    name: &'static str,
    /// 0: what the card received; 1: what it sent.
    queue: usize,
    entries: &'static [(u32, u32)],
    index: u16,
    /// What the driver must find, in its own words.
    found: &'static str,
}

const LIES: [Lie; 6] = [
    Lie {
        name: "a_number_too_high",
        queue: 0,
        entries: &[(0xffff_ff00, 60)],
        index: 1,
        found: "NoSuchDescriptor",
    },
    Lie { name: "a_chain_twice", queue: 0, entries: &[(0, 60), (0, 60)], index: 2, found: "NotOut" },
    Lie {
        name: "more_than_there_was_room_for",
        queue: 0,
        entries: &[(0, 1 << 20)],
        index: 1,
        found: "WroteTooMuch",
    },
    Lie { name: "an_index_far_ahead", queue: 0, entries: &[], index: 0x8000, found: "UsedTooMany" },
    Lie { name: "what_was_never_sent", queue: 1, entries: &[(3, 0)], index: 9, found: "UsedTooMany" },
    Lie { name: "bytes_in_what_was_sent", queue: 1, entries: &[(0, 77)], index: 1, found: "WroteTooMuch" },
];

const CONFIGURATION: &str = "image.trusted = yes\nkernel.heap = 4 MiB\n# lie = ";
/// Memory of the machine, which is shared with the card's other half.
const MEMORY_MIB: u32 = 64;

/// Runs a guest for each lie.
pub fn liar(cases: &mut Cases) -> Outcome<()> {
    for lie in &LIES {
        let image = Nameless::new(&image::build("drivers", &format!("{CONFIGURATION}{}\n", lie.found))?)?;
        one(&image, lie, cases)?;
    }
    Ok(())
}

fn one(image: &Nameless, lie: &Lie, cases: &mut Cases) -> Outcome<()> {
    let folder = Scratch::new()?;
    let path = folder.file("card");
    let listener = UnixListener::bind(&path).context(|| "cannot listen for the emulator".into())?;
    listener.set_nonblocking(true).context(|| "cannot listen without waiting".into())?;
    let mut plan = Plan { memory_mib: MEMORY_MIB, ..Plan::new(Kind::Q35) };
    let memory = format!("memory-backend-memfd,id=shared,size={MEMORY_MIB}M,share=on");
    let socket = format!("socket,id=liar,path={}", path.display());
    plan.further = [
        "-object",
        &memory,
        "-machine",
        "memory-backend=shared",
        "-chardev",
        &socket,
        "-netdev",
        "vhost-user,id=card,chardev=liar",
        "-device",
        "virtio-net-pci,netdev=card",
    ]
    .map(String::from)
    .to_vec();
    let title = format!("q35 with a card that lies: {}", lie.name);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let card = scope.spawn(|| Card::accept(&listener, lie, &over)?.serve());
        let started = Machine::start(&plan, image, None);
        let judged = started.and_then(|mut machine| {
            let end = machine.wait(PATIENCE);
            judge(&mut machine, end, &title, cases).map(|[_, complaints]| complaints)
        });
        over.store(true, Ordering::Release);
        let lied = card.join().unwrap_or_else(|_| Err(Trouble::new("the card's thread ended in a panic")));
        let complaints = judged?;
        let lied = lied.map_err(|why| Trouble::new(format!("{why}; the emulator says {complaints:?}")));
        cases.note(&format!("guest on {title}: the lie was told"), lied);
        Ok(())
    })
}

/// A stretch of the guest's memory, and where it is in its file.
struct Stretch {
    len: u64,
    emulator: u64,
    file: OwnedFd,
    offset: u64,
}

/// What the emulator has said of a queue: by its own addresses.
#[derive(Clone, Copy, Default)]
struct Ring {
    used: u64,
    available: u64,
    size: u64,
}

struct Card<'a> {
    emulator: UnixStream,
    lie: &'a Lie,
    over: &'a AtomicBool,
    memory: Vec<Stretch>,
    rings: [Ring; 2],
    /// Kept: the emulator's ends would see that they are closed.
    bells: Vec<OwnedFd>,
    running: [bool; 2],
    told: bool,
}

/// The longest message that is read.
const MESSAGE_LEN_MAX: usize = 512;
const FILES_MAX: usize = 8;
/// Features: the modern interface, and that there could be more of the protocol; without that QEMU does not begin.
const FEATURES: u64 = 1 << 32 | 1 << 30;

impl<'a> Card<'a> {
    fn accept(listener: &UnixListener, lie: &'a Lie, over: &'a AtomicBool) -> Outcome<Self> {
        let deadline = Instant::now() + PATIENCE;
        let emulator = loop {
            match listener.accept() {
                Ok((emulator, _)) => break emulator,
                Err(_) if Instant::now() < deadline && !over.load(Ordering::Acquire) => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(error) => return Err(Trouble::new(format!("the emulator does not come: {error}"))),
            }
        };
        emulator
            .set_read_timeout(Some(Duration::from_millis(2)))
            .context(|| "no time limit for the emulator".into())?;
        Ok(Self {
            emulator,
            lie,
            over,
            memory: Vec::new(),
            rings: [Ring::default(); 2],
            bells: Vec::new(),
            running: [false; 2],
            told: false,
        })
    }

    /// Until the guest has ended.
    fn serve(mut self) -> Outcome<()> {
        while !self.over.load(Ordering::Acquire) {
            if !self.message()? {
                break;
            }
            if !self.told && self.running[self.lie.queue] {
                self.told = self.tell()?;
            }
        }
        if self.told { Ok(()) } else { Err(Trouble::new("the guest ended before its card could lie")) }
    }

    /// Answers one message, if one comes in time; false when the emulator has gone.
    fn message(&mut self) -> Outcome<bool> {
        let mut header = [0; 12];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(
            &self.emulator,
            &mut [IoSliceMut::new(&mut header)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        );
        let len = match received {
            Ok(received) => received.bytes,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(true),
            Err(_) => 0,
        };
        if len != header.len() {
            return Ok(false);
        }
        let mut files: Vec<OwnedFd> = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                files.extend(rights);
            }
        }
        let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
        let (request, len) = (word(0), word(8) as usize);
        if len > MESSAGE_LEN_MAX {
            return Err(Trouble::new(format!("the emulator sends {len} bytes at once")));
        }
        let mut body = vec![0; len];
        self.read(&mut body)?;
        self.obey(request, &body, files)?;
        Ok(true)
    }

    /// The rest of a message follows at once.
    fn read(&mut self, mut body: &mut [u8]) -> Outcome<()> {
        let deadline = Instant::now() + PATIENCE;
        while !body.is_empty() {
            match self.emulator.read(body) {
                Ok(len) if len > 0 => body = &mut body[len..],
                Err(_) if Instant::now() < deadline => {}
                _ => return Err(Trouble::new("the emulator broke off in the middle of a message")),
            }
        }
        Ok(())
    }

    fn obey(&mut self, request: u32, body: &[u8], mut files: Vec<OwnedFd>) -> Outcome<()> {
        const GET_FEATURES: u32 = 1;
        const SET_MEMORY: u32 = 5;
        const SET_SIZE: u32 = 8;
        const SET_ADDRESS: u32 = 9;
        const GET_BASE: u32 = 11;
        const SET_KICK: u32 = 12;
        const SET_CALL: u32 = 13;
        const GET_MORE: u32 = 15;
        let word = |at: usize| {
            let bytes = body.get(8 * at..8 * at + 8).and_then(|bytes| bytes.try_into().ok());
            bytes
                .map(u64::from_le_bytes)
                .ok_or_else(|| Trouble::new(format!("request {request} is too short")))
        };
        // The low half of the first word is a queue, for what names one.
        let queue = word(0).map_or(0, |word| word as usize & 1);
        match request {
            GET_FEATURES => self.answer(request, FEATURES)?,
            GET_MORE => self.answer(request, 0)?,
            GET_BASE => {
                self.running[queue] = false;
                self.answer(request, queue as u64)?;
            }
            SET_MEMORY => {
                self.memory.clear();
                for (place, file) in files.drain(..).enumerate() {
                    let at = 1 + 4 * place;
                    // The guest's own address comes first.
                    let (len, emulator, offset) = (word(at + 1)?, word(at + 2)?, word(at + 3)?);
                    self.memory.push(Stretch { len, emulator, file, offset });
                }
            }
            SET_SIZE => self.rings[queue].size = word(0)? >> 32,
            // Index and flags; descriptors, used, available, log.
            SET_ADDRESS => (self.rings[queue].used, self.rings[queue].available) = (word(2)?, word(3)?),
            SET_KICK => {
                self.running[queue] = true;
                self.bells.extend(files);
            }
            SET_CALL => self.bells.extend(files),
            _ => {}
        }
        Ok(())
    }

    fn answer(&mut self, request: u32, value: u64) -> Outcome<()> {
        /// Version 1, and that it is an answer.
        const FLAGS: u32 = 1 | 4;
        let mut bytes = Vec::new();
        [request, FLAGS, 8].iter().for_each(|word| bytes.extend(word.to_le_bytes()));
        bytes.extend(value.to_le_bytes());
        self.emulator.write_all(&bytes).context(|| "the emulator takes no answer".into())
    }

    /// The file and the place of an address of the emulator's.
    fn find(&self, address: u64) -> Outcome<(&OwnedFd, u64)> {
        let holds =
            |stretch: &&Stretch| (stretch.emulator..stretch.emulator + stretch.len).contains(&address);
        let stretch = self.memory.iter().find(holds);
        let stretch = stretch.ok_or_else(|| Trouble::new(format!("{address:#x} is in no memory")))?;
        Ok((&stretch.file, address - stretch.emulator + stretch.offset))
    }

    /// Tells the lie, once the driver has put something into the queue; false while it has not.
    fn tell(&self) -> Outcome<bool> {
        let Ring { used, available, size } = self.rings[self.lie.queue];
        let (file, at) = self.find(available)?;
        let mut index = [0; 2];
        pread(file, &mut index[..], at + 2).context(|| "the guest's memory cannot be read".into())?;
        if index == [0; 2] || size < 2 {
            return Ok(false);
        }
        let (file, at) = self.find(used)?;
        let write = |offset: u64, bytes: &[u8]| {
            pwrite(file, bytes, at + offset)
                .context(|| "the guest's memory cannot be written".into())
                .map(|_| ())
        };
        for (place, (id, len)) in self.lie.entries.iter().enumerate() {
            write(4 + 8 * place as u64, &id.to_le_bytes())?;
            write(8 + 8 * place as u64, &len.to_le_bytes())?;
        }
        // What makes it seen comes last.
        write(2, &self.lie.index.to_le_bytes())?;
        Ok(true)
    }
}
