//! The protocol as a client sees it: cut anywhere, and against a model. `lab/fuzz` compares it with a real memcached.

mod exact;

use crate::script;
pub(crate) use crate::script::lines::Random;
use crate::script::lines::{changing_commands, random_commands};
use crate::{Config, Kv};
use std::collections::HashMap;
use std::string::String;
use std::vec::Vec;

fn config() -> Config {
    Config::new(4 << 20, [3; 16], 5_000_000_000)
}

fn ask(input: &[u8]) -> (Vec<u8>, Kv) {
    let mut script = script::open(config(), usize::MAX);
    script.send(input);
    script.finish()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A reply that found no room is made again, and finds its item although that is past its new time.
#[test]
fn what_is_fetched_for_the_last_time_is_answered_however_slowly_it_is_read() {
    for value_len in [100, 300] {
        let mut script = script::open(config(), 2_048);
        let (mut line, mut expected) = (String::from("gats -1"), String::new());
        for key in 0..40 {
            let value = "v".repeat(value_len);
            script.send(std::format!("set k{key} 0 0 {value_len} noreply\r\n{value}\r\n").as_bytes());
            line += &std::format!(" k{key}");
            expected += &std::format!("VALUE k{key} 0 {value_len} {}\r\n{value}\r\n", key + 1);
        }
        script.send((line + "\r\nget k7\r\n").as_bytes());
        assert_eq!(text(&script.finish().0), expected + "END\r\nEND\r\n");
    }
}

#[test]
fn time_by_the_callers_clock() {
    let second = 1_000_000_000;
    let unix_s = 1_800_000_000u64;
    let mut script = script::open(Config { start_unix_ns: unix_s * second, ..config() }, usize::MAX);
    script.send(b"set a 0 10 1\r\nx\r\n");
    script.send(std::format!("set b 0 {} 1\r\nx\r\n", unix_s + 20).as_bytes());
    script.send(std::format!("set c 0 {} 1\r\nx\r\n", unix_s - 1).as_bytes());
    for (after_s, alive) in [(0, "ab"), (9, "ab"), (10, "b"), (19, "b"), (20, "")] {
        script.settle();
        script.output.clear();
        script.link.now_ns = config().start_ns + after_s * second;
        script.send(b"get a b c\r\n");
        script.settle();
        let expected: String = alive.chars().map(|key| std::format!("VALUE {key} 0 1\r\nx\r\n")).collect();
        assert_eq!(text(&script.output), expected + "END\r\n", "after {after_s} s");
    }
    assert_eq!(script.app.store().counts().expired, 3);
}

#[test]
fn a_delayed_flush_takes_what_was_there_before() {
    let mut script = script::open(config(), usize::MAX);
    script.send(b"set a 0 0 1\r\nx\r\nflush_all 3 noreply\r\n");
    for (after_s, answer) in [(1, "VALUE a 0 1\r\nx\r\nEND\r\n"), (3, "END\r\n")] {
        script.settle();
        script.output.clear();
        script.link.now_ns = config().start_ns + after_s * 1_000_000_000;
        script.send(b"get a\r\n");
        script.settle();
        assert_eq!(text(&script.output), answer, "after {after_s} s");
    }
    script.output.clear();
    script.send(b"set a 0 0 1\r\ny\r\nget a\r\n");
    script.settle();
    assert_eq!(text(&script.output), "STORED\r\nVALUE a 0 1\r\ny\r\nEND\r\n");
    assert_eq!(script.app.store().counts().flushed, 1);
}

#[test]
fn every_cut_gives_the_same_answers() {
    let input = b"set a 1 0 200\r\n".iter().copied().chain([b'y'; 200]).chain(
        *b"\r\nget a b a\r\nset b 0 0 3\r\nabcd\r\nset b 0 0 2\r\nab\r\ngets b a\r\nx\r\ndelete b\r\nget  a \r\nversion\r\n",
    );
    let input: Vec<u8> = input.collect();
    let (expected, _) = ask(&input);
    for first in 0..input.len() {
        for second in [first, (first + 1).min(input.len()), (first + 17).min(input.len())] {
            let mut script = script::open(config(), 2048);
            for part in [&input[..first], &input[first..second], &input[second..]] {
                script.send(part);
            }
            assert_eq!(text(&script.finish().0), text(&expected), "cut at {first} and {second}");
        }
    }
}

#[test]
fn random_commands_cut_anywhere_read_at_any_pace() {
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let input = random_commands(&mut random, 120, 253);
        let (expected, _) = ask(&input);
        let mut script = script::open(config(), 2048 + random.below(8000));
        let mut rest = &input[..];
        while !rest.is_empty() {
            let most = [40, 40, 40, 3000][random.below(4)];
            let len = 1 + random.below(most);
            let (part, after) = rest.split_at(len.min(rest.len()));
            script.send(part);
            script.deliver(random.below(4));
            rest = after;
        }
        let (output, kv) = script.finish();
        assert!(output == expected, "seed {seed}");
        assert_eq!(kv.store().counts().pins, 0);
    }
}

