//! Whether hardware virtualisation really works here.
//!
//! A `/dev/kvm` that exists proves nothing: some accept a machine, run its first instructions, and then hang. So a
//! guest is booted with a deadline, and the answer is remembered for this kernel. Nothing asks unless a person does.

use crate::machine::{Machine, Nameless};
use crate::qemu::{Accelerator, Kind, Plan};
use crate::trouble::{Outcome, Trouble};
use std::path::Path;
use std::time::Duration;

/// The device of hardware virtualisation.
const DEVICE: &str = "/dev/kvm";
/// How long the probe may take to speak; with working hardware it takes a small part of a second.
const DEADLINE: Duration = Duration::from_secs(3);

/// Refuses in one clear line unless a guest was seen to run. `image` is what is booted: any image of ours, without
/// devices. `cache` is the folder in which the answer is remembered.
pub fn require(image: &Nameless, cache: &Path) -> Outcome<()> {
    if !Path::new(DEVICE).exists() {
        return Err(refusal("there is no /dev/kvm on this machine"));
    }
    let file = cache.join("kvm");
    let system = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let works = match recall(&file, system.trim()) {
        Some(known) => known,
        None => {
            let works = boots(image, Accelerator::Kvm, DEADLINE)?;
            let _ = std::fs::create_dir_all(cache);
            // Not remembering costs a few seconds the next time, nothing else.
            let _ = std::fs::write(
                &file,
                format!("{} {}\n", if works { "works" } else { "hangs" }, system.trim()),
            );
            works
        }
    };
    match works {
        true => Ok(()),
        false => Err(refusal("/dev/kvm is there but a probe guest did not come up within its deadline")),
    }
}

fn refusal(what: &str) -> Trouble {
    Trouble::new(format!("{what}; leave out --kvm and the guest runs emulated"))
}

/// What was found out before on the same kernel.
fn recall(file: &Path, system: &str) -> Option<bool> {
    let text = std::fs::read_to_string(file).ok()?;
    match text.trim().split_once(' ')? {
        ("works", known) if known == system => Some(true),
        ("hangs", known) if known == system => Some(false),
        _ => None,
    }
}

/// Boots an image without devices and sees whether it says a whole line in time.
fn boots(image: &Nameless, accelerator: Accelerator, deadline: Duration) -> Outcome<bool> {
    let plan = Plan { accelerator, ..Plan::new(Kind::Q35) };
    let mut machine = Machine::start(&plan, image, None)?;
    let spoke = machine.serial.wait_for(deadline, |line| !line.trim().is_empty()).is_some();
    machine.kill();
    Ok(spoke)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;
    use crate::{packages, qemu};

    #[test]
    fn an_answer_counts_for_the_kernel_it_was_found_on() {
        let scratch = Scratch::new().unwrap();
        let file = scratch.file("kvm");
        assert_eq!(recall(&file, "6.1"), None);
        std::fs::write(&file, "hangs 6.1\n").unwrap();
        assert_eq!(recall(&file, "6.1"), Some(false));
        assert_eq!(recall(&file, "6.2"), None);
        std::fs::write(&file, "works 6.1\n").unwrap();
        assert_eq!(recall(&file, "6.1"), Some(true));
        std::fs::write(&file, "rubbish").unwrap();
        assert_eq!(recall(&file, "6.1"), None);
    }

    /// The way a broken device shows: a machine that is started and never says a word. Here it is a kernel of one
    /// endless loop, emulated.
    #[test]
    fn a_machine_that_is_silent_does_not_work() {
        if packages::find(qemu::PROGRAM).is_none() {
            eprintln!("SKIPPED: {} is absent", qemu::PROGRAM);
            return;
        }
        let image = Nameless::new(&silent_kernel()).unwrap();
        assert_eq!(boots(&image, Accelerator::Tcg, Duration::from_millis(700)), Ok(false));
    }

    /// An ELF file with a PVH note whose entry jumps to itself.
    fn silent_kernel() -> Vec<u8> {
        const AT: u32 = 0x10_0000;
        let mut file = vec![0; 0x1000 + 16];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[6] = 1;
        file[16..18].copy_from_slice(&2_u16.to_le_bytes());
        file[18..20].copy_from_slice(&62_u16.to_le_bytes());
        file[20] = 1;
        file[24..28].copy_from_slice(&AT.to_le_bytes());
        file[32] = 64;
        file[52] = 64;
        file[54] = 56;
        file[56] = 2;
        let mut header = |place: usize, kind: u32, offset: u64, len: u64, align: u64| {
            let header = &mut file[64 + place * 56..][..56];
            header[..4].copy_from_slice(&kind.to_le_bytes());
            header[4] = 5;
            for (at, value) in
                [(8, offset), (16, AT.into()), (24, AT.into()), (32, len), (40, len), (48, align)]
            {
                header[at..at + 8].copy_from_slice(&value.to_le_bytes());
            }
        };
        header(0, 1, 0x1000, 16, 0x1000);
        header(1, 4, 0x200, 20, 4);
        // Name "Xen\0", four bytes of content, type 18: the 32-bit entry point.
        for (at, value) in [(0, 4), (4, 4), (8, 18), (12, u32::from_le_bytes(*b"Xen\0")), (16, AT)] {
            file[0x200 + at..][..4].copy_from_slice(&value.to_le_bytes());
        }
        file[0x1000..0x1002].copy_from_slice(&[0xeb, 0xfe]);
        file
    }
}
