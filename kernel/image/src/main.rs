//! Ring 0: boots, owns page tables and vectors.
//!
//! What can be decided without touching the machine is in `kernel/core`; here is the rest. Interrupts are off in
//! ring 0 except while a core sleeps, so the kernel never interrupts itself. It boots by PVH, finds its bundle right
//! behind itself, and enters the one application that the configuration names.

#![no_std]
#![no_main]

// Only lints are ever run where panics unwind, over all crates at once; there the panic handler is the system's.
#[cfg(panic = "unwind")]
extern crate std;

mod applications;
mod calls;
mod check;
mod clock;
mod context;
mod cpu;
mod descriptor;
mod devices;
mod ecam;
mod end;
mod interrupts;
mod iommu;
mod lines;
mod load;
mod owning;
mod paging;
mod plug;
mod processors;
mod run;
mod serial;
mod state;
mod statistics;
mod trap;

use core::arch::global_asm;
use core::fmt::Display;

use nom_abi::call::PAGE_LEN;
use nom_abi::statistics::Counter;
use nom_kernel_core::boot::{self, REGION_LEN, START_INFO_LEN, StartInfo};
use nom_kernel_core::bundle::Bundle;
use nom_kernel_core::channels::Channels;
use nom_kernel_core::configuration::Configuration;
use nom_kernel_core::cores::{CORES_MAX, Cores};
use nom_kernel_core::devices::Devices;
use nom_kernel_core::frames::{Frame, Frames, Owner};
use nom_kernel_core::lives::{Lives, Restart};
use nom_kernel_core::schedule::{CONTEXTS_MAX, Schedule};
use nom_kernel_core::{APPLICATIONS_MAX, Application, bundle, command_line, configuration};

use context::VECTORS_LEN;
use paging::Space;
use serial::say;
use state::{Kernel, count, tell};

global_asm!(include_str!("boot.s"));
global_asm!(include_str!("../../../user/runtime/src/memory.s"));

/// What the start code maps: everything that is read before the kernel has its own tables must lie below.
const BOOT_MAPPED_END: u64 = 1 << 30;
/// Memory below is left to whoever starts further processors.
const LOW_MEMORY_END: u64 = 1 << 20;
/// Registers of the I/O interrupt controller when no table says otherwise.
const INPUT_OUTPUT_INTERRUPTS: u64 = 0xfec0_0000;
const COMMAND_LINE_LEN_MAX: usize = 4096;
const LOCAL_INTERRUPTS_MSR: u32 = 0x1b;

unsafe extern "C" {
    static code_start: u8;
    static constants_start: u8;
    static data_start: u8;
    static kernel_stack_guard: u8;
    static fault_stack_guard: u8;
    static kernel_end: u8;
}

/// The image or the machine is not good enough: one line, and out.
fn refuse(why: impl Display) -> ! {
    say!("{why}");
    end::machine(nom_abi::exit::REFUSED)
}

#[cfg(panic = "abort")]
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    say!("failed: {info}");
    end::machine(nom_abi::exit::KERNEL_FAILED)
}

