//! Random command lines, with every kind of right and wrong in them: what tests and the fuzzer let a client say.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// A small seeded generator.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// A number below this one.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.bits() % bound as u64) as usize
    }
}

/// Lines of the commands that clients use most; `get` with keys up to `get_key_max` bytes.
pub fn random_commands(random: &mut Random, commands: usize, get_key_max: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..commands {
        let key = format!("key{}", random.below(12));
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
                format!("set {key} {flags} {time} {len}{option}{end}{value}\r\n")
            }
            8..14 => format!("get {key}{end}"),
            14 => format!("get {key} nothing key1  key2 key3 {key} {end}"),
            15 => format!("get{}{end}", " key1 none".repeat(random.below(400))),
            16 => format!("delete {key}{end}"),
            17 => format!(
                "delete {key} {}{end}",
                ["0", "1", "noreply", "0 noreply", "1 noreply", "a b c"][random.below(6)]
            ),
            18 => format!("set {key} 0 0 3\r\nabcdef\r\n"),
            19 => format!("get {}{end}", "k".repeat(248 + random.below(get_key_max - 247))),
            20 => format!("set {} 0 0 2\r\nab\r\n", "k".repeat(248 + random.below(6))),
            21 => format!("set {key} 0 0 1048576\r\n{}\r\n", "x".repeat(1_048_576)),
            22 => {
                format!("set {key} {} 0 2\r\nab\r\n", ["-1", "x", "1.5", "4294967297", "+1"][random.below(5)])
            }
            _ => format!(
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
pub fn changing_commands(random: &mut Random, commands: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..commands {
        let line = changing(random, out.len());
        out.extend_from_slice(line.as_bytes());
    }
    out
}

/// One of them, with its data. The more was said before, the higher are the numbers of items that it knows.
fn changing(random: &mut Random, said: usize) -> String {
    let binary = random.below(6) == 0;
    let key = format!("k{}", random.below(6));
    // `bDEwMA==` and its like: keys of their own, spelled in base 64.
    let meta_key =
        if binary { format!("azEw{}", pick(random, &["MA==", "MTA=", "MTEy"])) } else { key.clone() };
    let b = if binary { " b" } else { "" };
    let noreply = pick(random, &["", "", "", " noreply"]);
    let unique = 1 + random.below(1 + said / 60);
    let value = match random.below(5) {
        0 => format!("{}", random.below(2000)),
        1 => {
            pick(random, &["18446744073709551615", "18446744073709551616", "-1", "-5", " 7", "9 ", "1x", ""])
                .into()
        }
        2 => "v".repeat(random.below(600)),
        _ => "w".repeat(random.below(12)),
    };
    let len = value.len();
    let time = pick(random, &["0", "0", "100", "-1", "2592001", "4000000000"]);
    match random.below(34) {
        0..3 => format!("set {key} {} {time} {len}{noreply}\r\n{value}\r\n", random.below(99)),
        3 => format!("add {key} 1 0 {len}{noreply}\r\n{value}\r\n"),
        4 => format!("replace {key} 2 0 {len}{noreply}\r\n{value}\r\n"),
        5 => format!("append {key} 3 0 {len}{noreply}\r\n{value}\r\n"),
        6 => format!("prepend {key} 4 0 {len}{noreply}\r\n{value}\r\n"),
        7 | 8 => format!("cas {key} 5 0 {len} {unique}{noreply}\r\n{value}\r\n"),
        9 => format!("gets {key} k1 k2\r\n"),
        10 | 11 => {
            let delta = pick(random, &["1", "10", "0", "18446744073709551615", "x", "-1", "1 2 3"]);
            // Memcached changes a number in place only once the answers that hold it are away.
            format!("mn\r\n{} {key} {delta}{noreply}\r\n", pick(random, &["incr", "decr"]))
        }
        12 => format!("touch {key} {}{noreply}\r\n", pick(random, &["0", "100", "-1", "x", ""])),
        13 => format!(
            "{} {} {key} k3\r\n",
            pick(random, &["gat", "gats"]),
            pick(random, &["0", "50", "-1", "x"])
        ),
        // With a delay, what an earlier order had flushed comes back in memcached 1.6.18.
        14 if random.below(4) == 0 => {
            format!("flush_all{}{noreply}\r\n", pick(random, &["", " 0", " -5", " x"]))
        }
        15 => format!("verbosity{}{noreply}\r\n", pick(random, &["", " 0", " x", " 1 2"])),
        16 => format!("delete {key}{noreply}\r\n"),
        17 => {
            let words = [
                "mg", "ms", "md", "ma", "me", "mx", "ms k1", "ms k1 x", "ms k1 -1", "incr k1", "touch", "gat",
            ];
            format!("{}\r\n", words[random.below(words.len())])
        }
        18..23 => {
            let choices = ["k", "v", "c", "f", "s", "q", "h", "u", "Oabc", "T0", "R30", "t"];
            let vivify = if random.below(4) == 0 && !binary { " N100" } else { "" };
            // Memcached makes the item even when it then finds fault with the opaque word.
            let choices = &choices[..choices.len() - usize::from(!vivify.is_empty())];
            // An item that was lengthened forgets that its key was spelled in base 64; ours does not.
            let choices = &choices[usize::from(binary)..];
            format!("mg {meta_key}{b}{vivify}{}\r\n", flags(random, choices))
        }
        23..28 => {
            let choices =
                ["F5", "T0", "T100", "c", "k", "q", "I", "Oxyz", "MS", "ME", "MA", "MP", "MR", "MX", "S3"];
            let compare = if random.below(3) == 0 { format!(" C{unique}") } else { String::new() };
            format!("ms {meta_key} {len}{b}{compare}{}\r\n{value}\r\n", flags(random, &choices))
        }
        28 => {
            let compare = if random.below(3) == 0 { format!(" C{unique}") } else { String::new() };
            format!("md {meta_key}{b}{compare}{}\r\n", flags(random, &["q", "k", "I", "T30", "Oq", "I"]))
        }
        29..32 => {
            let choices =
                ["N0", "v", "c", "q", "k", "t", "T0", "J13", "D5", "MI", "M+", "MD", "M-", "MX", "Oop"];
            // An item that it makes itself forgets that its key was spelled in base 64; ours does not.
            let choices = &choices[usize::from(binary)..];
            format!("mn\r\nma {meta_key}{b}{}\r\n", flags(random, choices))
        }
        32 => format!("mn {}\r\n", pick(random, &["", "x"])),
        _ => format!("ms {meta_key} 2{b}{}\r\nabcd\r\n", flags(random, &["q", "c", "I"])),
    }
}

/// A line of any kind with its data, now and then with a byte changed.
pub fn any(random: &mut Random, said: usize) -> Vec<u8> {
    let mut line = match random.below(12) {
        0..4 => random_commands(random, 1, 250),
        4..11 => changing(random, said).into_bytes(),
        _ => return format!("{}\r\n", pick(random, OPERATORS)).into_bytes(),
    };
    // What is long is left as it is, how much of it memcached has read when it finds fault is chance; and keys in base
    // 64, where it overlooks what it does not know. The end stays, or two lines would become one with too long a key.
    if (2..=150).contains(&line.len())
        && !line.windows(3).any(|three| three == b"azE")
        && random.below(8) == 0
    {
        let place = random.below(line.len() - 1);
        let byte = b" \r\n0159z-+,:!\"\x7f\x80\xff"[random.below(16)];
        match random.below(3) {
            0 => line[place] = byte,
            1 => line.insert(place, byte),
            _ => _ = line.remove(place),
        }
    }
    line
}

/// What operators ask for, as far as the answer does not depend on the server.
const OPERATORS: &[&str] = &[
    "version",
    "version 1",
    "verbosity 1",
    "stats reset",
    "stats detail",
    "stats detail on",
    "stats detail off",
    "stats detail x",
    "stats nothing",
    "stats cachedump",
    "stats cachedump 0 1",
    "stats cachedump x 1",
    "cache_memlimit",
    "cache_memlimit x",
    "cache_memlimit 1",
    "lru",
    "lru mode other",
    "lru tune",
    "lru tune 10 25 0.1 2.0",
    "lru tune 10 25 0 2.0",
    "lru tune 50 31 0.1 2.0",
    "lru tune 50 31 0.1",
    "lru tune 10 20 0.1 2.0 noreply",
    "lru x noreply",
    "slabs automove 1 noreply",
    "slabs x noreply",
    "cache_memlimit 64 noreply",
    "cache_memlimit x noreply",
    "stats cachedump 40 1",
    "stats cachedump 64 1",
    "lru_crawler",
    "lru_crawler x",
    "lru_crawler crawl",
    "lru_crawler sleep x",
    "lru_crawler tocrawl x",
    "slabs automove noreply",
    "slabs automove 1 2",
    "slabs automove ratio",
    "slabs automove ratio 0.5",
    "slabs reassign 1 1 noreply",
    "cache_memlimit noreply",
    "cache_memlimit 7 8",
    "cache_memlimit 7 8 9",
    "cache_memlimit 1000000001",
    "verbosity noreply",
    "lru tune x 25 0.1 2.0",
    "lru temp_ttl x",
    "slabs",
    "slabs reassign 1 1",
    "slabs reassign x 1",
    "slabs automove 0",
    "slabs automove 3",
    "slabs automove x",
    "shutdown",
    "shutdown graceful",
    "debugtime 1",
    "misbehave",
    "bget k1",
    "me none",
    "mn q",
    "mn k v",
    "GET k1",
    "MG k1 v",
    "mg",
    "mg k1 v v",
    "gets",
    "touch k1",
    "incr k1",
    "cas k1 0 0 1\r\n",
    "flush_all noreply x",
];
