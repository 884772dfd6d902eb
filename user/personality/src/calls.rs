//! Linux' calls, as far as they are known here: `write` to the two outputs, `mmap` of new private memory, `brk`,
//! `getpid`, `uname`, `exit` and `exit_group`. All others answer -ENOSYS; the first few are named in the log.

use alloc::string::String;
use alloc::vec::Vec;
use core::cell::UnsafeCell;
use core::ops::Range;

use nom_abi::call::PAGE_LEN;
use nom_abi::upcall::Frame;
use nom_kernel_core::elf;
use nom_runtime::log;
use nom_runtime::upcall::Verdict;

use crate::Ended;

/// Bytes of output that are kept for the caller.
const OUTPUT_MAX: usize = 4096;
/// The longest line in the log; a longer one is cut in two.
const LINE_MAX: usize = 256;
/// Lines of output that are logged; what is beyond is dropped and counted.
const LINES_MAX: u64 = 1024;
/// Unknown calls that are named in the log.
const NAMED_MAX: u64 = 8;
/// Bytes that one `write` takes; as under Linux, a longer one is answered with how many it took.
const WRITE_MAX: u64 = 64 << 10;

const NO_FILE: u64 = -9_i64 as u64;
const NO_MEMORY: u64 = -12_i64 as u64;
const FAULT: u64 = -14_i64 as u64;
const INVALID: u64 = -22_i64 as u64;
const NO_SUCH_CALL: u64 = -38_i64 as u64;

const WRITE: u64 = 1;
const MMAP: u64 = 9;
const BRK: u64 = 12;
const GETPID: u64 = 39;
const EXIT: u64 = 60;
const UNAME: u64 = 63;
const EXIT_GROUP: u64 = 231;

/// Segments, stack, data.
const RANGES: usize = elf::SEGMENTS_MAX + 2;

/// A program that runs. Nothing here is allocated while it does: handlers must not.
pub struct Program {
    /// Its memory, and whether it may write there: what its calls may name.
    memory: [(Range<u64>, bool); RANGES],
    /// `brk` moves `end` up from its start, `mmap` moves `mapped` down from its end; all of it can be touched.
    data: Range<u64>,
    end: u64,
    mapped: u64,
    line: Vec<u8>,
    output: String,
    lines: u64,
    unknown: u64,
}

impl Program {
    /// A program that has not begun.
    pub fn new(file: &elf::Application<'_>, stack: Range<u64>, data: Range<u64>) -> Program {
        let mut memory = [const { (0..0, false) }; RANGES];
        let segments = file
            .segments()
            .map(|segment| (segment.address..segment.address + segment.memory_len, segment.write));
        let all = segments.chain([(stack, true), (data.clone(), true)]);
        memory.iter_mut().zip(all).for_each(|(place, range)| *place = range);
        let (line, output) = (Vec::with_capacity(LINE_MAX), String::with_capacity(OUTPUT_MAX));
        let (end, mapped) = (data.start, data.end);
        Program { memory, data, end, mapped, line, output, lines: 0, unknown: 0 }
    }

    /// A pointer and a length are a claim: they must lie within one piece of the program's own memory.
    fn owns(&self, start: u64, len: u64, write: bool) -> bool {
        let Some(end) = start.checked_add(len) else { return false };
        self.memory.iter().any(|(range, may)| range.start <= start && end <= range.end && (!write || *may))
    }

    fn answer(&mut self, number: u64, arguments: [u64; 6]) -> u64 {
        let [first, second, third, fourth, ..] = arguments;
        match number {
            WRITE => self.write(first, second, third),
            BRK => self.move_end(first),
            MMAP => self.map(first, second, fourth),
            GETPID => 1,
            UNAME => self.name_system(first),
            _ => {
                self.unknown += 1;
                if self.unknown <= NAMED_MAX {
                    log!("a Linux program's call {number} is not known here");
                }
                NO_SUCH_CALL
            }
        }
    }

    fn write(&mut self, file: u64, start: u64, len: u64) -> u64 {
        if !(1..=2).contains(&file) {
            return NO_FILE;
        }
        if !self.owns(start, len, false) {
            return FAULT;
        }
        let len = len.min(WRITE_MAX);
        for at in start..start + len {
            // SAFETY: it lies in the program's own memory, which stays while it runs; the program itself stands still.
            let byte = unsafe { (at as *const u8).read() };
            if byte != b'\n' {
                self.line.push(byte);
            }
            if byte == b'\n' || self.line.len() == LINE_MAX {
                self.flush();
            }
        }
        len
    }