/// The first instruction in Rust; `info` is where the loader left its information.
#[unsafe(no_mangle)]
extern "C" fn kernel_main(info: u64) -> ! {
    serial::initialise();
    descriptor::initialise();
    let info = start_info(info);
    let map_len = info.map_entries as usize * REGION_LEN;
    if info.map.saturating_add(map_len as u64) > BOOT_MAPPED_END {
        refuse("the loader's memory map lies too high");
    }
    // SAFETY: below 1 GiB everything is mapped, and nobody writes the loader's tables.
    let map = unsafe { paging::bytes(info.map, map_len) };
    let command_line = command_line(info.command_line);

    let image_end = &raw const kernel_end as u64 - paging::IMAGE;
    let Some(home) = regions(map).find(|region| (region.start..region.end).contains(&image_end)) else {
        refuse("the memory map does not contain the kernel");
    };
    let room = home.end.min(BOOT_MAPPED_END) - image_end;
    // SAFETY: this is memory behind the kernel, where the loader may have put a bundle and nobody writes.
    let bundle = bundle::read(unsafe { paging::bytes(image_end, room as usize) });
    let bundle = bundle.unwrap_or_else(|why| refuse(why));
    let configuration = configuration::read(bundle.configuration()).unwrap_or_else(|why| refuse(why));

    let mut frames = frame_table(map, image_end, image_end + bundle.len() as u64, home.end);
    let space = kernel_space(map, &mut frames);
    space.enter();
    let features = cpu::enable_features();
    if features.vectors_len > VECTORS_LEN {
        refuse(format_args!(
            "the processor's vector registers take {} bytes, and there is room for {VECTORS_LEN}; start the machine with \
             a processor that has no wider ones than AVX-512",
            features.vectors_len
        ));
    }

    let tables = tables(info.root_pointer, map);
    start_interrupts(&space, &mut frames, tables.interrupts.unwrap_or(INPUT_OUTPUT_INTERRUPTS));
    let [board, clock_page, statistics] = [(); 3].map(|()| kernel_page(&mut frames));
    state::set_statistics(statistics);
    if !clock::initialise(clock_page) {
        refuse("this machine has no timer to calibrate the clock with");
    }
    let _ = nom_abi::board::initialise(paging::words(board, nom_abi::board::WORDS));
    let mut devices = Devices::new();
    let ecam = tables.configuration.and_then(|table| ecam::Ecam::show(table, &space, &mut frames));
    let iommu = match configuration.trusted {
        true => None,
        false => iommu::start(tables.iommu, &space, &mut frames),
    };
    let lines = lines::table(kernel_page(&mut frames));
    let found = devices::find(command_line, ecam, iommu, lines, &space, &mut frames, &mut devices);
    let found_devices = devices.all().count();

    processors::initialise(&space);
    let identities = tables.identities();
    let cores = if identities.len() > 1 { processors::start(identities, &space, &mut frames) } else { 1 };
    if let Some(wanted) = command_line::check(command_line) {
        check::want(wanted, &space, cores);
    }
    let first = application(&bundle, configuration.applications().next());
    let decides = configuration.end.map_or(first, |name| application(&bundle, Some(name)));
    say!(
        "{} KiB free, {} devices, {cores} cores, {}",
        frames.free() * PAGE_LEN / 1024,
        found_devices,
        match (configuration.trusted, found.iommu.is_some()) {
            (true, _) => "trusted",
            (_, true) => "devices confined by the IOMMU",
            _ => "not trusted with devices",
        },
    );
    tell(Counter::Frames as usize, frames.len() - frames.count(Owner::RESERVED));
    tell(Counter::KernelFrames as usize, frames.count(Owner::KERNEL));
    tell(Counter::StartedNs as usize, clock::now_ns());
    state::set(Kernel {
        frames,
        cores: Cores::new(cores),
        devices,
        found,
        windows: [0; nom_abi::device::DEVICES_MAX as usize],
        space,
        trusted: configuration.trusted,
        shared: [board, clock_page, statistics],
        image: Some((bundle, configuration)),
        lives: Lives::new(applications::parts(&bundle).count()),
        running: [const { None }; APPLICATIONS_MAX as usize],
        schedule: Schedule::new(),
        pages: [None; CONTEXTS_MAX],
        last: [None; CORES_MAX],
        may_relieve: false,
        channels: Channels::new(),
        xsave: features.vector_states != 0,
        code: 0,
        first,
        decides,
        ends_all: configuration.end.is_some(),
    });
    state::with(|kernel| kernel.devices.all().for_each(|device| kernel.list(device)));
    state::with(|kernel| start_applications(kernel, &bundle, &configuration, image_end));
    processors::begin();
    check::perform();
    run::core()
}

