//! What the host's kernel sees of one client's requests: from the moment at which a request enters the guest's TAP device
//! to the moment at which the answer leaves it, as the kernel stamps both frames for a packet socket. What the client and
//! the host's own TCP take is not in it; emulator and guest are.
//!
//! tcpdump listens, on the client's processor, in a load of its own: it takes its turn there a few times a second, which
//! a client would see and the wire does not.

use nom_machine::machine::dying_with_us;
use nom_machine::scratch::Scratch;
use nom_machine::trouble::{Context, Outcome, Trouble};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStderr, Stdio};

/// Bytes of a frame that are kept: all headers.
const KEPT_LEN: &str = "96";
/// Room for frames that were not written yet, in KiB.
const ROOM_KIB: &str = "16384";
/// A capture with nanoseconds, as a machine with the least significant byte first writes it.
const NANOSECONDS: u32 = 0xa1b2_3c4d;
const ETHERNET: u32 = 1;
const FILE_HEADER_LEN: usize = 24;
const RECORD_HEADER_LEN: usize = 16;
/// Requests below this number say nothing about what happens once in a hundred.
const REQUESTS_MIN: usize = 100;

/// How long answers took on the wire.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wire {
    /// Mean.
    pub mean_us: f64,
    /// Standard deviation.
    pub deviation_us: f64,
    /// All but one in a hundred took less.
    pub p99_us: f64,
}

/// What [`Wire::figures`] are called.
pub const FIGURES: [&str; 3] = ["us", "deviation_us", "p99_us"];

impl Wire {
    /// Mean, deviation and the slowest hundredth.
    pub fn figures(self) -> [f64; 3] {
        [self.mean_us, self.deviation_us, self.p99_us]
    }

    /// Of times that were seen; `None` when they are too few.
    fn of(mut times_ns: Vec<u64>) -> Option<Self> {
        times_ns.sort_unstable();
        let count = times_ns.len();
        let p99_us = *times_ns.get(count * 99 / 100)? as f64 / 1e3;
        let mean = times_ns.iter().sum::<u64>() as f64 / count as f64;
        let square = |&ns: &u64| (ns as f64 - mean) * (ns as f64 - mean);
        let deviation = (times_ns.iter().map(square).sum::<f64>() / count as f64).sqrt();
        let wire = Self { mean_us: mean / 1e3, deviation_us: deviation / 1e3, p99_us };
        (count >= REQUESTS_MIN).then_some(wire)
    }
}

/// Somebody listens until this is dropped.
pub struct Watch {
    child: Child,
    said: BufReader<ChildStderr>,
    folder: Scratch,
    port: u16,
}

