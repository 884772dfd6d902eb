//! The bulletin board: a page of 64-bit words that one publisher writes and everybody reads, consistent without
//! locks.
//!
//! In a guest it is a read-only page in every application, written by the kernel; for Linux processes it is a file
//! in shared memory, written by `priced`. Either way it is seen here as a slice of atomic words, so neither side
//! needs unsafe code, and a reader never trusts what it reads to be in range.
//!
//! ```text
//! word 0       magic and version        word 1   sequence: odd while the publisher writes
//! word 2       generation of prices     word 3   when it was published (ns of the publisher's clock)
//! word 4       when the provider says the price was set (ns since 1970)
//! word 5       when announced prices begin (ns of the publisher's clock); 0 where none are known ahead
//! word 6       the same as the provider says it (ns since 1970)
//! words 8..    four words a resource: rate low, rate high, valid-until (ns of the publisher's clock), spare
//! words 20..   the same of announced prices
//! words 256..  one word a device, whole by itself ([`crate::device::listed`])
//! ```

use core::sync::atomic::{AtomicU64, Ordering, fence};

/// Words in a board: one page.
pub const WORDS: usize = 512;
/// First word of every board, with the version of this layout.
pub const MAGIC: u64 = 0x6e6f_6d62_6f61_0002;
const SEQUENCE: usize = 1;
const GENERATION: usize = 2;
const PUBLISHED: usize = 3;
const PROVIDER_TIME: usize = 4;
const RATES: usize = 8;
const WORDS_A_RATE: usize = 4;
/// How often a reader tries again while the publisher writes, before it says that the board is torn. A publisher
/// writes a few dozen words, so a reader that loses this often has a dead or hostile publisher.
const READ_ATTEMPTS: usize = 1_000;

/// What has a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Outbound bytes on the wire. The rate is per byte.
    Bandwidth = 0,
    /// Core time. The rate is per nanosecond of one core.
    Core = 1,
    /// Memory held. The rate is per byte and second.
    Memory = 2,
}

/// All resources, in the order of their places on the board.
pub const RESOURCES: [Resource; 3] = [Resource::Bandwidth, Resource::Core, Resource::Memory];

/// A price on the board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Attodollars (10^-18 dollars) per unit of the resource.
    pub atto_per_unit: i128,
    /// Until when it may be used, by the publisher's clock; 0 means until it is replaced.
    pub valid_until_ns: u64,
}

/// Prices that the provider has said will come: they replace all prices of the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// From when on, by the publisher's clock. Not 0.
    pub at_ns: u64,
    /// The same as the provider says it, in nanoseconds since 1970: which announcement it is.
    pub provider_unix_ns: u64,
    /// Attodollars per unit of each resource, `None` where no price will be known.
    pub atto_per_unit: [Option<i128>; RESOURCES.len()],
}

/// What the board said at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prices {
    /// Grows by one with every publication; 0 means that nothing was published yet.
    pub generation: u64,
    /// When the publisher wrote it, by its own clock.
    pub published_ns: u64,
    /// When the provider says that the prices were set, in nanoseconds since 1970; 0 when it does not say.
    pub provider_unix_ns: u64,
    /// One rate a resource, `None` where no price is known.
    pub rates: [Option<Rate>; RESOURCES.len()],
    /// What comes next, where that is known.
    pub next: Option<Announced>,
}

impl Prices {
    /// A board on which nothing was published.
    pub const NONE: Prices = Prices {
        generation: 0,
        published_ns: 0,
        provider_unix_ns: 0,
        rates: [None; RESOURCES.len()],
        next: None,
    };
}

/// Words of the prices themselves as they stand on a board, from when the provider set them to the last announced rate.
/// A publisher hands them over as they are (`PublishPrices`).
pub const PRICE_WORDS: usize = RATES + 2 * RESOURCES.len() * WORDS_A_RATE - PROVIDER_TIME;

/// Prices as their words; generation and time of publication are the publisher's to add.
pub fn encode(prices: &Prices) -> [u64; PRICE_WORDS] {
    let mut words = [0; PRICE_WORDS];
    let nothing = Announced { at_ns: 0, provider_unix_ns: 0, atto_per_unit: [None; RESOURCES.len()] };
    let next = prices.next.unwrap_or(nothing);
    words[..3].copy_from_slice(&[prices.provider_unix_ns, next.at_ns, next.provider_unix_ns]);
    let announced = next.atto_per_unit.map(|atto| Some(Rate { atto_per_unit: atto?, valid_until_ns: 0 }));
    let places = words[RATES - PROVIDER_TIME..].chunks_exact_mut(WORDS_A_RATE);
    for (place, rate) in places.zip(prices.rates.into_iter().chain(announced)) {
        place[2] = ABSENT;
        if let Some(Rate { atto_per_unit, valid_until_ns }) = rate {
            let high = (atto_per_unit as u128 >> 64) as u64;
            place[..3].copy_from_slice(&[atto_per_unit as u64, high, valid_until_ns & !ABSENT]);
        }
    }
    words
}

