//! What must be refused: in one clear line, with a code that is not zero, and with nothing left behind.

use super::guest::free_port;
use super::started::{Ended, command};
use super::{Cases, Verdict};
use crate::image;
use nom_machine::artefacts;
use nom_machine::scratch::Scratch;
use nom_machine::trouble::{Context, Outcome, Trouble};
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Stdio;

/// All cases.
pub fn bad_input(cases: &mut Cases) -> Outcome<()> {
    let scratch = Scratch::new()?;
    let write = |name: &str, bytes: &[u8]| -> Outcome<String> {
        let path = scratch.file(name);
        std::fs::write(&path, bytes).context(|| format!("cannot write {}", path.display()))?;
        Ok(path.display().to_string())
    };
    let mut case = |name: &str, arguments: &[&str], said: &str| {
        let verdict = command(arguments, |_| {}).and_then(|ended| refused(&ended, said));
        cases.note(name, verdict);
    };
    case("a mistyped command", &["rnu"], "did you mean `nom run`?");
    case("an unknown command", &["frobnicate"], "`nom` alone lists them");
    case("a mistyped option", &["run", "--secnods", "5"], "did you mean --seconds?");
    case("a number out of bounds", &["run", "--seconds", "0"], "a number from 1");
    case("an option without its value", &["run", "--port"], "port");
    case("a home that is none", &["run", "--on", "mars"], "guest or linux");
    case("options that cannot go together", &["run", "--on", "linux", "--kvm"], "--kvm");
    case("what is no TAP device", &["run", "--tap", "lo"], "--tap lo: ");
    case("a TAP device and a port of localhost", &["run", "--tap", "nom0", "--port", "4"], "leave one out");
    case("a TAP device for a Linux process", &["run", "--on", "linux", "--tap", "nom0"], "--tap");
    case("a bench beside nobody", &["bench", "kv", "--on", "mars"], "linux, vm or paper");
    case("an option of another bench", &["bench", "boot", "--claim", "nine"], "--claim is for paper");
    case("a missing configuration", &["run", "--config", "/absent/kv.conf"], "/absent/kv.conf");
    case("a missing schedule", &["run", "--prices", "/absent/day.prices"], "/absent/day.prices");
    case("JSON that cannot be written", &["run", "--json", "/absent/x.json"], "/absent/x.json");
    case(
        "a ledger that cannot be written",
        &["run", "--ledger", "/absent/x"],
        "--ledger: cannot write /absent/x",
    );
    case("a picture that cannot be written", &["run", "--picture", "/absent/x.svg"], "/absent/x.svg");
    case("a recording that cannot be written", &["run", "--record", "/absent/x.load"], "/absent/x.load");
    case("a recording of no load", &["run", "--rate", "0", "--record", "x.load"], "leave out --rate 0");
    case("a utility that breaks an axiom", &["run", "--utility", "0.2 $/Mop * mean / 1 ms"], "axiom");
    case("a term that no utility has", &["run", "--utility", "refund, valeu=1 $/Mop"], "no term \"valeu\"");
    case("a promise and a utility", &["run", "--slo", "p99 < 1 ms", "--utility", "refund"], "leave one");
    case("a promise without its unit", &["run", "--slo", "p99 < 1"], "such as p99 < 1 ms");
    case("a utility that is none", &["run", "httpd", "--utility", "nonsense"], "there are simple, penalty");
    case("less memory than any machine has", &["run", "echo", "--memory", "1"], "from 8 to 65536");
    case("a schedule that is a folder", &["run", "--prices", "/tmp"], "cannot read /tmp");
    case("a schedule without an end", &["run", "--prices", "/dev/zero"], "more than the 65536 bytes");
    case("an image without an end", &["run", "--image", "/dev/zero"], "/dev/zero: it has more than");
    case("a load for who has none", &["run", "echo", "--rate", "5"], "no load of ours");
    case("points that cannot be written", &["profile", "--out", "/absent/x.points"], "/absent/x.points");
    case(
        "figures that cannot be written",
        &["bench", "boot", "--json", "/absent/x"],
        "cannot write /absent/x",
    );
    case("a feed that nobody answers", &["prices", "show", "http://127.0.0.1:1/prices"], "no price: ");
    case("several cores where there is one", &["run", "httpd", "--on", "linux", "--cores", "2"], "--cores 2");
    let key = write("key.conf", b"listne = 11211\n")?;
    case("a mistyped key", &["run", "--config", &key], "listen");
    let unit = write("unit.conf", b"listen = 11211\nmemory.items = 8\n")?;
    case("a value without its unit", &["run", "--config", &unit], "line 2");
    let bytes = write("bytes.conf", &[0xff, 0xfe, 0])?;
    case("a configuration that is no text", &["run", "--config", &bytes], "bytes.conf");
    case("a setting that is none", &["run", "--set", "wait"], "KEY=VALUE");
    case("a setting with a bad value", &["run", "--set", "wait=sometimes"], "wait");
    let schedule = write("bad.prices", b"at 0 s: core cheap\n")?;
    case("a malformed schedule", &["run", "--prices", &schedule], "line 1");
    let empty = write("empty.prices", b"")?;
    case("an empty schedule", &["run", "--prices", &empty], "empty.prices");
    let garbage = write("garbage.image", b"not an image")?;
    case("an image that is none", &["run", "--image", &garbage, "--port", "0"], "not an ELF file");
    case("a missing image", &["run", "--image", "/absent/kv.image", "--port", "0"], "/absent/kv.image");
    case("showing what is no image", &["image", "show", &garbage], "not an ELF file");
    case("an unknown application", &["image", "--application", "vk"], "kv");
    case("an unknown application to run", &["run", "--app", "vk"], "no application \"vk\"; there are kv");
    case("two applications", &["run", "kv", "--app", "httpd"], "leave one out");
    case("a folder without a service", &["attach", "/absent"], "/absent/management.sock is not there");
    case("no folder", &["attach"], "nom attach FOLDER");
    case("an unknown bench", &["bench", "boto"], "did you mean `nom bench boot`?");
    case("an unknown part of the tests", &["test", "units"], "did you mean unit?");
    case("an unknown fuzz target", &["fuzz", "bundel"], "did you mean bundle?");
    if Path::new("/dev/kvm").exists() {
        let verdict = command(&["run", "--kvm", "--seconds", "1", "--rate", "0", "--port", "0"], |_| {})?;
        let verdict = match verdict.code {
            // Where hardware virtualisation works there is nothing to refuse.
            Some(0) => Verdict::Skipped("KVM works here".into()),
            _ => refused(&verdict, "leave out --kvm").into(),
        };
        cases.note("a /dev/kvm that hangs", verdict);
    } else {
        cases.note("a /dev/kvm that hangs", Verdict::Skipped("there is no /dev/kvm here".into()));
    }
    cases.note("a reader who has enough, and a full disk", unheard());
    cases.note("nobody to watch", super::watching::nobody());
    cases.note("a busy port", busy_port());
    cases.note("no QEMU and no rights to install it", no_emulator());
    cases.note("damaged images", damaged_images(&scratch));
    cases.note("a kernel setting that the kernel does not know", kernel_refuses());
    Ok(())
}

