//! A cache on several cores with a client on each, without stacks and threads: cores take turns.

use crate::script::{self, Script};
use crate::shards::{Shards, Wake};
use crate::{Config, Kv};
use alloc::sync::Arc;
use alloc::vec::Vec;
use nom_stack::application::{Application, Ended};

/// Nobody sleeps here.
struct Awake;

impl Wake for Awake {
    fn wake(&self) {}
}

/// The cores.
#[derive(Debug)]
pub struct Cores {
    /// One client with its core each.
    pub scripts: Vec<Script>,
}

impl Cores {
    /// As many caches of this configuration, and a client on each whose queue has so much room.
    pub fn new(count: usize, config: &Config, room: usize) -> Self {
        let wakers: Vec<Arc<dyn Wake>> = (0..count).map(|_| Arc::new(Awake) as Arc<dyn Wake>).collect();
        let scripts = Shards::all([9; 16], &wakers).into_iter().map(|shards| {
            let mut script = script::open(config.clone(), room);
            script.app.join(shards);
            script
        });
        Self { scripts: scripts.collect() }
    }

    /// Each core has one turn. False when none of them had anything to do.
    pub fn turn(&mut self) -> bool {
        let mut any = false;
        for script in &mut self.scripts {
            let now_ns = script.link.now_ns;
            while let Some(id) = script.app.wanted(now_ns) {
                any = true;
                if id == script.link.id {
                    script.resume();
                }
            }
            any |= !script.app.may_rest();
        }
        any
    }

    /// Until nobody has anything to do, and all answers were read.
    pub fn settle(&mut self) {
        let mut quiet = 0;
        while quiet < 3 {
            for script in &mut self.scripts {
                script.settle();
            }
            quiet = if self.turn() { 0 } else { quiet + 1 };
        }
    }