/// Reverses [`encode`]. Any words are some prices.
pub fn decode(words: &[u64; PRICE_WORDS]) -> Prices {
    let (places, _) = words[RATES - PROVIDER_TIME..].as_chunks::<WORDS_A_RATE>();
    let rate = |number: usize| {
        let [low, high, valid_until_ns, _] = places[number];
        let atto_per_unit = (u128::from(high) << 64 | u128::from(low)) as i128;
        (valid_until_ns & ABSENT == 0).then_some(Rate { atto_per_unit, valid_until_ns })
    };
    let [provider_unix_ns, at_ns, announced_unix_ns] = [words[0], words[1], words[2]];
    let next = (at_ns != 0).then(|| Announced {
        at_ns,
        provider_unix_ns: announced_unix_ns,
        atto_per_unit: core::array::from_fn(|number| Some(rate(RESOURCES.len() + number)?.atto_per_unit)),
    });
    Prices { provider_unix_ns, rates: core::array::from_fn(rate), next, ..Prices::NONE }
}

/// Why a board cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// Too few words.
    Short,
    /// The first word is not [`MAGIC`].
    NotABoard,
    /// The publisher never finished writing.
    Torn,
}

/// Marks an absent rate: no real valid-until has the top bit.
const ABSENT: u64 = 1 << 63;

/// Makes an empty board of zeroed words.
pub fn initialise(words: &[AtomicU64]) -> Result<(), Unreadable> {
    if words.len() < WORDS {
        return Err(Unreadable::Short);
    }
    for resource in RESOURCES {
        words[RATES + resource as usize * WORDS_A_RATE + 2].store(ABSENT, Ordering::Relaxed);
    }
    words[0].store(MAGIC, Ordering::Release);
    Ok(())
}

/// Writes new prices. There must be one publisher at a time; the generation is the publisher's to count and comes back.
pub fn publish(words: &[AtomicU64], prices: &Prices) -> Result<u64, Unreadable> {
    publish_words(words, prices.published_ns, &encode(prices))
}

/// [`publish`] for who was handed the words.
pub fn publish_words(
    words: &[AtomicU64],
    published_ns: u64,
    prices: &[u64; PRICE_WORDS],
) -> Result<u64, Unreadable> {
    check(words)?;
    let generation = words[GENERATION].load(Ordering::Relaxed).wrapping_add(1);
    let sequence = words[SEQUENCE].load(Ordering::Relaxed) | 1;
    words[SEQUENCE].store(sequence, Ordering::Relaxed);
    fence(Ordering::Release);
    words[GENERATION].store(generation, Ordering::Relaxed);
    words[PUBLISHED].store(published_ns, Ordering::Relaxed);
    for (place, word) in words[PROVIDER_TIME..].iter().zip(prices) {
        place.store(*word, Ordering::Relaxed);
    }
    words[SEQUENCE].store(sequence.wrapping_add(1), Ordering::Release);
    Ok(generation)
}

/// Reads the prices, all from one publication.
pub fn read(words: &[AtomicU64]) -> Result<Prices, Unreadable> {
    check(words)?;
    for _ in 0..READ_ATTEMPTS {
        let before = words[SEQUENCE].load(Ordering::Acquire);
        if before & 1 == 1 {
            core::hint::spin_loop();
            continue;
        }
        let word = |at: usize| words[at].load(Ordering::Relaxed);
        let (generation, published_ns) = (word(GENERATION), word(PUBLISHED));
        let prices = core::array::from_fn(|place| word(PROVIDER_TIME + place));
        fence(Ordering::Acquire);
        if words[SEQUENCE].load(Ordering::Relaxed) == before {
            return Ok(Prices { generation, published_ns, ..decode(&prices) });
        }
    }
    Err(Unreadable::Torn)
}

/// The generation alone: one load, for a loop that asks whether anything changed.
pub fn generation(words: &[AtomicU64]) -> u64 {
    words.get(GENERATION).map_or(0, |word| word.load(Ordering::Acquire))
}

