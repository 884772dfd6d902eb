//! Bulk with the card's offloads against the same without: which pays here.
//!
//! - `virtio.bulk_send_ratio`: bytes that the driver alone gets out, in segments that the card cuts, against segments
//!   of its own; counted by the host's interface. They are addressed to nobody, so the host looks no further.
//! - `virtio.bulk_receive_ratio`: values that the host's own TCP hands to the cache in a guest, merged by the card against
//!   segment by segment; each value is read back once and compared.
//! - `virtio.bulk_get_ratio`: the same values on their way back to the host's TCP, handed to the card in large segments
//!   against segment by segment; every one is compared. `virtio.bulk_get_bytes_per_frame` shows that they were large.
//!
//! `offloads = auto` does what won here.

use crate::emulator_threads as threads;
use crate::figures::Figure;
use crate::tap_home::{self, Guest, in_own_network};
use nom_machine::image;
use nom_machine::machine::Nameless;
use nom_machine::trouble::{Context, Outcome, Trouble};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

const MEASURED: Duration = Duration::from_millis(1500);
const WARM: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of a value.
const VALUE_LEN: usize = 512 << 10;
/// Names of the values that are set in turn.
const KEYS: u64 = 4;
const PORT: u16 = 11_211;

/// Measures both directions, with and without, in turns.
pub fn measure(programs: &[PathBuf], runs: usize, progress: &mut dyn FnMut(&str)) -> Outcome<Vec<Figure>> {
    let source = |how: &str| {
        let configuration = format!("image.trusted = yes\nkernel.heap = 4 MiB\n# reflect = source {how}\n");
        Nameless::new(&image::assemble(&programs[0], &configuration, &[("drivers", &programs[1])])?)
    };
    let cache = |offloads: &str| {
        let configuration = format!(
            "listen = {PORT}\naddress = 10.77.0.2/24\nconnections = 64\nmemory.items = 8 MiB\ntuner = off\n\
             memory.send = 1 MiB\nmemory.receive = 2 MiB\noffloads = {offloads}\nkernel.heap = 18 MiB\n\
             image.trusted = yes\n"
        );
        Nameless::new(&image::assemble(&programs[0], &configuration, &[("kv", &programs[2])])?)
    };
    let (large, plain) = (source("large")?, source("plain")?);
    let (merged, single, all) = (cache("merging")?, cache("checksum")?, cache("all")?);
    let mut seen = [const { Vec::new() }; 4];
    let (mut got, mut got_cut) = (Vec::new(), Vec::new());
    for run in 0..runs {
        let round = [
            in_own_network(|| sent(&plain))?,
            in_own_network(|| sent(&large))?,
            in_own_network(|| received(&single))?,
            in_own_network(|| received(&merged))?,
        ];
        progress(&format!(
            "round {} of {runs}: sends {:.2} Gbit/s, cut by the card {:.2}; receives {:.2}, merged {:.2}",
            run + 1,
            round[0],
            round[1],
            round[2],
            round[3]
        ));
        seen.iter_mut().zip(round).for_each(|(runs, value)| runs.push(value));
        let round = [in_own_network(|| served(&merged))?, in_own_network(|| served(&all))?];
        progress(&format!(
            "round {} of {runs}: answers {:.2} Gbit/s, cut by the card {:.2} in frames of {:.0} bytes",
            run + 1,
            round[0][0],
            round[1][0],
            round[1][1]
        ));
        got.push(round[0]);
        got_cut.push(round[1]);
    }
    let column = |rows: &[[f64; 2]], at: usize| rows.iter().map(|row| row[at]).collect::<Vec<f64>>();
    let [plain, large, single, merged] = &seen;
    let ratio = |with: &[f64], without: &[f64]| -> Vec<f64> {
        with.iter().zip(without).map(|(with, without)| with / without).collect()
    };
    let figures = [
        Figure::of("virtio.bulk_send_ratio", "x", None, &ratio(large, plain))
            .map(|figure| figure.against("segments of its own")),
        Figure::of("virtio.bulk_send_gbit_per_s", "Gbit/s", None, large),
        Figure::of("virtio.bulk_send_plain_gbit_per_s", "Gbit/s", None, plain),
        Figure::of("virtio.bulk_get_ratio", "x", None, &ratio(&column(&got_cut, 0), &column(&got, 0)))
            .map(|figure| figure.against("segments of its own")),
        Figure::of("virtio.bulk_get_gbit_per_s", "Gbit/s", None, &column(&got_cut, 0)),
        Figure::of("virtio.bulk_get_plain_gbit_per_s", "Gbit/s", None, &column(&got, 0)),
        Figure::of("virtio.bulk_get_bytes_per_frame", "", None, &column(&got_cut, 1)),
        Figure::of("virtio.bulk_receive_ratio", "x", None, &ratio(merged, single))
            .map(|figure| figure.against("segment by segment")),
        Figure::of("virtio.bulk_receive_gbit_per_s", "Gbit/s", None, merged),
        Figure::of("virtio.bulk_receive_plain_gbit_per_s", "Gbit/s", None, single),
    ];
    Ok(figures.into_iter().flatten().collect())
}

