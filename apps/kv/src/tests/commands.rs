//! Random command lines: with every kind of right and wrong in them.

use super::Random;
use std::string::String;
use std::vec::Vec;

/// Command lines with every kind of right and wrong in them; `get` with keys up to `get_key_max` bytes.
pub(super) fn random_commands(random: &mut Random, commands: usize, get_key_max: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..commands {
        let key = std::format!("key{}", random.below(12));
        let end = if random.below(8) == 0 { "\n" } else { "\r\n" };
        let line = match random.below(24) {
            0..8 => {
                let len = match random.below(8) {
                    0 => 0,
                    1 => 100 + random.below(60),
                    2 => 1_000 + random.below(3_000),
                    _ => random.below(40),
                };
                let flags = random.below(100_000);
                let time = [0, 0, 0, 100, -1][random.below(5)];
                let option = ["", "", "", " noreply", " other"][random.below(5)];
                let value: String = (0..len).map(|_| (b'a' + random.below(26) as u8) as char).collect();
                std::format!("set {key} {flags} {time} {len}{option}{end}{value}\r\n")
            }
            8..14 => std::format!("get {key}{end}"),
            14 => std::format!("get {key} nothing key1  key2 key3 {key} {end}"),
            15 => std::format!("get{}{end}", " key1 none".repeat(random.below(400))),
            16 => std::format!("delete {key}{end}"),
            17 => std::format!(
                "delete {key} {}{end}",
                ["0", "1", "noreply", "0 noreply", "1 noreply", "a b c"][random.below(6)]
            ),
            18 => std::format!("set {key} 0 0 3\r\nabcdef\r\n"),
            19 => std::format!("get {}{end}", "k".repeat(248 + random.below(get_key_max - 247))),
            20 => std::format!("set {} 0 0 2\r\nab\r\n", "k".repeat(248 + random.below(6))),
            21 => std::format!("set {key} 0 0 1048576\r\n{}\r\n", "x".repeat(1_048_576)),
            22 => std::format!(
                "set {key} {} 0 2\r\nab\r\n",
                ["-1", "x", "1.5", "4294967297", "+1"][random.below(5)]
            ),
            _ => std::format!(
                "{}{end}",
                ["", " ", "get", "set", "bogus", "set a", "delete", "GET a"][random.below(8)]
            ),
        };
        out.extend_from_slice(line.as_bytes());
    }
    out
}

fn pick<'a>(random: &mut Random, choices: &[&'a str]) -> &'a str {
    choices[random.below(choices.len())]
}

/// Flags of meta commands, some of them wrong.
fn flags(random: &mut Random, choices: &[&str]) -> String {
    let mut out = String::new();
    for _ in 0..random.below(5) {
        out.push(' ');
        out.push_str(pick(random, choices));
        if random.below(60) == 0 {
            out.push_str(pick(random, &[" !", " Tx", " M", " q q", " \u{7f}"]));
        }
    }
    out
}