impl Watch {
    /// Listens to what is said to this port on an interface of the calling thread's network.
    pub fn start(tcpdump: &Path, interface: &str, port: u16) -> Outcome<Self> {
        let folder = Scratch::new()?;
        let mut child = dying_with_us(tcpdump)
            .args(["-i", interface, "-n", "-s", KEPT_LEN, "-B", ROOM_KIB, "-Z", "root"])
            .args(["--time-stamp-precision=nano", "-w"])
            .arg(folder.file("wire"))
            .arg(format!("tcp port {port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context(|| "cannot start tcpdump".into())?;
        let mut said = BufReader::new(child.stderr.take().expect("stderr is a pipe"));
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            if said.read_line(&mut line).context(|| "tcpdump".into())? == 0 {
                let _ = child.wait();
                return Err(Trouble::new("tcpdump does not listen; it needs the right to capture"));
            }
        }
        Ok(Self { child, said, folder, port })
    }

    /// What was seen. Nobody listens any more.
    pub fn seen(mut self) -> Outcome<Wire> {
        if let Some(process) = Pid::from_raw(self.child.id() as i32) {
            kill_process(process, Signal::INT).context(|| "tcpdump".into())?;
        }
        let mut report = String::new();
        self.said.read_to_string(&mut report).context(|| "tcpdump".into())?;
        self.child.wait().context(|| "tcpdump".into())?;
        if lost(&report) != Some(0) {
            return Err(Trouble::new(format!("tcpdump lost frames: {}", report.trim())));
        }
        let bytes = std::fs::read(self.folder.file("wire")).context(|| "what tcpdump wrote".into())?;
        let times_ns = times_ns(&bytes, self.port).ok_or_else(|| Trouble::new("tcpdump wrote no capture"))?;
        Wire::of(times_ns).ok_or_else(|| Trouble::new("tcpdump saw too few requests"))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Frames that the kernel had no room for, as tcpdump reports at its end.
fn lost(report: &str) -> Option<u64> {
    let line = report.lines().find(|line| line.contains("dropped by kernel"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// From each frame that brings something to the port to the next one that brings something from there. `None` when this
/// is no capture of Ethernet frames with nanoseconds.
fn times_ns(capture: &[u8], port: u16) -> Option<Vec<u64>> {
    let word = |at: usize| Some(u32::from_le_bytes(capture.get(at..at + 4)?.try_into().ok()?));
    if word(0)? != NANOSECONDS || word(20)? != ETHERNET {
        return None;
    }
    let (mut at, mut asked_ns, mut times_ns) = (FILE_HEADER_LEN, None, Vec::new());
    while let (Some(seconds), Some(ns), Some(len)) = (word(at), word(at + 4), word(at + 8)) {
        let start = at + RECORD_HEADER_LEN;
        at = start + len as usize;
        // The last one may not be whole.
        let Some(frame) = capture.get(start..at) else { break };
        let now_ns = u64::from(seconds) * 1_000_000_000 + u64::from(ns);
        match brings(frame) {
            Some((_, to)) if to == port => asked_ns = asked_ns.or(Some(now_ns)),
            Some((from, _)) if from == port => {
                times_ns.extend(asked_ns.take().and_then(|asked_ns: u64| now_ns.checked_sub(asked_ns)));
            }
            _ => {}
        }
    }
    Some(times_ns)
}

/// The ports of a frame with a TCP segment that brings something.
fn brings(frame: &[u8]) -> Option<(u16, u16)> {
    const IPV4: u16 = 0x0800;
    const TCP: u8 = 6;
    let half = |bytes: &[u8], at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let packet = frame.get(14..).filter(|_| half(frame, 12) == Some(IPV4))?;
    let header_len = usize::from(packet.first()? & 15) * 4;
    let segment = packet.get(header_len..).filter(|_| packet.get(9) == Some(&TCP))?;
    let headers_len = header_len + usize::from(segment.get(12)? >> 4) * 4;
    let brings = usize::from(half(packet, 2)?) > headers_len;
    half(segment, 0).zip(half(segment, 2)).filter(|_| brings)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record of a capture: a segment between two ports with so many bytes of payload.
    fn record(at_ns: u64, from: u16, to: u16, payload: u16) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([8, 0, 0x45, 0]);
        frame.extend((52 + payload).to_be_bytes());
        frame.extend([0, 0, 0, 0, 64, 6, 0, 0]);
        frame.extend([0; 8]);
        frame.extend(from.to_be_bytes());
        frame.extend(to.to_be_bytes());
        frame.extend([0; 8]);
        frame.extend([8 << 4, 0x18, 0, 0, 0, 0, 0, 0]);
        frame.extend([0; 12]);
        let words = [(at_ns / 1_000_000_000) as u32, (at_ns % 1_000_000_000) as u32, frame.len() as u32, 0];
        let mut record: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
        record.extend(frame);
        record
    }

    fn capture(records: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
        let header = [NANOSECONDS, 0, 0, 0, 96, ETHERNET];
        header.into_iter().flat_map(u32::to_le_bytes).chain(records.into_iter().flatten()).collect()
    }

    #[test]
    fn a_time_is_from_a_request_to_its_answer() {
        const S: u64 = 1_000_000_000;
        let records = [
            record(S - 10, 4000, 80, 7),
            // What brings nothing is no answer, and a second piece no second request.
            record(S - 5, 80, 4000, 0),
            record(S, 4000, 80, 9),
            record(S + 20, 80, 4000, 100),
            record(S + 25, 80, 4000, 100),
            record(S + 40, 4000, 80, 0),
            record(S + 50, 4000, 80, 7),
            record(S + 90, 80, 4000, 1),
        ];
        let mut bytes = capture(records);
        assert_eq!(times_ns(&bytes, 80), Some(vec![30, 40]));
        assert_eq!(times_ns(&bytes, 81), Some(vec![]));
        bytes.truncate(bytes.len() - 1);
        assert_eq!(times_ns(&bytes, 80), Some(vec![30]), "half a frame counts for nothing");
        bytes[0] = 0;
        assert_eq!(times_ns(&bytes, 80), None);
        for len in 0..bytes.len() {
            let _ = times_ns(&bytes[..len], 80);
            let _ = brings(&bytes[..len]);
        }
    }

    #[test]
    fn mean_deviation_and_the_slowest_hundredth() {
        let times: Vec<u64> = (0..200).map(|number| if number < 198 { 10_000 } else { 110_000 }).collect();
        let wire = Wire::of(times).unwrap();
        assert_eq!((wire.mean_us, wire.p99_us), (11.0, 110.0));
        assert!((wire.deviation_us - 9.95).abs() < 0.01, "{}", wire.deviation_us);
        assert_eq!(Wire::of(vec![1; REQUESTS_MIN - 1]), None);
    }

    #[test]
    fn what_was_lost_is_read() {
        let report = "8 packets captured\n9 packets received by filter\n3 packets dropped by kernel\n";
        assert_eq!(lost(report), Some(3));
        assert_eq!(lost("tcpdump: pcap_loop: The interface disappeared\n"), None);
    }
}
