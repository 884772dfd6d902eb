//! Segments, the interrupt table, and the entry of system calls.

use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;
use core::mem::size_of;

use nom_kernel_core::cores::{CORES_MAX, Core};

use crate::cpu::{read_msr, write_msr};

global_asm!(include_str!("trap.s"));

/// The kernel's code segment.
const KERNEL_CODE: u16 = 8;
/// Vectors that must have a stack of their own: non-maskable interrupt, double fault, machine check. The kernel ends
/// at any of them, so they can share it.
const OWN_STACK: [usize; 3] = [2, 8, 18];
/// The vector of `int3`, which ring 3 may raise.
const BREAKPOINT: usize = 3;

/// What `gs` leads to in ring 0: one a core. The entry code knows the first two places, `cpu::here` the third.
#[repr(C)]
struct PerCore {
    application_stack: u64,
    kernel_stack: u64,
    number: u64,
}

#[repr(C, packed)]
struct TaskState {
    reserved: u32,
    stacks: [u64; 3],
    reserved_too: u64,
    own_stacks: [u64; 7],
    reserved_last: [u16; 5],
    ports: u16,
}

struct Tables {
    segments: [u64; 7],
    task: TaskState,
    core: PerCore,
}

struct Shared<T>(UnsafeCell<T>);

// SAFETY: each core writes its own tables once in `initialise`, and the first one the interrupt table before there is
// a second; afterwards only the processor reads them, and the entry code writes its own core's place.
unsafe impl<T> Sync for Shared<T> {}

static TABLES: [Shared<Tables>; CORES_MAX] = [const {
    Shared(UnsafeCell::new(Tables {
        segments: [0; 7],
        task: TaskState {
            reserved: 0,
            stacks: [0; 3],
            reserved_too: 0,
            own_stacks: [0; 7],
            reserved_last: [0; 5],
            ports: size_of::<TaskState>() as u16,
        },
        core: PerCore { application_stack: 0, kernel_stack: 0, number: 0 },
    }))
}; CORES_MAX];
static INTERRUPTS: Shared<[[u64; 2]; 256]> = Shared(UnsafeCell::new([[0; 2]; 256]));

unsafe extern "C" {
    static trap_entries: [u8; 16 * 256];
    static kernel_stack_end: u8;
    static fault_stack_end: u8;
    fn system_call_entry();
}

#[repr(C, packed)]
struct TablePointer {
    limit: u16,
    address: u64,
}

/// Sets everything up for the first core. Called once.
pub fn initialise() {
    let entries = &raw const trap_entries as u64;
    // SAFETY: called once at boot, on the only core, with interrupts off.
    let table = unsafe { &mut *INTERRUPTS.0.get() };
    for (vector, gate) in table.iter_mut().enumerate() {
        let address = entries + 16 * vector as u64;
        let own_stack = u64::from(OWN_STACK.contains(&vector));
        let ring = if vector == BREAKPOINT { 3 << 45 } else { 0 };
        gate[0] = address & 0xffff
            | u64::from(KERNEL_CODE) << 16
            | own_stack << 32
            | 0x8e << 40
            | ring
            | (address >> 16 & 0xffff) << 48;
        gate[1] = address >> 32;
    }
    initialise_core(Core(0), &raw const kernel_stack_end as u64, &raw const fault_stack_end as u64);
}

/// Sets everything up for the core that this runs on: its segments, its stacks, its entry of calls.
pub fn initialise_core(core: Core, stack: u64, fault_stack: u64) {
    // SAFETY: called once by each core for its own tables, with interrupts off; they stay where they are.
    unsafe {
        let tables = &mut *TABLES[usize::from(core.0)].0.get();
        tables.task.stacks[0] = stack;
        tables.task.own_stacks[0] = fault_stack;
        tables.core.kernel_stack = stack;
        tables.core.number = u64::from(core.0);
        let task = &raw const tables.task as u64;
        let limit = size_of::<TaskState>() as u64 - 1;
        tables.segments = [
            0,
            0x00af_9b00_0000_ffff,
            0x00cf_9300_0000_ffff,
            // Ring 3: data at 0x18, code at 0x20, in the order that `sysret` wants.
            0x00cf_f300_0000_ffff,
            0x00af_fb00_0000_ffff,
            0x0000_8900_0000_0000 | limit | (task & 0xff_ffff) << 16 | (task >> 24 & 0xff) << 56,
            task >> 32,
        ];
        let segments = TablePointer {
            limit: size_of::<[u64; 7]>() as u16 - 1,
            address: tables.segments.as_ptr() as u64,
        };
        let interrupts = TablePointer {
            limit: size_of::<[[u64; 2]; 256]>() as u16 - 1,
            address: (*INTERRUPTS.0.get()).as_ptr() as u64,
        };
        asm!(
            "lgdt [{segments}]",
            "lidt [{interrupts}]",
            "push {code}",
            "lea {scratch}, [rip + 2f]",
            "push {scratch}",
            "retfq",
            "2:",
            "mov ss, {data:e}",
            "mov ds, {zero:e}",
            "mov es, {zero:e}",
            "ltr {task:x}",
            segments = in(reg) &segments,
            interrupts = in(reg) &interrupts,
            code = in(reg) u64::from(KERNEL_CODE),
            scratch = out(reg) _,
            data = in(reg) 0x10_u32,
            zero = in(reg) 0_u32,
            task = in(reg) 0x28_u16,
        );
        const GS_BASE: u32 = 0xc000_0101;
        const STAR: u32 = 0xc000_0081;
        const LONG_STAR: u32 = 0xc000_0082;
        const FLAG_MASK: u32 = 0xc000_0084;
        write_msr(GS_BASE, &raw const tables.core as u64);
        write_msr(KERNEL_GS_BASE, 0);
        write_msr(STAR, 0x10 << 48 | u64::from(KERNEL_CODE) << 32);
        write_msr(LONG_STAR, system_call_entry as *const () as u64);
        // Single step, interrupts, direction, nested task and alignment check are off in ring 0.
        write_msr(FLAG_MASK, 0x4_4700);
    }
}

/// Where the stack of the core that this runs on begins.
pub fn stack_end(here: Core) -> u64 {
    // SAFETY: the core wrote its own tables before anything could ask.
    unsafe { (*TABLES[usize::from(here.0)].0.get()).core.kernel_stack }
}

/// The bases of `fs` and `gs` that the application has.
pub fn bases() -> [u64; 2] {
    [FS_BASE, KERNEL_GS_BASE].map(read_msr)
}

/// Sets the bases of `fs` and `gs` that the application sees when it runs next.
pub fn set_bases(bases: [u64; 2]) {
    for (register, base) in [FS_BASE, KERNEL_GS_BASE].into_iter().zip(bases) {
        // SAFETY: the values are an application's own, checked by the caller or read from the registers; ring 0 never
        // uses these bases.
        unsafe { write_msr(register, base) }
    }
}

const FS_BASE: u32 = 0xc000_0100;
const KERNEL_GS_BASE: u32 = 0xc000_0102;