/// Every command that changes items, and every meta command. Left out is what a test cannot know: times that run, and
/// what memcached 1.6.18 itself does depending on how it happens to read.
pub(super) fn changing_commands(random: &mut Random, commands: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..commands {
        let binary = random.below(6) == 0;
        let key = std::format!("k{}", random.below(6));
        // `bDEwMA==` and its like: keys of their own, spelled in base 64.
        let meta_key = if binary {
            std::format!("azEw{}", pick(random, &["MA==", "MTA=", "MTEy"]))
        } else {
            key.clone()
        };
        let b = if binary { " b" } else { "" };
        let noreply = pick(random, &["", "", "", " noreply"]);
        let unique = 1 + random.below(1 + out.len() / 60);
        let value = match random.below(5) {
            0 => std::format!("{}", random.below(2000)),
            1 => pick(
                random,
                &["18446744073709551615", "18446744073709551616", "-1", "-5", " 7", "9 ", "1x", ""],
            )
            .into(),
            2 => "v".repeat(random.below(600)),
            _ => "w".repeat(random.below(12)),
        };
        let len = value.len();
        let time = pick(random, &["0", "0", "100", "-1", "2592001", "4000000000"]);
        let line = match random.below(34) {
            0..3 => std::format!("set {key} {} {time} {len}{noreply}\r\n{value}\r\n", random.below(99)),
            3 => std::format!("add {key} 1 0 {len}{noreply}\r\n{value}\r\n"),
            4 => std::format!("replace {key} 2 0 {len}{noreply}\r\n{value}\r\n"),
            5 => std::format!("append {key} 3 0 {len}{noreply}\r\n{value}\r\n"),
            6 => std::format!("prepend {key} 4 0 {len}{noreply}\r\n{value}\r\n"),
            7 | 8 => std::format!("cas {key} 5 0 {len} {unique}{noreply}\r\n{value}\r\n"),
            9 => std::format!("gets {key} k1 k2\r\n"),
            10 | 11 => {
                let delta = pick(random, &["1", "10", "0", "18446744073709551615", "x", "-1", "1 2 3"]);
                // Memcached changes a number in place only once the answers that hold it are away.
                std::format!("mn\r\n{} {key} {delta}{noreply}\r\n", pick(random, &["incr", "decr"]))
            }
            12 => std::format!("touch {key} {}{noreply}\r\n", pick(random, &["0", "100", "-1", "x", ""])),
            13 => std::format!(
                "{} {} {key} k3\r\n",
                pick(random, &["gat", "gats"]),
                pick(random, &["0", "50", "-1", "x"])
            ),
            // With a delay, what an earlier order had flushed comes back in memcached 1.6.18.
            14 if random.below(4) == 0 => {
                std::format!("flush_all{}{noreply}\r\n", pick(random, &["", " 0", " -5", " x"]))
            }
            15 => std::format!("verbosity{}{noreply}\r\n", pick(random, &["", " 0", " x", " 1 2"])),
            16 => std::format!("delete {key}{noreply}\r\n"),
            17 => {
                let words = [
                    "mg", "ms", "md", "ma", "me", "mx", "ms k1", "ms k1 x", "ms k1 -1", "incr k1", "touch",
                    "gat",
                ];
                std::format!("{}\r\n", words[random.below(words.len())])
            }
            18..23 => {
                let choices = [
                    "k",
                    "v",
                    "c",
                    "f",
                    "s",
                    "q",
                    "h",
                    "u",
                    "Oabc",
                    "T0",
                    "R30",
                    "t",
                    "O123456789012345678901234567890123",
                ];
                let vivify = if random.below(4) == 0 && !binary { " N100" } else { "" };
                // Memcached makes the item even when it then finds fault with the opaque word.
                let choices = &choices[..choices.len() - usize::from(!vivify.is_empty())];
                // An item that was lengthened forgets that its key was spelled in base 64; ours does not.
                let choices = &choices[usize::from(binary)..];
                std::format!("mg {meta_key}{b}{vivify}{}\r\n", flags(random, choices))
            }
            23..28 => {
                let choices = [
                    "F5", "T0", "T100", "c", "k", "q", "I", "Oxyz", "MS", "ME", "MA", "MP", "MR", "MX", "S3",
                ];
                let compare = if random.below(3) == 0 { std::format!(" C{unique}") } else { String::new() };
                std::format!("ms {meta_key} {len}{b}{compare}{}\r\n{value}\r\n", flags(random, &choices))
            }
            28 => {
                let compare = if random.below(3) == 0 { std::format!(" C{unique}") } else { String::new() };
                std::format!(
                    "md {meta_key}{b}{compare}{}\r\n",
                    flags(random, &["q", "k", "I", "T30", "Oq", "I"])
                )
            }
            29..32 => {
                let choices =
                    ["N0", "v", "c", "q", "k", "t", "T0", "J13", "D5", "MI", "M+", "MD", "M-", "MX", "Oop"];
                // An item that it makes itself forgets that its key was spelled in base 64; ours does not.
                let choices = &choices[usize::from(binary)..];
                std::format!("mn\r\nma {meta_key}{b}{}\r\n", flags(random, choices))
            }
            32 => std::format!("mn {}\r\n", pick(random, &["", "x"])),
            _ => std::format!("ms {meta_key} 2{b}{}\r\nabcd\r\n", flags(random, &["q", "c", "I"])),
        };
        out.extend_from_slice(line.as_bytes());
    }
    out
}
