//! Ways to end that a host wants to see: `# ending = NAME` in the configuration (a comment for everybody else).

use nom_runtime::demand::DemandZero;
use nom_runtime::thread::spawn;
use nom_runtime::upcall::{Verdict, on_page_fault};
use nom_runtime::working_set::WorkingSet;
use nom_runtime::{configuration, log};
use nom_trial as trial;

/// The ending that the configuration asks for.
pub fn wanted() -> Option<&'static str> {
    configuration().lines().find_map(|line| line.strip_prefix("# ending = ")).map(str::trim)
}

/// Ends like that.
pub fn run(ending: &str) -> u8 {
    match ending {
        "done" => 0,
        "code" => 7,
        // Without a handler: the runtime says where it happened, and the code is 102.
        "null" => finished(trial::read(8).is_ok()),
        "undefined" => finished(trial::undefined().is_ok()),
        "overflow" => finished(trial::overflow_stack().is_ok()),
        // The handler of page faults faults for ever: nesting has a bound, and the kernel ends it with 102.
        "nesting" => {
            on_page_fault(|_| {
                finished(trial::read(16).is_ok());
                Verdict::End
            });
            finished(trial::read(8).is_ok())
        }
        // The upcall stack is taken away, then a fault comes: the kernel alone can end it.
        "stackless" => {
            let pages = (0..).map(|page| 0x3000_0000_0000 + page * 4096);
            let gone = pages.take_while(|&page| trial::unmap(page, 1).is_ok()).count();
            log!("{gone} pages of the upcall stack are gone");
            finished(trial::read(8).is_ok())
        }
        // More pages are touched than there are frames.
        "demand" => {
            let mut range = DemandZero::reserve(1 << 30).expect("nobody else has one");
            (0..1 << 30).step_by(4096).for_each(|at| range.bytes_mut()[at] = 1);
            finished(true)
        }
        // What has to go cannot be packed and finds no room.
        "store" => {
            let mut set = WorkingSet::reserve(100, 8, 4096).expect("nobody else has one");
            let mut number = 1_u64;
            for at in (0..set.len()).step_by(8) {
                number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                set.write(at, &number.to_le_bytes());
            }
            finished(true)
        }
        "panic" => panic!("as the configuration asks"),
        "allocation" => {
            let mut hoard = alloc::vec::Vec::new();
            loop {
                hoard.push(alloc::vec![1_u8; 100_000]);
            }
        }
        // In a thread: its guard is hit, and the line names it.
        "thread_overflow" => thread(|| finished(trial::overflow_stack().is_ok())),
        "thread_panic" => thread(|| panic!("as the configuration asks")),
        other => {
            log!("there is no ending {other}");
            1
        }
    }
}

/// Ends in the second of three threads.
fn thread(ending: fn() -> u8) -> u8 {
    let works: [fn() -> u8; 3] = [|| 0, ending, || 0];
    let threads: alloc::vec::Vec<_> = works.into_iter().filter_map(|work| spawn(work).ok()).collect();
    threads.into_iter().map(|thread| thread.join()).sum::<u8>() + 1
}

fn finished(survived: bool) -> u8 {
    log!("it should have ended; survived: {survived}");
    1
}