    /// All clients send no more and read everything; the caches are left.
    pub fn finish(mut self) -> (Vec<Vec<u8>>, Vec<Kv>) {
        for script in &mut self.scripts {
            script.app.finished(&mut script.link);
        }
        self.settle();
        for script in &mut self.scripts {
            assert!(script.link.closed, "a finished connection is closed");
            script.app.ended(script.link.id, Ended::Closed);
        }
        self.settle();
        self.scripts.into_iter().map(|script| (script.output, script.app)).unzip()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::lines::{Random, changing_commands, random_commands};
    use crate::shards::Asked;
    use std::string::String;
    use std::vec;

    fn config() -> Config {
        Config { start_unix_ns: 1_800_000_000_000_000_000, ..Config::new(8 << 20, [8; 16], 0) }
    }

    /// Commands whose answers do not hold or compare the numbers of items, which each core counts for itself.
    fn commands(random: &mut Random) -> Vec<u8> {
        let mut out = Vec::new();
        for _ in 0..60 {
            let line = if random.below(2) == 0 {
                random_commands(random, 1, 250)
            } else {
                changing_commands(random, 1)
            };
            let head = &line[..line.len().min(300)];
            let numbered = [&b" c"[..], b" C", b"cas", b"gets", b"gats"];
            if !numbered.iter().any(|word| head.windows(word.len()).any(|part| part == *word)) {
                out.extend_from_slice(&line);
            }
        }
        out
    }

    #[test]
    fn a_client_cannot_tell_how_many_cores_there_are() {
        for seed in 0..24 {
            let mut random = Random::new(seed);
            let input = commands(&mut random);
            let mut alone = script::open(config(), usize::MAX);
            alone.send(&input);
            let counts = (alone.link.accepted, alone.link.refused);
            let (expected, _) = alone.finish();
            let room = [2048, 5000, usize::MAX][random.below(3)];
            let mut cores = Cores::new(2 + random.below(3), &config(), room);
            let mut rest = &input[..];
            while !rest.is_empty() {
                let most = [10, 400, 30_000][random.below(3)];
                let (part, after) = rest.split_at((1 + random.below(most)).min(rest.len()));
                cores.scripts[0].send(part);
                (0..random.below(4)).for_each(|_| _ = cores.turn());
                cores.scripts[0].deliver(random.below(3));
                rest = after;
            }
            cores.settle();
            let link = &cores.scripts[0].link;
            assert_eq!((link.accepted, link.refused), counts, "seed {seed}");
            assert!(cores.scripts[0].app.shard_counters().sent > 0);
            let (outputs, caches) = cores.finish();
            let place = outputs[0].iter().zip(&expected).position(|(one, other)| one != other);
            assert!(
                outputs[0] == expected,
                "seed {seed}, at {place:?}: {} {}",
                outputs[0].len(),
                expected.len()
            );
            for kv in caches {
                assert!(kv.shards.as_ref().unwrap().is_unused(), "seed {seed}");
                assert_eq!(kv.store().counts().pins, 0);
            }
        }
    }

    #[test]
    fn whoever_leaves_in_the_middle_leaves_nothing_behind() {
        for seed in 0..8 {
            let mut random = Random::new(seed);
            let mut cores = Cores::new(2 + random.below(3), &config(), 2048);
            for _ in 0..40 {
                let which = random.below(cores.scripts.len());
                let input = commands(&mut random);
                let len = 1 + random.below(input.len().max(1)).min(input.len().saturating_sub(1));
                cores.scripts[which].send(&input[..len.min(input.len())]);
                if random.below(2) == 0 {
                    cores.turn();
                }
                if random.below(8) == 0 {
                    let script = &mut cores.scripts[which];
                    let now_ns = script.link.now_ns;
                    let empty = script::open(config(), 2048);
                    let old = core::mem::replace(script, empty);
                    let kv = old.reset();
                    script.app = kv;
                    script.link.now_ns = now_ns;
                    script.app.opened(&mut script.link, 11211, false);
                }
            }
            for script in &mut cores.scripts {
                script.forget();
            }
            cores.settle();
            for Script { app, link, .. } in &mut cores.scripts {
                app.ended(link.id, Ended::Reset);
            }
            cores.settle();
            for script in &cores.scripts {
                let shards = script.app.shards.as_ref().unwrap();
                assert!(shards.is_unused(), "seed {seed}");
                assert_eq!(script.app.store().counts().pins, 0, "seed {seed}");
                assert_eq!(
                    script.app.store().unfinished(),
                    0,
                    "seed {seed}: a value was begun and never given back"
                );
            }
        }
    }

    /// A full ring holds up who asks for it, and nobody else, and nothing is lost.
    #[test]
    fn what_is_pipelined_beyond_the_rings_is_answered() {
        let mut cores = Cores::new(2, &config(), usize::MAX);
        let count = 5_000;
        let line = |number: usize| alloc::format!("set key{number} 0 0 5\r\n{number:05}\r\n");
        for number in 0..count {
            cores.scripts[number % 2].send(line(number).as_bytes());
        }
        let value = vec![b'v'; 900_000];
        for name in ["large0", "large1", "large2", "large3"] {
            let mut text = alloc::format!("set {name} 0 0 900000\r\n").into_bytes();
            text.extend_from_slice(&value);
            text.extend_from_slice(b"\r\n");
            cores.scripts[0].send(&text);
        }
        cores.settle();
        let stored = |script: &Script| {
            String::from_utf8_lossy(&script.output).lines().filter(|line| *line == "STORED").count()
        };
        assert_eq!((stored(&cores.scripts[0]), stored(&cores.scripts[1])), (count / 2 + 4, count / 2));
        assert!(cores.scripts.iter().any(|script| script.app.shard_counters().full > 0), "a ring was full");
        cores.scripts[1].output.clear();
        cores.scripts[1].send(b"get large0 large1 large2 large3\r\n");
        cores.settle();
        let expected = 4 * (value.len() + b"VALUE large0 0 900000\r\n\r\n".len()) + b"END\r\n".len();
        assert_eq!(cores.scripts[1].output.len(), expected);
        let items: Vec<u64> = cores.scripts.iter().map(|script| script.app.store().counts().items).collect();
        assert_eq!(items.iter().sum::<u64>(), count as u64 + 4);
        assert!(items.iter().all(|items| *items > count as u64 / 3), "{items:?}");
    }

    /// Acknowledgements make room in any amounts: also less than what came of an answer, and yet too much for the stack to
    /// tell of more.
    #[test]
    fn an_answer_comes_to_its_end_in_any_room() {
        let value = vec![b'v'; 20_000];
        for room in (2048..9000).step_by(241) {
            let mut cores = Cores::new(2, &config(), room);
            for name in 0..4 {
                let line = alloc::format!("set large{name} 0 0 {}\r\n", value.len());
                cores.scripts[0].send(&[line.as_bytes(), &value, b"\r\n"].concat());
                cores.settle();
            }
            assert!((1..4).contains(&cores.scripts[0].app.store().counts().items), "both cores have some");
            cores.scripts[0].output.clear();
            cores.scripts[0].send(b"get large0 large1 large2 large3\r\n");
            cores.settle();
            let expected = 4 * (value.len() + b"VALUE large0 0 20000\r\n\r\n".len()) + b"END\r\n".len();
            assert_eq!(cores.scripts[0].output.len(), expected, "with room for {room} bytes");
        }
    }

    /// A client's acknowledgement can be the last thing that happens before a sleep: the word that it owes an owner leaves.
    #[test]
    fn what_was_said_before_a_sleep_is_heard() {
        let mut cores = Cores::new(2, &config(), 2048);
        let value = [b'v'; 20_000];
        let of_other = |number: usize, cores: &mut Cores| {
            let line = alloc::format!("set key{number} 0 0 20000\r\n");
            cores.scripts[0].send(&[line.as_bytes(), &value, b"\r\n"].concat());
            cores.settle();
            cores.scripts[1].app.store().counts().items == 1
        };
        let number = (0..64).find(|number| of_other(*number, &mut cores)).expect("each core has keys");
        cores.scripts[0].send(alloc::format!("get key{number}\r\n").as_bytes());
        (0..8).for_each(|_| _ = cores.turn());
        assert!(cores.scripts.iter_mut().all(|script| script.app.may_rest()), "all wait for the client");
        cores.scripts[0].deliver(1);
        assert!(cores.scripts[0].app.may_rest(), "it has no more to do");
        assert!(!cores.scripts[1].app.may_rest(), "the other one may say more of the value");
    }

    #[test]
    fn all_cores_flush_and_are_counted() {
        let mut cores = Cores::new(3, &config(), usize::MAX);
        for number in 0..30 {
            cores.scripts[0].send(alloc::format!("set key{number} 0 0 1\r\nx\r\n").as_bytes());
        }
        cores.settle();
        cores.scripts[1].send(b"stats\r\nget key1 none\r\n");
        cores.settle();
        let text = String::from_utf8_lossy(&cores.scripts[1].output).into_owned();
        for line in
            ["curr_items 30", "threads 3", "curr_connections 3", "cmd_set 30", "limit_maxbytes 25165824"]
        {
            assert!(text.contains(&alloc::format!("STAT {line}\r\n")), "{line}: {text}");
        }
        assert!(text.ends_with("END\r\nVALUE key1 0 1\r\nx\r\nEND\r\n"));
        cores.scripts[2].send(b"flush_all\r\nget key0 key1 key2 key3 key4 key5\r\n");
        cores.settle();
        assert_eq!(String::from_utf8_lossy(&cores.scripts[2].output), "OK\r\nEND\r\n");
    }

    /// What one core says when all are asked may be longer than what is granted at first.
    #[test]
    fn what_all_are_asked_is_gathered_at_any_length() {
        let mut cores = Cores::new(2, &config(), usize::MAX);
        let value = [b'v'; 40_000];
        for number in 0..16 {
            let line = alloc::format!("set key{number} 0 0 {}\r\n", value.len());
            cores.scripts[0].send(&[line.as_bytes(), &value, b"\r\n"].concat());
        }
        cores.settle();
        let client = cores.scripts[0].link.id;
        let shards = cores.scripts[0].app.shards.as_mut().expect("there are two");
        let number =
            (0..16).find(|number| shards.foreign(alloc::format!("key{number}").as_bytes()).is_some());
        let key = alloc::format!("key{}", number.expect("each core has keys"));
        let asked = Asked::Key { key: key.as_bytes(), unique: false, expires: None };
        let away = shards.ask(1, client, asked).expect("there is room");
        let mut turns = 0;
        while !cores.scripts[0].app.shards.as_mut().expect("there are two").gather(client, away) {
            assert!(turns < 100, "it does not come to its end");
            cores.turn();
            turns += 1;
        }
        let shards = cores.scripts[0].app.shards.as_mut().expect("there are two");
        let expected = alloc::format!("VALUE {key} 0 {}\r\n\r\n", value.len()).len() + value.len();
        assert_eq!(shards.gathered(client).len(), expected);
        cores.settle();
        assert!(cores.scripts.iter().all(|script| script.app.shards.as_ref().unwrap().is_unused()));
    }
}
