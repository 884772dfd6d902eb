use super::*;
use crate::tests::Random;
use std::collections::{HashMap, VecDeque};
use std::string::String;
use std::vec;

impl Store {
    /// Walks the arena and checks everything that must hold between operations.
    fn check(&self) {
        let (mut free, mut items, mut pins, mut promised) = (0, 0, 0, 0);
        let mut hands_seen = 0;
        let hands = [self.rooms.main.hand, self.rooms.probation.hand];
        for segment in 0..self.arena.segments() {
            let (mut at, end) = (self.arena.start(segment), self.arena.end(segment));
            let free_before = free;
            while at < end {
                hands_seen += hands.iter().filter(|hand| **hand == at).count();
                let size = self.arena.size(at);
                assert!(size >= 1);
                match self.arena.state(at) {
                    State::Free => free += size,
                    State::Linked => {
                        items += 1;
                        pins += u64::from(self.arena.pins(at));
                        let key = self.arena.key(at);
                        assert_eq!(self.search(key, self.secret.hash(key)), Some(at));
                    }
                    State::Doomed => {
                        assert!(self.arena.pins(at) > 0);
                        pins += u64::from(self.arena.pins(at));
                    }
                    State::Filling => promised += size * self.arena.pins(at),
                }
                at += size;
            }
            assert_eq!(at, end);
            hands_seen += hands.iter().filter(|hand| **hand == end).count();
            assert_eq!(free - free_before, self.rooms.free[segment], "segment {segment}");
        }
        assert!(hands_seen >= 2, "the hands stand between blocks");
        assert_eq!((free, items, pins), (self.free_units, self.counts.items, self.counts.pins));
        assert_eq!(promised, self.promised_units);
    }
}

fn put(store: &mut Store, key: &[u8], value: &[u8]) -> Result<(), NoSpace> {
    store.put(key, value, 0, false).map(|_| ())
}

#[test]
fn against_a_model_under_eviction_and_pins() {
    for seed in 0..30 {
        let mut random = Random::new(seed);
        let mut store = Store::new(20_000 + random.below(60_000), 8_000, [seed as u8; 16]);
        let mut model: HashMap<String, Vec<u8>> = HashMap::new();
        let mut pinned: VecDeque<(Item, Vec<u8>)> = VecDeque::new();
        let mut filling: Vec<Reserved> = Vec::new();
        for step in 0..3_000 {
            let key = std::format!("key{}", random.below(200));
            match random.below(10) {
                0..4 => {
                    let len = if random.below(20) == 0 { random.below(7_000) } else { random.below(400) };
                    let value = vec![random.bits() as u8; len];
                    match put(&mut store, key.as_bytes(), &value) {
                        Ok(()) => drop(model.insert(key, value)),
                        // The old value may have been evicted or may have stayed.
                        Err(error) => assert_eq!(error, NoSpace::Full),
                    }
                }
                4 => {
                    let known = model.remove(&key).is_some();
                    assert!(known || !store.delete(key.as_bytes()));
                    store.delete(key.as_bytes());
                }
                5 if filling.len() < 5 => filling.extend(store.reserve(b"filling", 0, 0, 300, false)),
                6 => {
                    if let Some(reserved) = filling.pop() {
                        store.discard(reserved);
                    }
                }
                7 => {
                    if let Some((item, value)) = pinned.pop_front() {
                        assert!(store.data(item).starts_with(&value), "pinned bytes changed");
                        store.release(item);
                    }
                }
                _ => {
                    if let Some(item) = store.find(key.as_bytes()) {
                        let data = store.data(item);
                        assert_eq!(data[..data.len() - 2], model[&key], "a wrong value");
                        if pinned.len() < 10 {
                            assert!(store.pin(item));
                            pinned.push_back((item, model[&key].clone()));
                        }
                    }
                }
            }
            if step % 16 == 0 {
                store.check();
            }
        }
        for (item, _) in pinned {
            store.release(item);
        }
        for reserved in filling {
            store.discard(reserved);
        }
        for key in 0..200 {
            store.delete(std::format!("key{key}").as_bytes());
        }
        store.check();
        assert_eq!((store.counts().items, store.counts().used_bytes, store.counts().pins), (0, 0, 0));
    }
}

