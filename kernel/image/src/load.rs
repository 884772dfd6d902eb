//! Loading an application: its file, its stack, the pages that the kernel shares with it.

use nom_abi::call::PAGE_LEN;
use nom_abi::start::{MAGIC, START_LEN, Start};
use nom_kernel_core::Application;
use nom_kernel_core::call::Rights;
use nom_kernel_core::elf;
use nom_kernel_core::frames::{Frames, Owner};

use crate::paging::{self, Leaf, Space};

/// The first stack's end; below its lowest page nothing is mapped.
pub const STACK_END: u64 = 0x7f00_0000_0000;
const STACK_PAGES: u64 = 64;
/// Where an application finds its start page, then board, clock, counters, then the configuration text and behind it its content.
pub const SHARED: u64 = 0x7f80_0000_0000;

/// Memory ran out.
pub struct NoMemory;

/// What an application is started with.
pub struct Plan<'a> {
    /// Its number.
    pub number: Application,
    /// Its file.
    pub file: elf::Application<'a>,
    /// The configuration text.
    pub configuration: &'a str,
    /// What the image carries for it alone.
    pub content: &'a [u8],
    /// Physical addresses of board, clock and counters.
    pub shared: [u64; 3],
    /// What else the start page says.
    pub start: Start,
}

/// Makes its address space. What was made is taken apart again when memory runs out.
pub fn load(plan: &Plan<'_>, kernel: &Space, frames: &mut Frames<'_>) -> Result<Space, NoMemory> {
    let owner = Owner::application(plan.number);
    let space = kernel.application(frames, owner).ok_or(NoMemory)?;
    if fill(plan, &space, owner, frames).is_err() {
        space.take_apart(frames);
        return Err(NoMemory);
    }
    Ok(space)
}

fn fill(plan: &Plan<'_>, space: &Space, owner: Owner, frames: &mut Frames<'_>) -> Result<(), NoMemory> {
    for segment in plan.file.segments() {
        let rights = Rights { access: true, write: segment.write, execute: segment.execute };
        let offset = segment.address - segment.first_page();
        for page in (segment.first_page()..segment.end_page()).step_by(PAGE_LEN as usize) {
            // The part of the file that falls on this page.
            let done = (page - segment.first_page()).saturating_sub(offset) as usize;
            let at = if page == segment.first_page() { offset as usize } else { 0 };
            let content = segment.bytes.get(done..).unwrap_or(&[]);
            own_page(space, page, at, content, rights, owner, frames)?;
        }
    }
    let data = Rights { access: true, write: true, execute: false };
    for page in 1..=STACK_PAGES {
        own_page(space, STACK_END - page * PAGE_LEN, 0, &[], data, owner, frames)?;
    }
    for (place, physical) in (1..).zip(plan.shared) {
        space.map(SHARED + place * PAGE_LEN, physical, Leaf::Shown, frames).ok_or(NoMemory)?;
    }
    let text = SHARED + 4 * PAGE_LEN;
    let constant = Rights { access: true, write: false, execute: false };
    for (place, part) in (0..).zip(plan.configuration.as_bytes().chunks(PAGE_LEN as usize)) {
        own_page(space, text + place * PAGE_LEN, 0, part, constant, owner, frames)?;
    }
    let content = text + (plan.configuration.len() as u64).next_multiple_of(PAGE_LEN);
    for (place, part) in (0..).zip(plan.content.chunks(PAGE_LEN as usize)) {
        own_page(space, content + place * PAGE_LEN, 0, part, constant, owner, frames)?;
    }
    let start = Start {
        magic: MAGIC,
        configuration: text,
        configuration_len: plan.configuration.len() as u64,
        content,
        content_len: plan.content.len() as u64,
        board: SHARED + PAGE_LEN,
        clock: SHARED + 2 * PAGE_LEN,
        statistics: SHARED + 3 * PAGE_LEN,
        ..plan.start
    };
    own_page(space, SHARED, 0, &start_bytes(&start), constant, owner, frames)
}

fn own_page(
    space: &Space,
    address: u64,
    at: usize,
    content: &[u8],
    rights: Rights,
    owner: Owner,
    frames: &mut Frames<'_>,
) -> Result<(), NoMemory> {
    let frame = frames.allocate(owner).ok_or(NoMemory)?;
    paging::zero(frame);
    paging::fill(frame, at, content);
    space.map(address, frame.address(), Leaf::Own(rights), frames).ok_or(NoMemory)
}

fn start_bytes(start: &Start) -> [u8; START_LEN] {
    let mut bytes = [0; START_LEN];
    let words = [
        start.magic,
        start.configuration,
        start.configuration_len,
        start.content,
        start.content_len,
        start.board,
        start.clock,
        start.statistics,
        start.heap_len,
        start.confined,
        start.cores,
        start.trusted,
    ];
    let (numbers, name) = bytes.split_at_mut(8 * words.len());
    for (place, word) in numbers.chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    name.copy_from_slice(&start.name);
    bytes
}
