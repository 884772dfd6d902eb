//! A recording with everything that is awkward: values from nothing to 100 KiB, misses, deletes, pipelines, silent
//! and malformed requests, requests in pieces, and connections that end in the midst of something.
//!
//! Each connection has keys of its own and they all fit into the cache, so what is answered does not depend on how
//! the connections are interleaved. Nothing is asked that has another answer in each home: no `stats`, no unique
//! numbers, no times but "never" and "at once".

use nom_load::random::Random;
use nom_load::recording::{Arrival, Recording};

/// Mean number of arrivals in a second, over all connections.
const PER_S: f64 = 400.0;
/// Keys of one connection: large values, values of some kilobytes, and small ones.
const KEYS: u64 = 20;
const LARGE_KEYS: u64 = 2;
const MEDIUM_KEYS: u64 = 7;
/// Longest value.
const VALUE_LEN_MAX: usize = 100 << 10;
/// A value that is beyond `item.max` of the test's configuration.
const TOO_LARGE: usize = 150_000;
/// What is no request, or a refused one. Each has the same error in every home.
const MALFORMED: &[&[u8]] = &[
    b"\r\n",
    b"get\r\n",
    b"nonsense\r\n",
    b"GET upper\r\n",
    b"set a\r\n",
    b"set a 0 0 x\r\n",
    b"set a -1 0 1\r\n",
    b"set a 0 0 99999999999\r\n",
    b"delete\r\n",
    b"delete a 1 2 3\r\n",
    b"get \x01\xff\x00\r\n",
    b"set a 0 0 3\r\nlonger than said\r\n",
];
/// Time between the pieces of a request, at most.
const PIECE_US: u64 = 3_000;

/// Draws a recording of so long.
pub fn draw(seed: u64, connections: u32, duration_us: u64) -> Recording {
    let mut random = Random::new(seed);
    let mut arrivals = Vec::new();
    // When each connection's last piece leaves: the next request is not before it.
    let mut busy_us = vec![0; connections as usize];
    let mut add = |arrivals: &mut Vec<Arrival>, time_us: u64, connection: u32, request: Vec<u8>| {
        let busy = &mut busy_us[connection as usize];
        *busy = time_us.max(*busy + 1);
        arrivals.push(Arrival { time_us: *busy, connection, request });
    };
    // The shortest and the longest value on every connection, and one that is refused.
    for connection in 0..connections {
        for (key, len) in [(0, VALUE_LEN_MAX), (LARGE_KEYS, 0), (1, TOO_LARGE)] {
            add(&mut arrivals, 0, connection, set(connection, key, len, &mut random));
            add(&mut arrivals, 0, connection, get(connection, &[key]));
        }
    }
    let mut time_us = 0.0;
    loop {
        time_us += random.exponential(1e6 / PER_S);
        if time_us >= duration_us as f64 {
            break;
        }
        let connection = random.below(u64::from(connections)) as u32;
        let requests = if random.chance(0.1) { 2 + random.below(7) } else { 1 };
        let bytes: Vec<u8> = (0..requests).flat_map(|_| request(connection, &mut random)).collect();
        let pieces = if random.chance(0.15) { 2 + random.below(4) as usize } else { 1 };
        let mut start_us = time_us as u64;
        for piece in split(&bytes, pieces, &mut random) {
            add(&mut arrivals, start_us, connection, piece.to_vec());
            start_us += 1 + random.below(PIECE_US);
        }
    }
    for (connection, last) in (0..connections).zip([
        b"quit\r\n".to_vec(),
        [b"get ".to_vec(), vec![b'k'; 3_000], b"\r\n".to_vec()].concat(),
        b"set cut 0 0 100\r\nnot all of it".to_vec(),
        b"get without-end".to_vec(),
    ]) {
        add(&mut arrivals, duration_us, connection, last);
    }
    Recording::new(arrivals)
}

/// One request of a connection.
fn request(connection: u32, random: &mut Random) -> Vec<u8> {
    let key = random.below(KEYS);
    match random.below(100) {
        0..45 => get(connection, &[key]),
        45..53 => {
            let keys: Vec<u64> = (0..2 + random.below(6)).map(|_| random.below(KEYS + 3)).collect();
            get(connection, &keys)
        }
        53..85 => {
            let len = len(key, random);
            set(connection, key, len, random)
        }
        85..88 => silent_set(connection, key, random),
        88..93 => format!("delete {}\r\n", name(connection, key)).into_bytes(),
        93..95 => format!("delete {} noreply\r\n", name(connection, key)).into_bytes(),
        95..96 => b"version\r\n".to_vec(),
        _ => MALFORMED[random.below(MALFORMED.len() as u64) as usize].to_vec(),
    }
}

/// The name of a key. Those beyond [`KEYS`] are never stored.
fn name(connection: u32, key: u64) -> String {
    // Some are as long as they may be.
    let width = if key == KEYS - 1 { 240 } else { 4 };
    format!("c{connection:03}-{key:0width$}")
}

fn len(key: u64, random: &mut Random) -> usize {
    let most = match key {
        0..LARGE_KEYS => VALUE_LEN_MAX,
        LARGE_KEYS..MEDIUM_KEYS => 4_000,
        _ => 300,
    };
    random.below(most as u64 + 1) as usize
}

fn get(connection: u32, keys: &[u64]) -> Vec<u8> {
    let names: Vec<String> = keys.iter().map(|key| name(connection, *key)).collect();
    format!("get {}\r\n", names.join(" ")).into_bytes()
}

fn set(connection: u32, key: u64, len: usize, random: &mut Random) -> Vec<u8> {
    // A few are past their time at once.
    let expires = if random.chance(0.03) { -1 } else { 0 };
    let head = format!("set {} {} {expires} {len}\r\n", name(connection, key), random.below(1 << 32));
    [head.into_bytes(), value(len, random), b"\r\n".to_vec()].concat()
}

fn silent_set(connection: u32, key: u64, random: &mut Random) -> Vec<u8> {
    let len = len(key, random).min(500);
    let head = format!("set {} 1 0 {len} noreply\r\n", name(connection, key));
    [head.into_bytes(), value(len, random), b"\r\n".to_vec()].concat()
}

/// Any bytes, line ends and what looks like answers among them.
fn value(len: usize, random: &mut Random) -> Vec<u8> {
    let mut value = Vec::with_capacity(len + 8);
    while value.len() < len {
        match random.below(40) {
            0 => value.extend_from_slice(b"\r\nEND\r\n"),
            _ => value.extend_from_slice(&random.next().to_le_bytes()),
        }
    }
    value.truncate(len);
    value
}

/// Cuts bytes at random places.
fn split<'a>(bytes: &'a [u8], pieces: usize, random: &mut Random) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = (1..pieces).map(|_| random.below(bytes.len() as u64) as usize).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    cuts.dedup();
    cuts.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_recording_and_it_survives_its_text() {
        let recording = draw(1, 5, 1_000_000);
        assert_eq!(recording, draw(1, 5, 1_000_000));
        assert_ne!(recording, draw(2, 5, 1_000_000));
        assert_eq!(recording.connections(), 5);
        assert_eq!(Recording::parse(&recording.to_text()).unwrap(), recording);
        // In pieces and in pipelines.
        let ends = |arrival: &Arrival| arrival.request.ends_with(b"\r\n");
        assert!(recording.arrivals.iter().filter(|arrival| !ends(arrival)).count() > 20);
        assert!(recording.arrivals.iter().any(|arrival| arrival.request.len() > VALUE_LEN_MAX));
    }
}