#[test]
fn what_is_pinned_survives_everything() {
    let mut store = Store::new(9_000, 5_000, [0; 16]);
    put(&mut store, b"a", &[7; 4_000]).unwrap();
    let item = store.find(b"a").unwrap();
    assert!(store.pin(item) && store.pin(item));
    put(&mut store, b"a", &[8; 3_000]).unwrap();
    for turn in 0..50 {
        put(&mut store, std::format!("b{turn}").as_bytes(), &[9; 2_000]).unwrap();
        assert_eq!(store.data(item)[..4_000], [7; 4_000]);
    }
    store.release(item);
    // Too much for what is left beside the pin: refused, and the pin stays whole.
    assert_eq!(put(&mut store, b"c", &[1; 4_900]).err(), Some(NoSpace::Full));
    assert_eq!(store.data(item)[..4_000], [7; 4_000]);
    store.release(item);
    put(&mut store, b"c", &[1; 4_900]).unwrap();
    store.check();
}

#[test]
fn what_is_asked_for_stays_when_there_is_no_room() {
    let mut store = Store::new(200_000, 5_000, [0; 16]);
    for turn in 0..5_000 {
        put(&mut store, std::format!("cold{turn}").as_bytes(), &[1; 100]).unwrap();
        if turn < 20 {
            put(&mut store, std::format!("hot{turn}").as_bytes(), &[1; 100]).unwrap();
        }
        for hot in 0..20.min(turn + 1) {
            assert!(store.find(std::format!("hot{hot}").as_bytes()).is_some(), "{turn} {hot}");
        }
    }
    assert!(store.counts().evicted > 3_000);
}

#[test]
fn overwriting_half_the_memory_evicts_nothing() {
    let mut store = Store::new(200_000, 5_000, [0; 16]);
    let mut random = Random::new(1);
    for turn in 0..20_000 {
        let key = if turn < 500 { turn } else { random.below(500) };
        put(&mut store, std::format!("key{key}").as_bytes(), &[1; 100]).unwrap();
    }
    assert_eq!((store.counts().evicted, store.counts().items), (0, 500));
}

#[test]
fn time_runs_out() {
    let mut store = Store::new(10_000, 5_000, [0; 16]);
    let reserved = store.reserve(b"a", 5, 10, 0, true).unwrap();
    store.fill(&reserved, 0, TAIL);
    assert_eq!(store.commit(reserved, Verb::Set, false), Outcome::Stored);
    store.tick(9);
    assert_eq!(store.find(b"a").map(|item| store.flags(item)), Some(5));
    store.tick(10);
    assert_eq!(store.find(b"a"), None);
    assert_eq!((store.counts().items, store.counts().expired), (0, 1));
}

#[test]
fn what_is_too_large_or_has_no_line_end_is_refused() {
    let mut store = Store::new(10_000, 1_000, [0; 16]);
    assert_eq!(store.reserve(b"a", 0, 0, 1_000, true), Err(NoSpace::TooLarge));
    let reserved = store.reserve(b"a", 0, 0, 3, true).unwrap();
    store.fill(&reserved, 0, b"abcde");
    assert_eq!(store.commit(reserved, Verb::Set, false), Outcome::BadChunk);
    assert_eq!(store.find(b"a"), None);
    assert_eq!(store.counts().used_bytes, 0);
}

#[test]
fn announcing_much_takes_a_quarter_at_most() {
    let mut store = Store::new(200_000, 5_000, [0; 16]);
    store.put(b"kept", b"x", 0, false).unwrap();
    let mut unfinished = Vec::new();
    let refused = loop {
        match store.reserve(b"slow", 0, 0, 4_000, false) {
            Ok(reserved) => unfinished.push(reserved),
            Err(error) => break error,
        }
    };
    assert_eq!((refused, store.counts().unpromised), (NoSpace::Full, 1));
    let promised: usize = unfinished.iter().map(|reserved| store.item_bytes(Item(reserved.0))).sum();
    assert!(promised <= store.capacity_bytes() / PROMISED_SHARE as usize);
    // Whoever sends its value with the line is served all the same.
    store.put(b"honest", &[1; 4_000], 0, false).unwrap();
    assert!(store.find(b"kept").is_some());
    store.discard(unfinished.pop().unwrap());
    unfinished.push(store.reserve(b"slow", 0, 0, 4_000, false).unwrap());
    store.check();
    unfinished.into_iter().for_each(|reserved| store.discard(reserved));
    store.check();
}