/// The application of this name, or the first of the bundle.
fn application(bundle: &Bundle<'_>, name: Option<&str>) -> Application {
    let Some(name) = name else { return Application(0) };
    match applications::parts(bundle).position(|part| part.name == name) {
        Some(place) if place < usize::from(APPLICATIONS_MAX) => Application(place as u8),
        _ => refuse(format_args!("the bundle has no application {name}")),
    }
}

fn start_applications(
    kernel: &mut Kernel,
    bundle: &Bundle<'static>,
    configuration: &Configuration<'static>,
    image_end: u64,
) {
    let mut start = |number: Application, name: &str| {
        if let Err(error) = kernel.begin(number, None) {
            refuse(format_args!("application {name} cannot start: {error:?}"));
        }
    };
    if configuration.applications().next().is_none() {
        start(Application(0), "of the bundle");
    }
    for name in configuration.applications() {
        let place = applications::parts(bundle).position(|part| part.name == name);
        match place.and_then(|place| u8::try_from(place).ok()) {
            Some(place) => start(Application(place), name),
            None => refuse(format_args!("the bundle has no application {name}")),
        }
    }
    let mut parts = applications::parts(bundle);
    let only = parts.next().filter(|_| parts.next().is_none());
    if only.is_some_and(|part| configuration.restart(part.name) == Restart::Never) {
        // Everything that is needed of the bundle was copied, and nothing starts from it again: its frames can be
        // used.
        kernel.image = None;
        kernel.frames.offer(Frame::of(image_end), (bundle.len() as u64).div_ceil(PAGE_LEN));
        tell(Counter::Frames as usize, kernel.frames.len() - kernel.frames.count(Owner::RESERVED));
        tell(Counter::FreeFrames as usize, kernel.frames.free());
    }
}

fn start_info(at: u64) -> StartInfo {
    if at == 0 || at > BOOT_MAPPED_END - START_INFO_LEN as u64 {
        refuse("there is no start information; start this kernel by PVH (QEMU -kernel)");
    }
    // SAFETY: below 1 GiB everything is mapped, and the loader wrote this before it jumped.
    let bytes = unsafe { paging::bytes(at, START_INFO_LEN) };
    let info = bytes.try_into().map_err(|_| boot::Refused::Magic).and_then(boot::start_info);
    info.unwrap_or_else(|_| {
        refuse("the start information has no memory map; start this kernel by PVH version 1")
    })
}

fn command_line(at: u64) -> &'static str {
    if at == 0 || at > BOOT_MAPPED_END - COMMAND_LINE_LEN_MAX as u64 {
        return "";
    }
    // SAFETY: as for the start information.
    let bytes = unsafe { paging::bytes(at, COMMAND_LINE_LEN_MAX) };
    let len = bytes.iter().position(|&byte| byte == 0).unwrap_or(0);
    core::str::from_utf8(&bytes[..len]).unwrap_or("")
}

/// Memory that is used: above the first MiB, as far as it can be mapped.
fn regions(map: &'static [u8]) -> impl Iterator<Item = boot::Region> {
    boot::memory(map, paging::PHYSICAL_END)
        .map(|region| boot::Region { start: region.start.max(LOW_MEMORY_END), ..region })
        .filter(|region| region.start < region.end)
}

