//! Google's TCP scripts for packetdrill against our stack: its shared-object interface, virtual time, no network.
//!
//! A script is text for a kernel. Before it runs here, what is Linux and not TCP is taken out of it, and nothing else:
//! - commands of a shell (the settings in them that we have are given to our stack; see [`settings`]);
//! - assertions about Linux's internal variables;
//! - the shift of our windows, which follows from how much memory Linux gives a connection;
//! - where PSH stands: that is the sender's choice (RFC 9293, 3.9.1.2). When a script fails for that alone, that line gets
//!   what was sent, and the script runs again from its beginning.

use crate::Settings;
use crate::figures::Figure;
use nom_machine::artefacts;
use nom_machine::machine::dying_with_us;
use nom_machine::scratch::Scratch;
use nom_machine::trouble::{Context, Outcome, Trouble};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// What is claimed.
pub const CLAIM: &str =
    "the stack does what Google's TCP scripts expect (--peer DIR: a checkout of packetdrill, built)";

/// Where things are in a checkout.
const SCRIPTS: &str = "gtests/net/tcp";
const PROGRAM: &str = "gtests/net/packetdrill/packetdrill";
/// How long a script may take. Only one that hangs does.
const PATIENCE: Duration = Duration::from_secs(60);
/// Lines of one script that may differ in PSH.
const PUSHES_MAX: usize = 40;
/// Linux counts in steps of 4 ms and ours of 0.1 ms; each side rounds once.
const TOLERANCE_US: u32 = 10_000;
/// The shift of our windows in the stack that is loaded, and Linux's in the scripts.
const SHIFTS: (&str, &str) = ("wscale 6", "wscale 8");

const NO_FAST_OPEN: &str = "TCP Fast Open is not spoken: data in a SYN may be acted upon twice";
const CHANGES: &str = "changes what is agreed about marks of congestion in its middle";

/// Scripts that apply although what stands beside them does not.
const APPLICABLE: &[&str] =
    &["fastopen/server/basic-non-tfo-listener", "fastopen/server/opt34/basic-non-tfo-listener"];

/// Scripts that wait for the grain of one of Linux's timers, how far from ours that may be, and which one it is.
const GRAINS: &[(&str, u32, &str)] = &[(
    "fast_retransmit/fr-4pkt-fack-last-mss",
    16_000,
    "Linux allows for reordering 15 ms longer than the quarter of a round trip of RFC 8985, 6.2",
)];

/// Scripts that cannot apply: how their paths begin, and why.
const NOT_APPLICABLE: &[(&str, &str)] = &[
    ("epoll/", "edges of epoll are an interface of Linux's"),
    (
        "cubic/cubic-rto-ss-ca-cwnd-bump",
        "expects that a loss is measured by the whole window, where RFC 9438, 4.6 takes what was in flight",
    ),
    ("eor/", "ends of records in a byte stream are Linux's"),
    (
        "fast_retransmit/fr-4pkt-fack-last-byte",
        "expects that a report of a packet's last byte counts for nothing: Linux keeps books of packets, ours are of bytes",
    ),
    ("fastopen/client/", NO_FAST_OPEN),
    ("fastopen/server/opt34/pure-syn-data", CHANGES),
    ("fastopen/server/pure-syn-data", CHANGES),
    ("fastopen/server/", NO_FAST_OPEN),
    ("inq/", "an interface of Linux's: control messages that count what waits"),
    ("mss/mss-setsockopt", "an option of Linux's for the segment size of one socket"),
    ("mtu_probe/", "an option of Linux's for the largest packet of a route"),
    ("nagle/", "what is written leaves at once or with its batch; there is no holding back to undo"),
    ("notsent_lowat/", "an option of Linux's"),
    ("sack/sack-route-refresh-ip-tos", "a route cache and its types of service"),
    ("sendfile/", "an interface of Linux's"),
    ("slow_start/slow-start-after-idle", "expects how Linux cuts large segments by time, not by windows"),
    (
        "slow_start/slow-start-after-win-update",
        "expects how Linux cuts large segments by time, not by windows",
    ),
    ("slow_start/slow-start-fq", "expects how Linux paces"),
    ("splice/", "an interface of Linux's"),
    ("syscall_bad_arg/", "how a kernel checks pointers"),
    ("tcp_info/tcp-info-sndbuf-limited", "asks for the size of Linux's buffers"),
    ("timestamping/", "an interface of Linux's: when a packet left"),
    ("ts_recent/invalid_ack", "expects silence where RFC 9293, 3.10.7.4 asks for an acknowledgement"),
    ("user_timeout/user-timeout-probe", "fills a queue of Linux's own in front of the card"),
    ("zerocopy/", "an interface of Linux's"),
    ("blocking/blocking-write", "asks for the size of Linux's buffers"),
];

/// How a script ended.
enum Verdict {
    /// It passed; so many lines differed in PSH.
    Passed(usize),
    Failed(String),
}

