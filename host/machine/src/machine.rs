//! A guest that runs: started, watched, ended, and never left behind.
//!
//! The emulator dies with the thread that started it (the kernel's parent-death signal), has a process group of its
//! own (a Ctrl-C in the terminal reaches us, and we decide), and has no named file or socket: image and management
//! channel are descriptors that it inherits.

use crate::packages;
use crate::qemu::{PACKAGE, PROGRAM, Plan};
use crate::serial::Serial;
use crate::trouble::{Context, Outcome, Trouble};
use rustix::fs::{MemfdFlags, memfd_create};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often a wait looks whether the process has ended.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// How long a killed process is waited for.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// Held from the first descriptor that a child is to inherit until the child has them all.
static STARTING: Mutex<()> = Mutex::new(());

/// A file in memory without a name, for a child to inherit.
#[derive(Debug)]
pub struct Nameless(File);

impl Nameless {
    /// Holds these bytes.
    pub fn new(bytes: &[u8]) -> Outcome<Self> {
        let fd = memfd_create("nom-image", MemfdFlags::CLOEXEC)
            .context(|| "cannot make a file in memory".into())?;
        let mut file = File::from(fd);
        file.write_all(bytes).context(|| "cannot fill a file in memory".into())?;
        Ok(Self(file))
    }
}

/// A copy of a descriptor that a child keeps over `exec`; dropped here once the child has it.
fn inheritable(fd: impl AsFd) -> Outcome<OwnedFd> {
    rustix::io::dup(fd).context(|| "cannot copy a descriptor".into())
}

/// What a child does before it becomes the program: who was orphaned before the kernel knew that it is to die with its
/// parent would stay for ever.
const UNLESS_ORPHANED: &str = "[ \"$PPID\" = \"$0\" ] && exec \"$@\"";

/// Makes a command that dies with the thread that starts it.
pub fn bound_to_us(program: &std::path::Path) -> Command {
    // Debian's util-linux is essential, so setpriv is there; without it a KILLed nom could leave a child.
    match packages::find("setpriv") {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL", "--", "/bin/sh", "-c", UNLESS_ORPHANED]);
            command.arg(std::process::id().to_string()).arg(program);
            command
        }
        None => Command::new(program),
    }
}

/// The same for one that does not hear the terminal's Ctrl-C.
pub fn dying_with_us(program: &std::path::Path) -> Command {
    let mut command = bound_to_us(program);
    command.process_group(0).stdin(Stdio::null());
    command
}

/// How a machine ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The guest ended it with this code.
    Code(u8),
    /// The emulator ended by itself: shut down or refused to start.
    Emulator(i32),
    /// It was killed.
    Killed,
}

impl End {
    fn of(status: std::process::ExitStatus) -> Self {
        match status.code() {
            // `isa-debug-exit` makes odd statuses only. QEMU's own refusal is 1, which a guest's code 0 is too:
            // only the text on its error stream tells them apart, see `Machine::wait`.
            Some(code) if code & 1 == 1 => End::Code((code >> 1) as u8),
            Some(code) => End::Emulator(code),
            None => End::Killed,
        }
    }
}

/// A machine that was started.
#[derive(Debug)]
pub struct Machine {
    child: Child,
    /// What the guest prints on its serial line.
    pub serial: Serial,
    /// What the emulator itself complains about.
    pub complaints: Serial,
    /// When the process was started.
    pub started: Instant,
    management: Option<UnixStream>,
    ended: Option<End>,
}

impl Machine {
    /// Starts a machine. `initial` is the initial file system of a foreign kernel.
    pub fn start(plan: &Plan, image: &Nameless, initial: Option<&Nameless>) -> Outcome<Self> {
        let program = packages::find(PROGRAM).ok_or_else(|| {
            Trouble::new(format!("{PROGRAM} is missing: install it (Debian: apt-get install {PACKAGE})"))
        })?;
        // A machine that another thread starts meanwhile would inherit these too, and hold this one's channel open.
        let starting = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        let (ours, theirs) = match plan.management {
            true => {
                let (ours, theirs) =
                    UnixStream::pair().context(|| "cannot make the management channel".into())?;
                (Some(ours), Some(inheritable(&theirs)?))
            }
            false => (None, None),
        };
        let kernel = inheritable(&image.0)?;
        let initial = initial.map(|file| inheritable(&file.0)).transpose()?;
        let number = |fd: &OwnedFd| fd.as_raw_fd();
        let arguments =
            plan.arguments(number(&kernel), initial.as_ref().map(number), theirs.as_ref().map(number));
        let mut command = dying_with_us(&program);
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = Instant::now();
        let mut child = command.spawn().context(|| format!("cannot start {}", program.display()))?;
        drop((kernel, initial, theirs));
        drop(starting);
        let serial = Serial::read(child.stdout.take().expect("stdout is a pipe"));
        let complaints = Serial::read(child.stderr.take().expect("stderr is a pipe"));
        Ok(Self { child, serial, complaints, started, management: ours, ended: None })
    }