/// What the guest sends, in Gbit/s as the host's interface counts it.
fn sent(image: &Nameless) -> Outcome<f64> {
    let guest = Guest::start(image, 1)?;
    let _apart = threads::apart(guest.id())?;
    let deadline = Instant::now() + PATIENCE;
    while tap_home::received()?.0 == 0 {
        if Instant::now() > deadline {
            return Err(Trouble::new(format!(
                "the source is silent; its last words: {}",
                guest.last_words()
            )));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(WARM);
    let (before, started) = (tap_home::received()?.0, Instant::now());
    std::thread::sleep(MEASURED);
    let bytes = tap_home::received()?.0 - before;
    if bytes == 0 {
        return Err(Trouble::new(format!("the source fell silent; its last words: {}", guest.last_words())));
    }
    Ok(bytes as f64 * 8.0 / 1e9 / started.elapsed().as_secs_f64())
}

/// What the cache takes, in Gbit/s of values.
fn received(image: &Nameless) -> Outcome<f64> {
    let guest = Guest::start(image, 1)?;
    let _apart = threads::apart(guest.id())?;
    let mut stream = connect(&guest)?;
    let value = value();
    let warm = Instant::now();
    let mut number = 0;
    while warm.elapsed() < WARM || number < KEYS {
        set(&mut stream, number, &value)?;
        number += 1;
    }
    let (started, first) = (Instant::now(), number);
    while started.elapsed() < MEASURED {
        set(&mut stream, number, &value)?;
        number += 1;
    }
    let gbit = gbit_per_s(number - first, started);
    for key in 0..KEYS {
        compare(&mut stream, key, &value)?;
    }
    Ok(gbit)
}

/// What the cache answers, in Gbit/s of values, and the bytes of a frame that the host's interface counts.
fn served(image: &Nameless) -> Outcome<[f64; 2]> {
    let guest = Guest::start(image, 1)?;
    let _apart = threads::apart(guest.id())?;
    let mut stream = connect(&guest)?;
    let value = value();
    for number in 0..KEYS {
        set(&mut stream, number, &value)?;
        compare(&mut stream, number, &value)?;
    }
    let (before, started, mut number) = (tap_home::received()?, Instant::now(), 0);
    while started.elapsed() < MEASURED {
        compare(&mut stream, number % KEYS, &value)?;
        number += 1;
    }
    let gbit = gbit_per_s(number, started);
    let after = tap_home::received()?;
    Ok([gbit, (after.0 - before.0) as f64 / (after.1 - before.1).max(1) as f64])
}

fn gbit_per_s(values: u64, since: Instant) -> f64 {
    values as f64 * VALUE_LEN as f64 * 8.0 / 1e9 / since.elapsed().as_secs_f64()
}

fn value() -> Vec<u8> {
    (0..VALUE_LEN).map(|at| (at / 3) as u8).collect()
}

fn set(stream: &mut TcpStream, number: u64, value: &[u8]) -> Outcome<()> {
    let broken = || "the cache does not take values".to_string();
    let mut request = format!("set value{} 0 0 {VALUE_LEN}\r\n", number % KEYS).into_bytes();
    request.extend_from_slice(value);
    request.extend_from_slice(b"\r\n");
    stream.write_all(&request).context(broken)?;
    let mut answer = [0; 8];
    stream.read_exact(&mut answer).context(broken)?;
    if &answer == b"STORED\r\n" { Ok(()) } else { Err(Trouble::new(broken())) }
}

/// Reads a value back.
fn compare(stream: &mut TcpStream, key: u64, value: &[u8]) -> Outcome<()> {
    let wrong = || format!("value{key} is not what was set");
    stream.write_all(format!("get value{key}\r\n").as_bytes()).context(wrong)?;
    let head = format!("VALUE value{key} 0 {VALUE_LEN}\r\n");
    let mut answer = vec![0; head.len() + VALUE_LEN + b"\r\nEND\r\n".len()];
    stream.read_exact(&mut answer).context(wrong)?;
    let good = answer.starts_with(head.as_bytes()) && &answer[head.len()..][..VALUE_LEN] == value;
    if good { Ok(()) } else { Err(Trouble::new(wrong())) }
}

fn connect(guest: &Guest) -> Outcome<TcpStream> {
    let address = SocketAddr::from((Ipv4Addr::new(10, 77, 0, 2), PORT));
    let deadline = Instant::now() + PATIENCE;
    loop {
        match TcpStream::connect_timeout(&address, Duration::from_millis(500)) {
            Ok(stream) => {
                stream.set_nodelay(true).context(|| "cannot send at once".into())?;
                stream.set_read_timeout(Some(PATIENCE)).context(|| "cannot set a time-out".into())?;
                return Ok(stream);
            }
            Err(error) if Instant::now() > deadline => {
                let words = guest.last_words();
                return Err(Trouble::new(format!("the cache is silent ({error}); its last words: {words}")));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}