/// Runs the scripts.
pub fn measure(settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Vec<Figure>> {
    let Some(peer) = &settings.peer else {
        return Err(Trouble::new(
            "SKIPPED: packetdrill and its scripts are not part of this project; name a checkout of it with --peer DIR",
        ));
    };
    let program = peer.join(PROGRAM);
    if !program.is_file() {
        return Err(Trouble::new(format!(
            "there is no {}: build it by ./configure && make in its folder",
            program.display()
        )));
    }
    let root = peer.join(SCRIPTS);
    let mut scripts = Vec::new();
    find(&root, &mut scripts)?;
    scripts.sort();
    let stack = artefacts::linux(&["nom-packetdrill"], progress)?.remove(0);
    let folder = Scratch::new()?;
    let (mut passed, mut failed, mut not_applicable) = (0, 0, 0);
    for script in &scripts {
        let name = script.strip_prefix(&root).unwrap_or(script).display().to_string();
        if let Some(why) = why_not(&name) {
            not_applicable += 1;
            progress(&format!("not applicable  {name}: {why}"));
            continue;
        }
        let grain = GRAINS.iter().find(|(start, ..)| name.starts_with(start));
        let tolerance_us = grain.map_or(TOLERANCE_US, |(_, us, _)| *us);
        let text = fs::read_to_string(script).context(|| format!("cannot read {}", script.display()))?;
        match run(&program, &stack, folder.path(), &text, tolerance_us)? {
            Verdict::Passed(pushes) => {
                passed += 1;
                let pushes =
                    if pushes > 0 { format!(" (PSH differs {pushes} times)") } else { String::new() };
                let grain = grain
                    .map_or_else(String::new, |(_, us, why)| format!(" (within {} ms: {why})", us / 1_000));
                progress(&format!("passed          {name}{pushes}{grain}"));
            }
            Verdict::Failed(why) => {
                failed += 1;
                progress(&format!("FAILED          {name}: {why}"));
            }
        }
    }
    progress(&format!(
        "{passed} of {} that apply passed, {not_applicable} do not apply, {} there are",
        passed + failed,
        scripts.len()
    ));
    let figure = |name, value| Figure::of(name, "scripts", None, &[f64::from(value)]);
    let figures = [figure("packetdrill.passed", passed), figure("packetdrill.applicable", passed + failed)];
    Ok(figures.into_iter().flatten().collect())
}

/// Why a script does not apply.
fn why_not(name: &str) -> Option<&'static str> {
    let begins = |start: &&str| name.starts_with(start);
    if APPLICABLE.iter().any(begins) {
        return None;
    }
    NOT_APPLICABLE.iter().find(|(start, _)| begins(start)).map(|(_, why)| *why)
}

fn find(folder: &Path, scripts: &mut Vec<PathBuf>) -> Outcome<()> {
    let listed = || format!("{} is no checkout of packetdrill: it has no {SCRIPTS}", folder.display());
    for entry in fs::read_dir(folder).context(listed)? {
        let path = entry.context(listed)?.path();
        if path.is_dir() {
            find(&path, scripts)?;
        } else if path.extension().is_some_and(|extension| extension == "pkt") {
            scripts.push(path);
        }
    }
    Ok(())
}

/// What a script sets in Linux, in the words of our library.
fn settings(commands: &str) -> String {
    let set = |name: &str| {
        let value = commands.rsplit_once(name)?.1;
        value.trim_start_matches(['=', '"']).split(|c: char| !c.is_alphanumeric()).next()
    };
    let mut words = Vec::new();
    if set("tcp_timestamps") != Some("0") {
        words.push("stamps");
    }
    if set("tcp_ecn").is_some_and(|value| value != "0") {
        words.push("ecn");
    }
    if set("tcp_congestion_control") == Some("reno") {
        words.push("reno");
    }
    words.join(",")
}

/// Takes commands and assertions out, which leaves their times and lines; returns what they said.
fn without_linux(text: &str) -> (String, String) {
    let (mut left, mut commands) = (String::new(), String::new());
    let mut rest = text;
    while let Some(at) = rest.find(['`', '%']) {
        let (before, from) = rest.split_at(at);
        left.push_str(before);
        let (open, close) = if from.starts_with('`') { ("`", "`") } else { ("%{", "}%") };
        let inside = from.strip_prefix(open).and_then(|inside| inside.split_once(close));
        let Some((inside, after)) = inside else {
            left.push_str(&from[..1]);
            rest = &from[1..];
            continue;
        };
        // A command that does nothing keeps the time at which it stood.
        left.push_str("`true`");
        left.extend(inside.matches('\n'));
        if open == "`" {
            commands.push_str(inside);
            commands.push('\n');
        }
        rest = after;
    }
    left.push_str(rest);
    let lines = left.lines().map(|line| match line.trim_start().contains("> ") {
        true => line.replace(SHIFTS.1, SHIFTS.0),
        false => line.into(),
    });
    (lines.map(|line| line + "\n").collect(), commands)
}

