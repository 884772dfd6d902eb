//! What the kernel knows, in one place, reached by one at a time.

use core::cell::UnsafeCell;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nom_abi::device::DEVICES_MAX;
use nom_abi::statistics::Counter;
use nom_kernel_core::bundle::{Bundle, NAME_LEN_MAX};
use nom_kernel_core::call::Facts;
use nom_kernel_core::channels::Channels;
use nom_kernel_core::configuration::Configuration;
use nom_kernel_core::cores::{CORES_MAX, Core, Cores};
use nom_kernel_core::devices::{Device, Devices, within};
use nom_kernel_core::frames::{Frame, Frames, Owner, Shape};
use nom_kernel_core::lives::Lives;
use nom_kernel_core::schedule::{CONTEXTS_MAX, Context, Schedule};
use nom_kernel_core::{APPLICATIONS_MAX, Application};

use crate::context::Page;
use crate::devices::Found;
use crate::paging::{self, Space};
use crate::processors;

/// A name of its own: the bundle that it came from is free memory again.
#[derive(Clone, Copy)]
pub struct Name {
    bytes: [u8; NAME_LEN_MAX],
    len: usize,
}

impl Name {
    /// A copy; a bundle has no longer names.
    pub fn new(text: &str) -> Name {
        let mut bytes = [0; NAME_LEN_MAX];
        let len = text.len().min(NAME_LEN_MAX);
        bytes[..len].copy_from_slice(&text.as_bytes()[..len]);
        Name { bytes, len }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(core::str::from_utf8(&self.bytes[..self.len]).unwrap_or("?"))
    }
}

/// An application that lives.
pub struct Running {
    /// Its name in the bundle.
    pub name: Name,
    /// Its address space.
    pub space: Space,
    /// The tables of its devices, where an IOMMU confines them.
    pub reach: Option<Space>,
    /// Its first context.
    pub home: Context,
    /// It may publish prices.
    pub publisher: bool,
    /// The ports of old that it may use: the first, and how many.
    pub ports: (u16, u16),
}

/// Everything.
pub struct Kernel {
    /// Who owns which frame.
    pub frames: Frames<'static>,
    /// Who owns which core.
    pub cores: Cores,
    /// Who owns which device.
    pub devices: Devices,
    /// Where the devices are.
    pub found: Found,
    /// Where the registers of each device are mapped in its owner.
    pub windows: [u64; DEVICES_MAX as usize],
    /// The kernel's own address space.
    pub space: Space,
    /// The image is trusted with physical addresses.
    pub trusted: bool,
    /// Physical addresses of the bulletin board, the clock and the counters.
    pub shared: [u64; 3],
    /// The image, as long as something may still be started from it.
    pub image: Option<(Bundle<'static>, Configuration<'static>)>,
    /// Which application lives.
    pub lives: Lives,
    /// Those that do.
    pub running: [Option<Running>; APPLICATIONS_MAX as usize],
    /// Which context runs where.
    pub schedule: Schedule,
    /// The page of each context.
    pub pages: [Option<Frame>; CONTEXTS_MAX],
    /// The context whose registers that a switch changes are in each core.
    pub last: [Option<Context>; CORES_MAX],
    /// Somebody could move to a free core as soon as it rests.
    pub may_relieve: bool,
    /// Who shares memory with whom.
    pub channels: Channels,
    /// The processor saves vector state by XSAVE.
    pub xsave: bool,
    /// The code with which the machine ends when no application is left.
    pub code: u8,
    /// The first application that starts.
    pub first: Application,
    /// The application whose code that is.
    pub decides: Application,
    /// The machine ends with that application, whatever else lives.
    pub ends_all: bool,
}

/// Who calls, or whose context something happens to.
#[derive(Clone, Copy)]
pub struct Caller {
    /// The application.
    pub number: Application,
    /// Its context.
    pub context: Context,
    /// Its address space.
    pub space: Space,
    /// The core.
    pub here: Core,
}

impl Caller {
    /// The owner of its frames.
    pub fn owner(&self) -> Owner {
        Owner::application(self.number)
    }
}

impl Kernel {
    /// What runs on a core; nothing after its application was ended from elsewhere.
    pub fn caller(&self, here: Core) -> Option<Caller> {
        let context = self.schedule.current(here)?;
        let number = self.schedule.application(context)?;
        let space = self.living(number)?.space;
        Some(Caller { number, context, space, here })
    }

    /// An application that lives.
    pub fn living(&self, number: Application) -> Option<&Running> {
        self.running.get(usize::from(number.0))?.as_ref()
    }

    /// The page of a context.
    pub fn page(&mut self, context: Context) -> Option<&mut Page> {
        let frame = self.pages.get(usize::from(context.0)).copied().flatten()?;
        // SAFETY: the frame was zeroed, which is a page at rest, and belongs to this context alone. It is reached only
        // from here, which borrows the kernel; a core that loads a context from it holds no reference.
        Some(unsafe { &mut *((paging::DIRECT + frame.address()) as *mut Page) })
    }

    /// Notes events for a context; its core looks.
    pub fn post(&mut self, context: Context, events: u64) {
        if let Some(core) = self.schedule.post(context, events) {
            processors::attend(core);
        }
    }

    /// Notes events for the first context of an application.
    pub fn post_home(&mut self, application: Application, events: u64) {
        if let Some(home) = self.living(application).map(|running| running.home) {
            self.post(home, events);
        }
    }

