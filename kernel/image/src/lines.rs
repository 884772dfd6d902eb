//! The interrupts of devices: each is masked when it comes, comes to the core of the context that unmasked it last, and
//! is told to that context alone. One that counts by its edge is masked by the kernel's own notes first, and by the
//! controller when it comes once more.
//!
//! All of this happens under the kernel's lock.

use core::mem::MaybeUninit;

use nom_abi::call::PAGE_LEN;
use nom_kernel_core::cores::Core;
use nom_kernel_core::devices::{LINES_MAX, Line};
use nom_kernel_core::iommu::{interrupt_entry, message_address};
use nom_kernel_core::schedule::Context;

use crate::devices::Found;
use crate::interrupts::{self, vector, write_message, write32};
use crate::paging;
use crate::state::Kernel;

/// How many interrupts of a masked line are put up with until its device is stopped: a few may be under way.
const STORM: u8 = 64;

/// Where an interrupt comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Nowhere: the device has left, or has none.
    Nobody,
    /// A pin of the I/O controller (active high): by its level, or else by its rising edge. Whoever hears of an edge has
    /// the device lower the pin before the next sleep.
    Pin(u32, bool),
    /// An entry of an MSI-X table: where the kernel sees it.
    Message(u64),
}

/// How an interrupt stands.
#[derive(Clone, Copy)]
pub struct Standing {
    pub source: Source,
    /// Who is told.
    pub hears: Option<Context>,
    /// Where it comes.
    core: Option<Core>,
    masked: bool,
    /// Interrupts that came since it was unmasked.
    unasked: u8,
}

impl Standing {
    /// One that never comes.
    pub const NONE: Standing =
        Standing { source: Source::Nobody, hears: None, core: None, masked: true, unasked: 0 };

    /// To be kept out and let in by turns would cost such a one two registers each time.
    fn is_edge(&self) -> bool {
        matches!(self.source, Source::Pin(_, false))
    }
}

/// A page of the kernel's own holds how all of them stand: on its stack there is no room for that.
pub fn table(page: u64) -> &'static mut [Standing; LINES_MAX] {
    const { assert!(size_of::<[Standing; LINES_MAX]>() <= PAGE_LEN as usize) };
    // SAFETY: the page was just given to the kernel for this: nobody else refers to it, and it is written before it is read.
    let place = unsafe { &mut *((paging::DIRECT + page) as *mut MaybeUninit<[Standing; LINES_MAX]>) };
    place.write([Standing::NONE; LINES_MAX])
}

impl Found {
    /// An interrupt comes from there from now on; it is masked and leads nowhere.
    pub fn attach(&mut self, line: Line, source: Source) {
        self.lines[line.number()] = Standing { source, masked: false, ..Standing::NONE };
        if let (Source::Message(entry), Some(_)) = (source, &self.iommu) {
            write_message(entry, (message_address(line.number() as u16), 0));
        }
        self.mask(line, true);
    }

    /// Keeps an interrupt out, or lets it in.
    pub fn mask(&mut self, line: Line, masked: bool) {
        let standing = &mut self.lines[line.number()];
        if core::mem::replace(&mut standing.masked, masked) == masked {
            return;
        }
        match standing.source {
            Source::Nobody => {}
            Source::Pin(pin, level) => interrupts::mask_pin(pin, vector(line), level, masked),
            Source::Message(entry) => write32(entry + 12, u32::from(masked)),
        }
    }

    /// Has an interrupt come to the core that this runs on, or nowhere. It is masked afterwards.
    pub fn route(&mut self, line: Line, here: Option<Core>) {
        self.mask(line, true);
        let requester = self.requester(line.device);
        let standing = &mut self.lines[line.number()];
        standing.core = here;
        let number = line.number() as u16;
        if let Some(iommu) = &mut self.iommu {
            let level = matches!(standing.source, Source::Pin(..));
            let requester = if level { iommu.found.controller } else { requester };
            let entry = interrupt_entry(vector(line), interrupts::identity(), requester, level);
            iommu.route(number, here.map(|_| entry));
        }
        match standing.source {
            Source::Pin(pin, _) => interrupts::route_pin(pin, self.iommu.is_some().then_some(number)),
            Source::Message(entry) if self.iommu.is_none() && here.is_some() => {
                write_message(entry, interrupts::direct(vector(line)));
            }
            Source::Message(_) | Source::Nobody => {}
        }
    }

    /// Lets an interrupt in, for this context on the core that this runs on. True when one may have been missed: an edge
    /// while it was masked leaves no trace.
    pub fn unmask(&mut self, line: Line, hears: Context, here: Core) -> bool {
        self.lines[line.number()].hears = Some(hears);
        if self.lines[line.number()].core != Some(here) {
            self.route(line, Some(here));
        }
        let standing = &mut self.lines[line.number()];
        let missed = standing.masked && standing.is_edge();
        // That one is told now, and no further one before it is unmasked again.
        standing.unasked = u8::from(missed);
        self.mask(line, false);
        missed
    }
}

impl Kernel {
    /// A device has interrupted.
    pub fn interrupted(&mut self, line: Line) {
        let standing = &mut self.found.lines[line.number()];
        standing.unasked = standing.unasked.saturating_add(1);
        let (edge, unasked) = (standing.is_edge(), standing.unasked);
        // A second edge is kept for whoever unmasks it.
        let hears = standing.hears.filter(|_| !edge || unasked == 1);
        if !edge || unasked > 1 {
            self.found.mask(line, true);
        }
        if let Some(context) = hears {
            self.post(context, self.devices.event(line));
        }
        if unasked > STORM {
            self.stop_device(line.device, format_args!("interrupts without end"));
        }
    }
}