#[test]
fn an_item_costs_48_bytes_at_most_on_average() {
    let memory_bytes = 8 << 20;
    let mut store = Store::new(memory_bytes, 1 << 20, [0; 16]);
    let mut random = Random::new(3);
    let mut payload = 0;
    let mut items = 0u64;
    loop {
        let key = std::format!("key-{items}");
        let value = vec![0; 60 + random.below(80)];
        store.put(key.as_bytes(), &value, 0, false).unwrap();
        if store.counts().evicted > 0 {
            break;
        }
        items += 1;
        payload += (key.len() + value.len()) as u64;
    }
    // Nothing is evicted as long as one part in `SPARE_SHARE` of the main ring is free.
    let taken = memory_bytes as u64 - memory_bytes as u64 / u64::from(SPARE_SHARE);
    let used = store.counts().used_bytes + (memory_bytes - store.capacity_bytes()) as u64;
    assert!(used >= taken);
    assert!(used - payload <= 48 * items, "{} bytes an item", (used - payload) / items);
}

#[test]
fn a_scan_does_not_throw_out_what_is_asked_for() {
    let mut store = Store::new(1 << 20, 4_096, [5; 16]);
    let hot = |number: usize| std::format!("hot{number}");
    // Asked for twice before the memory is full, and then not before the scan is over.
    for number in 0..2_000 {
        put(&mut store, hot(number).as_bytes(), &[1; 100]).unwrap();
    }
    for number in (0..2_000).chain(0..2_000) {
        assert!(store.find(hot(number).as_bytes()).is_some());
    }
    for number in 0..14_000 {
        put(&mut store, std::format!("scan{number}").as_bytes(), &[1; 100]).unwrap();
    }
    let stayed = (0..2_000).filter(|number| store.find(hot(*number).as_bytes()).is_some()).count();
    assert!(store.counts().evicted > 7_000);
    assert_eq!(stayed, 2_000, "two memories full of scanned items went by");
    store.check();
}

#[test]
fn who_returns_needs_no_second_probation() {
    let mut store = Store::new(1 << 20, 4_096, [5; 16]);
    for number in 0..7_000 {
        put(&mut store, std::format!("fill{number}").as_bytes(), &[1; 100]).unwrap();
    }
    put(&mut store, b"returning", &[1; 100]).unwrap();
    let mut scanned = 0;
    while store.peek(b"returning").is_some() {
        put(&mut store, std::format!("scan{scanned}").as_bytes(), &[1; 100]).unwrap();
        scanned += 1;
    }
    assert!(scanned < 1_500, "probation is a tenth of the memory: {scanned}");
    put(&mut store, b"returning", &[1; 100]).unwrap();
    for number in 0..3_000 {
        put(&mut store, std::format!("more{number}").as_bytes(), &[1; 100]).unwrap();
    }
    assert!(store.peek(b"returning").is_some());
    store.check();
}

#[test]
fn memory_grows_and_shrinks_while_it_serves() {
    for seed in 0..6 {
        let mut random = Random::new(seed);
        let mut store = Store::new(256 << 10, 4_096, [seed as u8; 16]);
        let mut pinned: VecDeque<(Item, Vec<u8>)> = VecDeque::new();
        let mut model: HashMap<String, Vec<u8>> = HashMap::new();
        for step in 0..30_000u32 {
            let key = std::format!("key{}", random.below(4_000));
            if step % 5_000 == 0 {
                let wanted = [64, 1_024, 128, 512, 32, 256][step as usize / 5_000] << 10;
                assert!(store.resize(wanted));
            }
            store.tick(3);
            if random.below(3) == 0 {
                let value = vec![random.bits() as u8; random.below(300)];
                if put(&mut store, key.as_bytes(), &value).is_ok() {
                    model.insert(key, value);
                }
            } else if let Some(item) = store.find(key.as_bytes()) {
                let data = store.data(item);
                assert_eq!(data[..data.len() - 2], model[&key]);
                if random.below(40) == 0 {
                    assert!(store.pin(item));
                    pinned.push_back((item, model[&key].clone()));
                }
            }
            if pinned.len() > 20 {
                let (item, value) = pinned.pop_front().unwrap();
                assert!(store.data(item).starts_with(&value), "pinned bytes changed");
                store.release(item);
            }
            if step % 1_000 == 0 {
                store.check();
            }
        }
        let capacity = store.capacity_bytes() + store.index_bytes();
        assert!(capacity <= 256 << 10, "{capacity}");
        assert!(capacity > 192 << 10, "{capacity}");
        pinned.into_iter().for_each(|(item, _)| store.release(item));
        store.check();
    }
}

#[test]
fn a_failed_growth_changes_nothing() {
    let mut store = Store::new(64 << 10, 4_096, [1; 16]);
    put(&mut store, b"a", b"x").unwrap();
    let before = store.capacity_bytes();
    assert!(!store.resize(1 << 40), "nobody has a tebibyte");
    assert!(store.capacity_bytes() == before && store.find(b"a").is_some());
}