    /// Logs the line that has gathered and keeps it for the caller. What is no text is left out.
    fn flush(&mut self) {
        self.lines += 1;
        for part in self.line.utf8_chunks().map(|chunk| chunk.valid()) {
            if self.lines <= LINES_MAX {
                log!("{part}");
            }
            if self.output.len() + part.len() < OUTPUT_MAX {
                self.output.push_str(part);
            }
        }
        if self.output.len() < OUTPUT_MAX {
            self.output.push('\n');
        }
        self.line.clear();
    }

    /// Linux answers the end as it is when it cannot move it.
    fn move_end(&mut self, to: u64) -> u64 {
        if (self.data.start..=self.mapped).contains(&to) {
            self.end = to;
        }
        self.end
    }

    fn map(&mut self, place: u64, len: u64, flags: u64) -> u64 {
        const ANONYMOUS_PRIVATE: u64 = 0x22;
        if place != 0 || len == 0 || flags != ANONYMOUS_PRIVATE {
            return INVALID;
        }
        let start = len.checked_next_multiple_of(PAGE_LEN).and_then(|len| self.mapped.checked_sub(len));
        match start {
            Some(start) if start >= self.end.next_multiple_of(PAGE_LEN) => {
                self.mapped = start;
                start
            }
            _ => NO_MEMORY,
        }
    }

    fn name_system(&self, place: u64) -> u64 {
        const FIELD_LEN: u64 = 65;
        let fields = ["Linux", "nom", "6.1.0", "nom", "x86_64", ""];
        if !self.owns(place, FIELD_LEN * fields.len() as u64, true) {
            return FAULT;
        }
        for (at, field) in (place..).step_by(FIELD_LEN as usize).zip(fields) {
            // SAFETY: it lies in the program's own memory, which it may write; the program stands still meanwhile.
            unsafe {
                (at as *mut u8).write_bytes(0, FIELD_LEN as usize);
                core::ptr::copy_nonoverlapping(field.as_ptr(), at as *mut u8, field.len());
            }
        }
        0
    }
}

struct Running(UnsafeCell<Option<Program>>);

// SAFETY: `run` lets one program in at a time; before and after it `run` alone comes here, and in between only the
// handler, while the program stands still.
unsafe impl Sync for Running {}

static RUNNING: Running = Running(UnsafeCell::new(None));

/// The program begins.
pub fn begin(program: Program) {
    // SAFETY: no program runs, so no handler does.
    unsafe { *RUNNING.0.get() = Some(program) }
}

/// The program has ended.
pub fn end(code: u8) -> Ended {
    // SAFETY: as for `begin`.
    let program = unsafe { (*RUNNING.0.get()).take() };
    let Some(mut program) = program else { return Ended { code, output: String::new(), unknown: 0 } };
    if !program.line.is_empty() {
        program.flush();
    }
    if let Some(dropped) = program.lines.checked_sub(LINES_MAX).filter(|dropped| *dropped > 0) {
        log!("{dropped} lines of a Linux program were not logged");
    }
    Ended { code, output: program.output, unknown: program.unknown }
}

unsafe extern "C" {
    static nom_foreign_stack: u64;
    fn nom_foreign_leave();
}

/// Answers a call of the program; sends it back to who ran it when it exits.
pub fn answer(frame: &mut Frame) -> Verdict {
    // SAFETY: the program stands still, and nothing in here makes a foreign call: this does not nest.
    let Some(program) = (unsafe { &mut *RUNNING.0.get() }) else { return Verdict::End };
    if frame.rax == EXIT || frame.rax == EXIT_GROUP {
        frame.rax = frame.rdi & 0xff;
        frame.rip = nom_foreign_leave as *const () as u64;
        // SAFETY: `nom_foreign_enter` wrote it before the program began.
        frame.rsp = unsafe { nom_foreign_stack };
        return Verdict::Resume;
    }
    let arguments = [frame.rdi, frame.rsi, frame.rdx, frame.r10, frame.r8, frame.r9];
    frame.rax = program.answer(frame.rax, arguments);
    Verdict::Resume
}