#[test]
fn a_model_gives_the_same_answers() {
    let mut random = Random::new(5);
    let mut model: HashMap<String, (usize, String)> = HashMap::new();
    let mut script = script::open(config(), usize::MAX);
    let mut expected = String::new();
    for _ in 0..20_000 {
        let key = std::format!("k{}", random.below(50));
        match random.below(4) {
            0 => {
                let flags = random.below(1000);
                let value = "v".repeat(random.below(300));
                script.send(std::format!("set {key} {flags} 0 {}\r\n{value}\r\n", value.len()).as_bytes());
                model.insert(key, (flags, value));
                expected += "STORED\r\n";
            }
            1 => {
                script.send(std::format!("delete {key}\r\n").as_bytes());
                expected += if model.remove(&key).is_some() { "DELETED\r\n" } else { "NOT_FOUND\r\n" };
            }
            _ => {
                script.send(std::format!("get {key}\r\n").as_bytes());
                if let Some((flags, value)) = model.get(&key) {
                    expected += &std::format!("VALUE {key} {flags} {}\r\n{value}\r\n", value.len());
                }
                expected += "END\r\n";
            }
        }
    }
    script.settle();
    assert_eq!(script.link.accepted, 20_000);
    assert!(text(&script.output) == expected);
}

#[test]
fn a_broken_connection_leaves_nothing_behind() {
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let input = random_commands(&mut random, 30, 253);
        let mut script = script::open(config(), 2048 + random.below(3000));
        script.send(b"set key1 0 0 3000\r\n");
        script.send(&[b'x'; 3000]);
        script.send(b"\r\n");
        script.send(&input[..random.below(input.len())]);
        script.deliver(random.below(20));
        let kv = script.reset();
        let counts = kv.store().counts();
        assert_eq!(counts.pins, 0);
        assert!(counts.items > 0 || counts.used_bytes == 0);
    }
}

#[test]
fn a_reader_that_stops_holds_little() {
    let mut script = script::open(config(), 16_384);
    script.send(b"set a 0 0 1000\r\n");
    script.send(&[b'x'; 1000]);
    script.send(b"\r\n");
    script.settle();
    for _ in 0..1000 {
        script.send(b"get a\r\n");
    }
    assert!(script.app.store().counts().pins < 20, "pins are bounded by the room there is");
    script.settle();
    assert_eq!(script.link.accepted, 1001);
    assert_eq!(script.finish().1.store().counts().pins, 0);
}

#[test]
fn arbitrary_bytes() {
    for seed in 0..400 {
        let mut random = Random::new(seed);
        let mut data: Vec<u8> = (0..16).map(|_| random.bits() as u8).collect();
        data.extend(random_commands(&mut random, 8, 253));
        data.extend(changing_commands(&mut random, 40));
        data.truncate(16 + 30_000);
        for _ in 0..random.below(30) {
            let place = 16 + random.below(data.len() - 16);
            data[place] = b" \r\n0z\0"[random.below(6)];
        }
        script::fuzz(&data);
    }
}

#[test]
fn a_flush_that_is_not_allowed_throws_nothing_away() {
    let mut script = script::open(Config { may_flush: false, ..config() }, usize::MAX);
    script.send(b"set a 0 0 1\r\nx\r\nflush_all\r\nflush_all noreply\r\nget a\r\n");
    script.settle();
    let text = String::from_utf8_lossy(&script.output).into_owned();
    assert_eq!(text, "STORED\r\nCLIENT_ERROR flush_all not allowed\r\nVALUE a 0 1\r\nx\r\nEND\r\n");
}
