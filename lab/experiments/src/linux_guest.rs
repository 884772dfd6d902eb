//! The peer that every guest of ours stands beside: the Debian cloud kernel with a static `init`, nothing more.
//!
//! The kernel comes from the distribution (`apt-get download`, unpacked into `.cache/`, never installed); the `init`
//! is a few lines of C without a library, and the initial file system is written by [`archive`]. With a program of this
//! system in it and the kernel's [`modules`] for a network card it is a [`service`].

mod archive;
mod modules;
pub mod service;

use archive::Archive;
use nom_machine::trouble::{Context, Outcome, Trouble};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What `init` prints as its very first deed.
pub const FIRST_WORDS: &str = "nom-peer: init runs";
/// The Debian package that always depends on the newest cloud kernel.
const META_PACKAGE: &str = "linux-image-cloud-amd64";

/// Its command line: quiet, so that its own messages do not slow it down, and with the frequency of the time stamp
/// counter, because on a busy machine an emulated kernel fails to measure it and hangs. Both are to its advantage.
pub fn command_line() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let mhz = cpu
        .lines()
        .find_map(|line| line.strip_prefix("cpu MHz")?.split(':').nth(1)?.trim().parse::<f64>().ok());
    let khz = (mhz.unwrap_or(2_000.0) * 1e3) as u64;
    format!("console=ttyS0 quiet panic=-1 reboot=t tsc_early_khz={khz}")
}

/// Writes one line and sleeps for good: the host ends the machine when it has seen the line.
const INIT: &str = r#"
static long call3(long number, long a, long b, long c) {
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
}
void _start(void) {
    static const char words[] = "nom-peer: init runs\n";
    call3(1, 1, (long)words, sizeof words - 1);
    for (;;) call3(34, 0, 0, 0);
}
"#;

/// A kernel and its initial file system.
#[derive(Debug)]
pub struct LinuxGuest {
    /// The kernel's bytes.
    pub kernel: Vec<u8>,
    /// The initial file system's bytes.
    pub initial: Vec<u8>,
    /// `Linux 6.1.0-… cloud kernel`.
    pub name: String,
}

/// The first process of a Linux guest: C, and how it is compiled.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// Its file in the cache folder, without the ending.
    pub name: &'static str,
    /// Its text.
    pub source: &'static str,
    /// What the compiler is told besides `-O2 -static`.
    pub flags: &'static [&'static str],
}

const FIRST_WORDS_PROGRAM: Program =
    Program { name: "init", source: INIT, flags: &["-nostdlib", "-ffreestanding", "-fno-stack-protector"] };

/// Fetches and builds the peer, or finds it in the cache folder.
pub fn prepare(cache: &Path, progress: &mut dyn FnMut(&str)) -> Outcome<LinuxGuest> {
    prepare_with(&FIRST_WORDS_PROGRAM, cache, progress)
}

/// The same with another first process.
pub fn prepare_with(program: &Program, cache: &Path, progress: &mut dyn FnMut(&str)) -> Outcome<LinuxGuest> {
    let (kernel, name) = prepare_kernel(cache, false, progress)?;
    let init = compile(program, cache)?;
    Ok(LinuxGuest { kernel, initial: Archive::new(&init).finish(), name })
}

/// The kernel's bytes and its name. A card's modules stay in the cache folder; one that was filled before they were kept is
/// filled again when they are wanted.
fn prepare_kernel(
    cache: &Path,
    with_modules: bool,
    progress: &mut dyn FnMut(&str),
) -> Outcome<(Vec<u8>, String)> {
    std::fs::create_dir_all(cache).context(|| format!("cannot make {}", cache.display()))?;
    let there = kernel_image(cache).filter(|_| !with_modules || modules::are_kept(cache));
    let image = match there {
        Some(found) => found,
        None => {
            progress("fetching the Debian cloud kernel (not installed, only unpacked)");
            // Kernel and modules must be of one version.
            let _ = std::fs::remove_dir_all(cache.join("linux"));
            fetch(cache)?;
            kernel_image(cache).ok_or_else(|| Trouble::new("the Debian kernel package has no kernel"))?
        }
    };
    let kernel = std::fs::read(&image).context(|| format!("cannot read {}", image.display()))?;
    let version = image.file_name().unwrap_or_default().to_string_lossy().replace("vmlinuz-", "");
    Ok((kernel, format!("Linux {version}")))
}

fn kernel_image(cache: &Path) -> Option<PathBuf> {
    let folder = std::fs::read_dir(cache.join("linux/boot")).ok()?;
    folder
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-")))
}

fn fetch(cache: &Path) -> Outcome<()> {
    let absent = |what: String| {
        Trouble::new(format!(
            "the Linux peer is absent: {what} (a Debian system with apt is needed to fetch it)"
        ))
    };
    let output = Command::new("apt-cache")
        .args(["depends", "--important", META_PACKAGE])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| absent(format!("apt-cache: {error}")))?;
    let listing = String::from_utf8_lossy(&output.stdout).into_owned();
    let package = listing
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with("linux-image-"))
        .ok_or_else(|| absent(format!("{META_PACKAGE} is not known to apt; try apt-get update")))?
        .to_string();
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).current_dir(cache).stdin(Stdio::null()).output();
        match output {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => {
                let words =
                    String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or("failed").to_string();
                Err(absent(format!("{program}: {words}")))
            }
            Err(error) => Err(absent(format!("{program}: {error}"))),
        }
    };
    run("apt-get", &["download", "-q", &package])?;
    let archive = std::fs::read_dir(cache)
        .context(|| format!("cannot read {}", cache.display()))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .find(|name| name.starts_with(&package) && name.ends_with(".deb"))
        .ok_or_else(|| absent(format!("{package} was not downloaded")))?;
    run("dpkg-deb", &["-x", &archive, "linux"])?;
    // What was unpacked is enough.
    let _ = std::fs::remove_file(cache.join(archive));
    modules::keep(cache)
}

fn compile(what: &Program, cache: &Path) -> Outcome<Vec<u8>> {
    let (source, program) = (cache.join(format!("{}.c", what.name)), cache.join(what.name));
    std::fs::write(&source, what.source).context(|| format!("cannot write {}", source.display()))?;
    let status = Command::new("cc")
        .args(["-O2", "-static"])
        .args(what.flags)
        .arg("-o")
        .args([&program, &source])
        .stdin(Stdio::null())
        .status()
        .context(|| "cannot start cc, the C compiler that Rust links with".into())?;
    if !status.success() {
        return Err(Trouble::new(
            "cc could not compile the Linux peer (Debian: apt-get install gcc libc6-dev)",
        ));
    }
    std::fs::read(&program).context(|| format!("cannot read {}", program.display()))
}