fn check(words: &[AtomicU64]) -> Result<(), Unreadable> {
    if words.len() < WORDS {
        Err(Unreadable::Short)
    } else if words[0].load(Ordering::Acquire) != MAGIC {
        Err(Unreadable::NotABoard)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec::Vec;

    fn board() -> Vec<AtomicU64> {
        let words: Vec<AtomicU64> = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        initialise(&words).unwrap();
        words
    }

    #[test]
    fn prices_survive_as_words() {
        let mut prices = Prices { provider_unix_ns: 12, ..Prices::NONE };
        prices.rates[1] = Some(Rate { atto_per_unit: -(1 << 100), valid_until_ns: 99 });
        assert_eq!(decode(&encode(&prices)), prices);
        let atto_per_unit = [Some(1 << 100), None, Some(-3)];
        prices.next = Some(Announced { at_ns: 7, provider_unix_ns: 8, atto_per_unit });
        let mut words = encode(&prices);
        assert_eq!(decode(&words), prices);
        // A time without end does not look like a price that is not there.
        let endless = Rate { atto_per_unit: 5, valid_until_ns: u64::MAX };
        let read = decode(&encode(&Prices { rates: [None, Some(endless), None], ..Prices::NONE }));
        assert_eq!(read.rates.map(|rate| rate.map(|rate| rate.atto_per_unit)), [None, Some(5), None]);
        words[RATES - PROVIDER_TIME + 3] = !0;
        assert_eq!(decode(&words), prices, "a spare word");
        words[1] = 0;
        assert_eq!(decode(&words), Prices { next: None, ..prices });
    }

    #[test]
    fn what_is_published_is_read() {
        let words = board();
        assert_eq!(read(&words), Ok(Prices::NONE));
        let mut prices = Prices { published_ns: 7, provider_unix_ns: 9, ..Prices::NONE };
        prices.rates[0] = Some(Rate { atto_per_unit: -3, valid_until_ns: 0 });
        prices.rates[2] = Some(Rate { atto_per_unit: i128::MAX, valid_until_ns: 5 });
        assert_eq!(publish(&words, &prices), Ok(1));
        assert_eq!(read(&words), Ok(Prices { generation: 1, ..prices }));
        assert_eq!(generation(&words), 1);
        // What is announced, a price below zero among it, and no longer announced.
        let atto_per_unit = [None, Some(-7), Some(i128::MIN)];
        let next = Some(Announced { at_ns: 11, provider_unix_ns: 12, atto_per_unit });
        assert_eq!(publish(&words, &Prices { next, ..prices }), Ok(2));
        assert_eq!(read(&words), Ok(Prices { generation: 2, next, ..prices }));
        assert_eq!(publish(&words, &prices), Ok(3));
        assert_eq!(read(&words), Ok(Prices { generation: 3, ..prices }));
        let after = &words[PROVIDER_TIME + PRICE_WORDS..];
        assert!(after.iter().all(|word| word.load(Ordering::Relaxed) == 0), "these are somebody else's");
    }

    #[test]
    fn what_is_no_board_is_refused() {
        let zero: Vec<AtomicU64> = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        assert_eq!(read(&zero), Err(Unreadable::NotABoard));
        assert_eq!(read(&zero[..8]), Err(Unreadable::Short));
        // One in the layout before this one says less than we would read.
        let words = board();
        words[0].store(MAGIC - 1, Ordering::Relaxed);
        assert_eq!(read(&words), Err(Unreadable::NotABoard));
        let words = board();
        words[SEQUENCE].store(1, Ordering::Relaxed);
        assert_eq!(read(&words), Err(Unreadable::Torn));
    }

    #[test]
    fn a_reader_never_sees_half_a_publication() {
        let words = board();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for turn in 1..20_000u64 {
                    let rate = Some(Rate { atto_per_unit: i128::from(turn) << 60, valid_until_ns: turn });
                    let atto_per_unit = [Some(i128::from(turn) << 60); 3];
                    let next = Announced { at_ns: turn, provider_unix_ns: turn, atto_per_unit };
                    let next = (turn % 2 == 1).then_some(next);
                    publish(&words, &Prices { published_ns: turn, rates: [rate; 3], next, ..Prices::NONE })
                        .unwrap();
                }
            });
            scope.spawn(|| {
                let mut last = 0;
                while last < 19_999 {
                    // A torn read is allowed under this much pressure; a mixed one is not.
                    let Ok(prices) = read(&words) else { continue };
                    assert!(prices.generation >= last);
                    last = prices.generation;
                    for rate in prices.rates.into_iter().flatten() {
                        assert_eq!(rate.valid_until_ns, prices.published_ns);
                        assert_eq!(rate.atto_per_unit, i128::from(prices.published_ns) << 60);
                    }
                    assert_eq!(prices.next.is_some(), prices.published_ns % 2 == 1);
                    if let Some(next) = prices.next {
                        assert_eq!((next.at_ns, next.provider_unix_ns), (last, last));
                        assert_eq!(
                            next.atto_per_unit,
                            prices.rates.map(|rate| rate.map(|it| it.atto_per_unit))
                        );
                    }
                }
            });
        });
    }
}