fn run(program: &Path, stack: &Path, folder: &Path, text: &str, tolerance_us: u32) -> Outcome<Verdict> {
    let (mut text, commands) = without_linux(text);
    let words = settings(&commands);
    let script = folder.join("script.pkt");
    for pushes in 0..=PUSHES_MAX {
        fs::write(&script, &text).context(|| "cannot write a script".into())?;
        let Some(error) = once(program, stack, &script, &words, tolerance_us)? else {
            return Ok(Verdict::Passed(pushes));
        };
        match with_other_push(&text, &error) {
            Some(changed) => text = changed,
            None => return Ok(Verdict::Failed(error)),
        }
    }
    Ok(Verdict::Failed("too many lines differ in PSH".into()))
}

/// The script with PSH set otherwise in the line at which that alone was wrong.
fn with_other_push(text: &str, error: &str) -> Option<String> {
    let (place, _) = error.split_once(": error handling packet: live packet field tcp_psh")?;
    let number: usize = place.rsplit(':').next()?.parse().ok()?;
    let mut lines: Vec<String> = text.lines().map(Into::into).collect();
    let line = lines.get_mut(number.checked_sub(1)?)?;
    let (before, after) = line.split_once("> ")?;
    let mut words: Vec<String> = after.split(' ').map(Into::into).collect();
    let flags = words.iter_mut().find(|word| !word.is_empty() && !word.starts_with('['))?;
    *flags = if flags.contains('P') { flags.replace('P', "") } else { format!("P{flags}") };
    *line = format!("{before}> {}", words.join(" "));
    Some(lines.join("\n") + "\n")
}

/// Runs a script. What was wrong, if anything.
fn once(
    program: &Path,
    stack: &Path,
    script: &Path,
    words: &str,
    tolerance_us: u32,
) -> Outcome<Option<String>> {
    let log = script.with_extension("log");
    let file = fs::File::create(&log).context(|| "cannot write a log".into())?;
    let errors = file.try_clone().context(|| "cannot write a log".into())?;
    let mut command = dying_with_us(program);
    command
        .arg(format!("--so_filename={}", stack.display()))
        .arg(format!("--so_flags={words}"))
        .arg(format!("--tolerance_usecs={tolerance_us}"))
        .args(["--ip_version=ipv4", "--local_ip=192.0.2.1", "--remote_ip=198.51.100.1"])
        .args(["--gateway_ip=192.0.2.254", "--netmask_ip=255.255.255.0"])
        .arg(script)
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(errors);
    let mut child = command.spawn().context(|| "cannot start packetdrill".into())?;
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait().context(|| "cannot wait for packetdrill".into())? {
            Some(status) => break Some(status),
            None if Instant::now() > deadline => break None,
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    let Some(status) = status else {
        let _ = child.kill();
        let _ = child.wait();
        return Ok(Some(format!("not done after {} s", PATIENCE.as_secs())));
    };
    if status.success() {
        return Ok(None);
    }
    let text = fs::read_to_string(&log).unwrap_or_default();
    let said = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" | ");
    let shown = said.strip_prefix(&script.display().to_string()).unwrap_or(&said).to_string();
    Ok(Some(if shown.is_empty() { format!("{status}") } else { shown }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_linux_leaves_its_time_and_its_lines() {
        let text = "`../common/defaults.sh\nsysctl -q net.ipv4.tcp_ecn=1`\n +.1 %{\nassert a == 1\n}%\n +0 > S. <wscale 8>\n +0 < S <wscale 8>\n";
        let (left, commands) = without_linux(text);
        assert_eq!(left, "`true`\n\n +.1 `true`\n\n\n +0 > S. <wscale 6>\n +0 < S <wscale 8>\n");
        assert_eq!(settings(&commands), "stamps,ecn");
        assert_eq!(settings("sysctl net.ipv4.tcp_timestamps=0 net.ipv4.tcp_ecn=0"), "");
        assert_eq!(settings("sysctl tcp_congestion_control=\"reno\""), "stamps,reno");
    }

    #[test]
    fn each_script_that_does_not_apply_has_its_reason() {
        assert_eq!(why_not("fastopen/server/opt34/simple1.pkt"), Some(NO_FAST_OPEN));
        assert_eq!(why_not("fastopen/server/opt34/pure-syn-data.pkt"), Some(CHANGES));
        assert_eq!(why_not("fastopen/server/opt34/basic-non-tfo-listener.pkt"), None);
        assert_eq!(why_not("user_timeout/user_timeout.pkt"), None);
    }

    #[test]
    fn only_the_line_that_was_wrong_gets_another_push() {
        let text = "one\n +0 > P. 1:2(1) ack 1\n +0 > P. 2:3(1) ack 1\n";
        let error = ":2: error handling packet: live packet field tcp_psh: expected: 1 vs actual: 0";
        let changed = with_other_push(text, error).unwrap();
        assert_eq!(changed, "one\n +0 > . 1:2(1) ack 1\n +0 > P. 2:3(1) ack 1\n");
        assert_eq!(with_other_push(&changed, error).unwrap(), text);
        assert_eq!(with_other_push(text, ":2: error handling packet: timing error"), None);
    }
}
