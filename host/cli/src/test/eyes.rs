//! `nom capture` and `nom connections` on services that run: what they show is what a client did.

use super::client::Client;
use super::guest::free_port;
use super::services::{END, ended_well, number};
use super::started::{Started, command, ourselves};
use super::{Cases, Verdict};
use nom_machine::machine::dying_with_us;
use nom_machine::packages;
use nom_machine::pcapng::{self, Frame};
use nom_machine::scratch::Scratch;
use nom_machine::trouble::{Context, Outcome, Trouble};
use serde_json::Value;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Frames of a capture; a conversation has more than these.
const FRAMES: usize = 60;
/// The port within the service's own network.
const PORT: u16 = 11211;

/// Both commands on one service.
pub fn eyes(cases: &mut Cases, home: &str, arguments: &[&str]) {
    let scratch = Scratch::new();
    let seen = scratch.and_then(|scratch| {
        let file = scratch.file("seen.pcapng").to_string_lossy().into_owned();
        let count = seen(arguments, &file)?;
        Ok((scratch, file, count))
    });
    let verdict = match seen {
        Err(trouble) => return cases.note(&format!("{home}: nom capture, nom connections"), Err(trouble)),
        Ok((_scratch, file, count)) => tcpdump(&file, count),
    };
    cases.passed(1);
    cases.note(&format!("{home}: tcpdump reads the capture"), verdict);
}

/// Captures conversations while others look too; the number of frames.
fn seen(arguments: &[&str], file: &str) -> Outcome<usize> {
    let mut started = Started::new(free_port()?, &[arguments, &["--rate", "0"]].concat())?;
    let port = started.port.to_string();
    let mut capture = dying_with_us(&ourselves()?)
        .args(["capture", &port, "--frames", &FRAMES.to_string(), "--out", file])
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .context(|| "cannot start nom capture".into())?;
    let (deadline, mut accepted) = (Instant::now() + END, 0);
    let code = loop {
        accepted += chat(started.port)?;
        match capture.try_wait().context(|| "cannot wait for nom capture".into())? {
            Some(status) => break status.code(),
            None if Instant::now() > deadline => {
                let _ = capture.kill();
                let _ = capture.wait();
                return Err(Trouble::new("nom capture saw too little"));
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let bytes = std::fs::read(file).context(|| "the capture".into())?;
    let (frames, lost) =
        pcapng::read(&bytes).map_err(|error| Trouble::new(format!("the capture: {error}")))?;
    if code != Some(0) || frames.len() != FRAMES || lost.is_none() {
        return Err(Trouble::new(format!(
            "nom capture: code {code:?}, {} frames, lost {lost:?}",
            frames.len()
        )));
    }
    right(&frames)?;
    accepted += listed(&port, started.port)?;
    started.signal("TERM")?;
    ended_well(&mut started)?;
    let others = number(&started, "others_accepted")?;
    if others != accepted as i128 {
        return Err(Trouble::new(format!("{accepted} operations were done, the ledger has {others}")));
    }
    Ok(frames.len())
}

/// A conversation of short questions only: whichever part of it is captured has some of them. Returns their number.
fn chat(port: u16) -> Outcome<u64> {
    let mut client = Client::connect(port)?;
    for _ in 0..FRAMES {
        client.ask(b"get absent\r\n", b"END\r\n", 1)?;
    }
    Ok(client.accepted)
}

/// Questions came in and answers went out, on the service's port.
fn right(frames: &[Frame]) -> Outcome<()> {
    let (mut questions, mut answers) = (0, 0);
    for frame in frames {
        let bytes = &frame.bytes;
        // Ethernet, IPv4 without options, TCP.
        if bytes.len() < 54 || bytes[12..15] != [8, 0, 0x45] || bytes[23] != 6 {
            continue;
        }
        let at = if frame.outbound { 34 } else { 36 };
        let port = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        // The service asks for prices over the same card, by a port of its own choice.
        if port != PORT && port < 49_152 {
            return Err(Trouble::new(format!("a frame of port {port}: {bytes:02x?}")));
        }
        let end = usize::from(u16::from_be_bytes([bytes[16], bytes[17]])) + 14;
        if frame.outbound && end == bytes.len() && tcp_sum(&bytes[26..end]) != 0xffff {
            return Err(Trouble::new(format!("the checksum of a sent frame is wrong: {bytes:02x?}")));
        }
        let holds = |text: &[u8]| bytes[54..].windows(text.len()).any(|window| window == text);
        questions += usize::from(!frame.outbound && holds(b"get absent"));
        answers += usize::from(frame.outbound && holds(b"END\r\n"));
    }
    match (questions, answers) {
        (1.., 1..) => Ok(()),
        _ => {
            let count = frames.len();
            Err(Trouble::new(format!(
                "{questions} questions and {answers} answers were seen in {count} frames"
            )))
        }
    }
}

/// The sum over both addresses and a segment, with what else the pseudo-header has.
fn tcp_sum(addresses_and_segment: &[u8]) -> u32 {
    let words = addresses_and_segment.chunks(2);
    let all: u32 =
        words.map(|pair| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]))).sum();
    let mut sum = all + 6 + (addresses_and_segment.len() as u32 - 8);
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum
}

/// A connection is listed as long as it is there. Returns the operations that this took.
fn listed(name: &str, port: u16) -> Outcome<u64> {
    let mut client = Client::connect(port)?;
    client.ask(b"get absent\r\n", b"END\r\n", 1)?;
    let received = |all: &Value| {
        let mut ours =
            all["connections"].as_array().into_iter().flatten().filter(|one| {
                one["state"] == "established" && one["port"] == PORT && one["opened_by"] == "peer"
            });
        ours.next().cloned()
    };
    let all = look(name)?;
    let one = received(&all).ok_or_else(|| Trouble::new(format!("the connection is not listed: {all}")))?;
    let count = |key: &str| one[key].as_u64().unwrap_or(0);
    if count("congestion_window") == 0 || count("unread") != 0 || count("sent") > 5 {
        return Err(Trouble::new(format!("the connection is listed wrongly: {one}")));
    }
    let table = command(&["connections", name], |_| {})?;
    if table.code != Some(0) || !table.out.contains("established") {
        return Err(Trouble::new(format!("nom connections shows {:?} {}", table.out, table.words)));
    }
    client.send(b"quit\r\n")?;
    client.expect_close()?;
    let deadline = Instant::now() + END;
    while let Some(one) = received(&look(name)?) {
        if Instant::now() > deadline {
            return Err(Trouble::new(format!("the connection is listed although it ended: {one}")));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(client.accepted)
}

fn look(port: &str) -> Outcome<Value> {
    let ended = command(&["connections", port, "--json"], |_| {})?;
    match ended.code {
        Some(0) => serde_json::from_str(&ended.out).context(|| format!("{:?}", ended.out)),
        code => Err(Trouble::new(format!("nom connections ended with {code:?}: {}", ended.words))),
    }
}

/// Somebody else's eyes.
fn tcpdump(file: &str, count: usize) -> Verdict {
    let Some(program) = packages::find("tcpdump") else {
        return Verdict::Skipped("tcpdump is absent (Debian: tcpdump)".into());
    };
    let read = Command::new(program).args(["-n", "-r", file]).stdin(Stdio::null()).output();
    let told = || -> Outcome<()> {
        let output = read.context(|| "tcpdump".into())?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() || text.lines().count() != count || !text.contains(".11211") {
            let words = String::from_utf8_lossy(&output.stderr);
            return Err(Trouble::new(format!("tcpdump shows {} of {count}: {words}", text.lines().count())));
        }
        Ok(())
    };
    told().into()
}