    /// Our end of the management channel; once.
    pub fn take_management(&mut self) -> Option<UnixStream> {
        self.management.take()
    }

    /// Process id of the emulator.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether the machine has ended, and how.
    pub fn ended(&mut self) -> Option<End> {
        if self.ended.is_none()
            && let Ok(Some(status)) = self.child.try_wait()
        {
            self.serial.wait_end(Duration::from_secs(1));
            self.complaints.wait_end(Duration::from_secs(1));
            self.ended = Some(match (End::of(status), self.complaints.last_words()) {
                (End::Code(0), Some(_)) if self.serial.first_byte().is_none() => End::Emulator(1),
                (end, _) => end,
            });
        }
        self.ended
    }

    /// Waits for the end; `None` when the time is over before.
    pub fn wait(&mut self, timeout: Duration) -> Option<End> {
        let deadline = Instant::now() + timeout;
        loop {
            match self.ended() {
                None if Instant::now() < deadline => std::thread::sleep(LOOK_INTERVAL),
                end => return end,
            }
        }
    }

    /// Ends the machine now, whatever it does, and waits until it is gone.
    pub fn kill(&mut self) {
        if self.ended().is_none() {
            let _ = self.child.kill();
            // A process that is stuck in a broken driver cannot be waited for; it is the system's then.
            self.wait(KILL_PATIENCE);
            self.ended = Some(End::Killed);
        }
    }

    /// Why the machine ended too soon, in words.
    pub fn autopsy(&mut self) -> Trouble {
        let end = self.ended();
        // The kernel's last line only says that the application ended; why stands above it.
        let lines = self.serial.lines().into_iter().rev().map(|line| line.text);
        let guest = lines
            .filter(|text| !text.trim().is_empty())
            .find(|text| !(text.starts_with("kernel: application ") && text.contains(" ended with code ")))
            .or_else(|| self.serial.last_words());
        let emulator = self.complaints.last_words();
        Trouble::new(match (end, emulator, guest) {
            (Some(End::Emulator(0)), Some(words), _) => format!("the emulator was ended: {words}"),
            (Some(End::Emulator(_)), Some(words), _) => format!("the emulator refused: {words}"),
            (Some(End::Code(code)), _, Some(words)) => format!("the guest ended with code {code}: {words}"),
            (Some(End::Code(code)), ..) => format!("the guest ended with code {code} and said nothing"),
            (Some(_), words, last) => format!(
                "the emulator ended{}",
                words.or(last).map_or_else(String::new, |words| format!(": {words}"))
            ),
            (None, _, Some(words)) => format!("the guest is silent; its last words: {words}"),
            (None, ..) => "the guest is silent".into(),
        })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qemu::Kind;

    /// A file that is no kernel: QEMU says so, and nothing stays.
    #[test]
    fn what_is_no_kernel_is_refused_by_the_emulator() {
        if packages::find(PROGRAM).is_none() {
            eprintln!("SKIPPED: {PROGRAM} is absent");
            return;
        }
        let image = Nameless::new(b"not a kernel").unwrap();
        let mut machine = Machine::start(&Plan::new(Kind::Microvm), &image, None).unwrap();
        let end = machine.wait(Duration::from_secs(20));
        assert_eq!(end, Some(End::Emulator(1)), "{:?}", machine.complaints.lines());
        assert!(machine.autopsy().to_string().contains("emulator refused"));
    }

    /// Sixteen-bit code cannot be started by `-kernel`, so the smallest guest is an ELF file; that is tested where
    /// the kernel is. Here: what runs is gone when it is dropped.
    #[test]
    fn a_process_is_gone_when_it_is_dropped() {
        let mut child = dying_with_us(std::path::Path::new("/bin/sleep")).arg("60").spawn().unwrap();
        assert!(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        assert!(!child.wait().unwrap().success());
    }

    /// As a child finds it whose parent was killed while it was made: another one is its parent by now.
    #[test]
    fn an_orphan_does_not_begin() {
        let wanted = |parent: u32| {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", UNLESS_ORPHANED, &parent.to_string(), "echo", "a b", "c"]);
            String::from_utf8(command.output().unwrap().stdout).unwrap()
        };
        assert_eq!(wanted(std::process::id()), "a b c\n");
        assert_eq!(wanted(std::process::id() + 1), "");
    }
}