/// The table of frames lies behind the bundle.
fn frame_table(map: &'static [u8], image_end: u64, bundle_end: u64, home_end: u64) -> Frames<'static> {
    let start = bundle_end.next_multiple_of(PAGE_LEN);
    let count = regions(map).map(|region| region.end / PAGE_LEN).max().unwrap_or(0);
    let end = (start + count).next_multiple_of(PAGE_LEN);
    if end > home_end.min(BOOT_MAPPED_END) {
        refuse("not enough memory for the table of frames");
    }
    // SAFETY: free memory behind the bundle, mapped below 1 GiB; from here on the table alone refers to it.
    let table =
        unsafe { core::slice::from_raw_parts_mut((paging::DIRECT + start) as *mut u8, count as usize) };
    let mut frames = Frames::new(table);
    for region in regions(map) {
        frames.offer(Frame::of(region.start), (region.end - region.start) / PAGE_LEN);
    }
    let kernel = Frame::of(LOW_MEMORY_END);
    frames.assign(kernel, image_end / PAGE_LEN - kernel.0, Owner::KERNEL);
    frames.reserve(Frame::of(image_end), (start - image_end) / PAGE_LEN);
    frames.reserve(Frame::of(start), (end - start) / PAGE_LEN);
    frames
}

fn kernel_space(map: &'static [u8], frames: &mut Frames<'static>) -> Space {
    let [code, constants, data, guard, fault_guard, end] = [
        &raw const code_start,
        &raw const constants_start,
        &raw const data_start,
        &raw const kernel_stack_guard,
        &raw const fault_stack_guard,
        &raw const kernel_end,
    ]
    .map(|symbol| symbol as u64);
    let sections = [
        (code, constants, false, true),
        (constants, data, false, false),
        (data, guard, true, false),
        (guard + PAGE_LEN, fault_guard, true, false),
        (fault_guard + PAGE_LEN, end, true, false),
    ];
    // The first MiB is mapped too: tables of the firmware lie there.
    let memory = boot::memory(map, paging::PHYSICAL_END).map(|region| (region.start, region.end));
    match Space::kernel(frames, memory.chain([(0, LOW_MEMORY_END)]), &sections) {
        Some(space) => space,
        None => refuse("not enough memory for the kernel's page tables"),
    }
}

/// Firmware's tables: ACPI's, or else the older ones. They lie in memory or right above it, in regions that are not to
/// be used.
fn tables(root: u64, map: &'static [u8]) -> nom_acpi::Found {
    let memory = |at: u64, len: usize| {
        let end = at.checked_add(len as u64)?;
        // What the large pages of the direct map cover.
        let covered = boot::memory(map, paging::PHYSICAL_END)
            .map(|region| (region.start & !0x1f_ffff, region.end.next_multiple_of(0x20_0000)))
            .chain([(0, LOW_MEMORY_END)])
            .any(|(start, stop)| at >= start && end <= stop);
        // SAFETY: it is mapped, and firmware's tables do not change.
        covered.then(|| unsafe { paging::bytes(at, len) })
    };
    let found = if root == 0 { nom_acpi::Found::default() } else { nom_acpi::read(root, memory) };
    if found.processors > 0 {
        return found;
    }
    let mut older = nom_acpi::multiprocessor::read(memory).unwrap_or_default();
    older.configuration = found.configuration;
    older.interrupts = found.interrupts.or(older.interrupts);
    older
}

fn start_interrupts(space: &Space, frames: &mut Frames<'static>, input_output: u64) {
    const OTHER_MODE: u64 = 1 << 10;
    let base = cpu::read_msr(LOCAL_INTERRUPTS_MSR);
    if base & OTHER_MODE != 0 {
        refuse(
            "the interrupt controller is in x2APIC mode, which this kernel does not speak; start the machine without",
        );
    }
    let local = base & 0x000f_ffff_ffff_f000;
    let shown = space.show_registers(local, PAGE_LEN, frames).zip(space.show_registers(
        input_output,
        PAGE_LEN,
        frames,
    ));
    match shown {
        Some((local, input_output)) => interrupts::initialise(local, input_output),
        None => refuse("the interrupt controllers cannot be mapped"),
    }
}

fn kernel_page(frames: &mut Frames<'static>) -> u64 {
    match frames.allocate(Owner::KERNEL) {
        Some(frame) => {
            paging::zero(frame);
            frame.address()
        }
        None => refuse("not enough memory"),
    }
}