    /// Notes events for every application's first context.
    pub fn post_all(&mut self, events: u64) {
        for number in 0..APPLICATIONS_MAX {
            self.post_home(Application(number), events);
        }
    }
}

struct Guarded {
    taken: AtomicBool,
    kernel: UnsafeCell<Option<Kernel>>,
}

// SAFETY: the content is only reached through `with`, which the flag makes exclusive.
unsafe impl Sync for Guarded {}

static KERNEL: Guarded = Guarded { taken: AtomicBool::new(false), kernel: UnsafeCell::new(None) };
static STATISTICS: AtomicU64 = AtomicU64::new(0);

/// Puts the kernel in its place.
pub fn set(kernel: Kernel) {
    locked(|place| *place = Some(kernel));
}

/// Works on the kernel; `None` before it is in its place.
pub fn with<T>(work: impl FnOnce(&mut Kernel) -> T) -> Option<T> {
    locked(|place| place.as_mut().map(work))
}

fn locked<T>(work: impl FnOnce(&mut Option<Kernel>) -> T) -> T {
    while KERNEL.taken.swap(true, Ordering::Acquire) {
        // Whoever holds it may be waiting for this very core.
        processors::serve();
        core::hint::spin_loop();
    }
    // SAFETY: the flag was free and is ours until we store false; interrupts are off in ring 0, so this core cannot
    // come here again meanwhile.
    let answer = work(unsafe { &mut *KERNEL.kernel.get() });
    KERNEL.taken.store(false, Ordering::Release);
    answer
}

/// The counters are in this page from now on.
pub fn set_statistics(page: u64) {
    STATISTICS.store(page, Ordering::Relaxed);
}

/// Counts.
pub fn count(counter: Counter) {
    add(counter, 1);
}

/// Counts several at once.
pub fn add(counter: Counter, by: u64) {
    if let Some(word) = word(counter as usize) {
        word.fetch_add(by, Ordering::Relaxed);
    }
}

/// Keeps the largest value in a word of the counters' page.
pub fn most(counter: Counter, value: u64) {
    if let Some(word) = word(counter as usize) {
        word.fetch_max(value, Ordering::Relaxed);
    }
}

/// Sets a word of the counters' page.
pub fn tell(place: usize, value: u64) {
    if let Some(word) = word(place) {
        word.store(value, Ordering::Relaxed);
    }
}

/// A word of the counters' page; none before there is one.
pub fn word(place: usize) -> Option<&'static AtomicU64> {
    let page = STATISTICS.load(Ordering::Relaxed);
    (page != 0).then(|| &paging::words(page, nom_abi::statistics::WORDS)[place])
}

/// The facts about the application that calls.
pub struct Calling<'a> {
    /// The kernel.
    pub kernel: &'a Kernel,
    /// The caller.
    pub caller: &'a Caller,
}

impl Facts for Calling<'_> {
    fn caller(&self) -> Application {
        self.caller.number
    }
    fn trusted(&self) -> bool {
        self.kernel.trusted
    }
    fn publisher(&self) -> bool {
        self.kernel.living(self.caller.number).is_some_and(|running| running.publisher)
    }
    fn cores(&self) -> &Cores {
        &self.kernel.cores
    }
    fn devices(&self) -> &Devices {
        &self.kernel.devices
    }
    fn channels(&self) -> &Channels {
        &self.kernel.channels
    }
    fn context_room(&self) -> bool {
        self.kernel.schedule.has_room()
    }
    fn has_context_on(&self, core: Core) -> bool {
        context_on(self.kernel, self.caller.number, core).is_some()
    }
    fn displaced(&self) -> bool {
        self.kernel.is_displaced(self.caller.context, self.caller.number)
    }
    fn readable(&self, start: u64, len: u64) -> bool {
        self.caller.space.readable(start, len)
    }
    fn writable(&self, start: u64, len: u64) -> bool {
        self.caller.space.writable(start, len)
    }
    fn executable(&self, address: u64) -> bool {
        self.caller.space.executable(address)
    }
    fn unmapped(&self, start: u64, pages: u64) -> bool {
        self.caller.space.unmapped(start, pages)
    }
    fn owned(&self, start: u64, pages: u64) -> bool {
        self.caller.space.owned(start, pages)
    }
    fn free_frames(&self) -> u64 {
        self.kernel.frames.free()
    }
    fn pieces(&self, shape: Shape, pieces: u64) -> bool {
        self.kernel.frames.has(shape, pieces)
    }
    fn only_owned(&self, start: u64, pages: u64) -> bool {
        self.caller.space.only_owned(start, pages)
    }
    fn large(&self, address: u64) -> bool {
        self.caller.space.large(address)
    }
    fn confined(&self) -> bool {
        self.kernel.found.iommu.is_some()
    }
    fn owns_ports(&self, first: u16, count: u16) -> bool {
        let of_old = self.kernel.living(self.caller.number).map_or((0, 0), |running| running.ports);
        within(first, count, of_old) || self.kernel.devices.owns_ports(first, count, self.caller.number)
    }
    fn device_pages(&self, device: Device) -> u64 {
        self.kernel.found.pages(device)
    }
}

/// An application's context on a core.
pub fn context_on(kernel: &Kernel, number: Application, core: Core) -> Option<Context> {
    let mut contexts = kernel.schedule.on(core);
    contexts.find(|&context| kernel.schedule.application(context) == Some(number))
}