/// Not zero, and the last line on standard error says it; the lines above are progress, each a line of ours too.
fn refused(ended: &Ended, said: &str) -> Outcome<()> {
    let last = ended.words.lines().last().unwrap_or_default();
    if ended.code.is_none_or(|code| code == 0) {
        return Err(Trouble::new(format!("ended with {:?} instead of refusing", ended.code)));
    }
    if let Some(line) = ended.words.lines().find(|line| !line.starts_with("nom: ")) {
        return Err(Trouble::new(format!("said more than one clear line: {line}")));
    }
    if !last.contains(said) || ended.words.contains("panicked") || !ended.out.is_empty() {
        return Err(Trouble::new(format!("said {last:?}, where {said:?} is expected")));
    }
    Ok(())
}

/// What nobody reads any more is no failure of ours to talk about; what cannot be written is, in a line.
fn unheard() -> Outcome<()> {
    let (reader, writer) = std::io::pipe().context(|| "no pipe".into())?;
    drop(reader);
    let full = File::options().write(true).open("/dev/full").context(|| "/dev/full".into())?;
    for (out, code, words) in [
        (Stdio::from(writer), 141, ""),
        (
            Stdio::from(full),
            1,
            "nom: cannot write to standard output: No space left on device (os error 28)\n",
        ),
    ] {
        let ended = command(&["bench"], |command| {
            command.stdout(out);
        })?;
        if ended.code != Some(code) || ended.words != words {
            return Err(Trouble::new(format!("it ended with {:?} and said {:?}", ended.code, ended.words)));
        }
    }
    Ok(())
}

fn busy_port() -> Outcome<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context(|| "no free port".into())?;
    let port = listener.local_addr().context(|| "no address".into())?.port().to_string();
    let day = artefacts::root()?.join("examples/day.prices").display().to_string();
    refused(&command(&["prices", "replay", &day, "--port", &port], |_| {})?, "cannot open port")?;
    for home in ["guest", "linux"] {
        refused(&command(&["run", "--on", home, "--port", &port], |_| {})?, "busy")?;
    }
    Ok(())
}

/// A `PATH` with nothing but cargo in it: no emulator, no apt-get.
fn no_emulator() -> Outcome<()> {
    let scratch = Scratch::new()?;
    let port = free_port()?.to_string();
    let ended = command(&["run", "--port", &port], |command| {
        command.env("PATH", scratch.path());
    })?;
    refused(&ended, "apt-get install qemu-system-x86")
}

/// Every damage is noticed before anything starts: cut off, changed, without its bundle.
fn damaged_images(scratch: &Scratch) -> Outcome<()> {
    let good = image::build("kv", "image.trusted = yes\n")?;
    let whole = scratch.file("whole");
    std::fs::write(&whole, &good).context(|| "an image".into())?;
    let other = ["run", "httpd", "--image", &whole.display().to_string(), "--port", "0"];
    refused(&command(&other, |_| {})?, "holds kv: leave out httpd").context(|| "for another".into())?;
    let mut changed = good.clone();
    if let Some(byte) = changed.last_mut() {
        *byte ^= 0x40;
    }
    let cut = good[..good.len() - 100].to_vec();
    for (name, bytes, said) in [("changed", changed, "checksum"), ("cut", cut, "impossible place")] {
        let path = scratch.file(name);
        std::fs::write(&path, bytes).context(|| format!("cannot write {}", path.display()))?;
        let port = free_port()?.to_string();
        let image = path.display().to_string();
        refused(&command(&["run", "--image", &image, "--port", &port], |_| {})?, said)
            .context(|| name.to_string())?;
    }
    Ok(())
}

/// What only the kernel can judge is refused by it, and its line reaches the person.
fn kernel_refuses() -> Outcome<()> {
    let port = free_port()?.to_string();
    let ended = command(&["run", "--port", &port, "--set", "kernel.nonsense=1"], |_| {})?;
    refused(&ended, "kernel.nonsense")
}
