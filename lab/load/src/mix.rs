//! Which requests are sent, and what their answers must be.
//!
//! The value of a key is a function of the key and the seed alone, and a `set` always stores just that value. So
//! whatever the order in which the connections are served, a `get` has exactly two right answers: that value, or a
//! miss. A counted operation is one `get` or one `set`, as kv counts them.

use crate::bounds;
use crate::plan::LoadError;
use crate::random::Random;
use crate::web::Web;

/// Whose the keys are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// All connections use the same keys.
    Shared,
    /// Each connection has keys of its own, so that the answers on one connection do not depend on the others.
    Own,
}

/// The mix of requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Mix {
    /// Of a hundred operations, how many are `get`; the rest are `set`.
    pub get_percent: u8,
    /// How many keys there are (for each connection with [`Keys::Own`]).
    pub keys: u32,
    /// Whose they are.
    pub whose: Keys,
    /// Length of every key.
    pub key_len: usize,
    /// Shortest value.
    pub value_len_min: usize,
    /// Longest value; lengths are uniform between the two.
    pub value_len_max: usize,
    /// Store every shared key once before the run, uncounted, so that a `get` finds something.
    pub preload: bool,
    /// Pages of a web server, instead of all of this; with `preload` their content is learned before the run.
    pub web: Option<Web>,
}

impl Default for Mix {
    fn default() -> Self {
        Self {
            get_percent: 90,
            keys: 1_000,
            whose: Keys::Shared,
            key_len: 16,
            value_len_min: 64,
            value_len_max: 1_024,
            preload: true,
            web: None,
        }
    }
}

impl Mix {
    /// Refuses what could not be sent or not be checked.
    pub fn check(&self) -> Result<(), LoadError> {
        let refuse = |what: String| Err(LoadError::Plan(what));
        if let Some(web) = &self.web {
            return web.check();
        }
        if self.get_percent > 100 {
            return refuse(format!("get_percent is {}, give 0 to 100", self.get_percent));
        }
        if self.keys == 0 || self.keys > bounds::KEYS_MAX {
            return refuse(format!("{} keys, give 1 to {}", self.keys, bounds::KEYS_MAX));
        }
        if !(bounds::KEY_LEN_MIN..=bounds::KEY_LEN_MAX).contains(&self.key_len) {
            let (min, max) = (bounds::KEY_LEN_MIN, bounds::KEY_LEN_MAX);
            return refuse(format!("keys of {} bytes, give {min} to {max}", self.key_len));
        }
        if self.value_len_min > self.value_len_max || self.value_len_max > bounds::VALUE_LEN_MAX {
            return refuse(format!(
                "values of {} to {} bytes, give a growing range up to {}",
                self.value_len_min,
                self.value_len_max,
                bounds::VALUE_LEN_MAX
            ));
        }
        if self.whose == Keys::Own && self.key_len < bounds::KEY_LEN_MIN + 6 {
            return refuse("own keys need a key length of at least 16".into());
        }
        Ok(())
    }
}

/// One operation, small enough to keep for every outstanding request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Asks for a key.
    Get(u32),
    /// Stores a key's value.
    Set(u32),
}

/// What an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// More bytes are needed.
    Incomplete,
    /// The value, byte for byte.
    Hit(usize),
    /// There is no such key.
    Miss(usize),
    /// The value was stored.
    Stored(usize),
    /// An error line of the protocol: the server refused.
    Refused(usize),
    /// Not an answer that may be given; the stream cannot be trusted any more.
    Wrong,
}

/// Writes requests and judges answers of one connection.
#[derive(Debug, Clone)]
pub struct Speaker {
    mix: Mix,
    seed: u64,
    connection: u32,
    random: Random,
    expected: Vec<u8>,
}

/// Longest error line that is waited for.
const ERROR_LINE_MAX: usize = 512;

impl Speaker {
    /// The speaker of one connection.
    pub fn new(mix: Mix, seed: u64, connection: u32) -> Self {
        let random = Random::new(seed).fork(u64::from(connection) + 1);
        Self { mix, seed, connection, random, expected: Vec::new() }
    }

    /// Draws the next operation.
    pub fn draw(&mut self) -> Operation {
        if let Some(web) = &self.mix.web {
            return Operation::Get(self.random.below(u64::from(web.pages())) as u32);
        }
        let key = self.random.below(u64::from(self.mix.keys)) as u32;
        if self.random.below(100) < u64::from(self.mix.get_percent) {
            Operation::Get(key)
        } else {
            Operation::Set(key)
        }
    }

    /// Appends the request of an operation.
    pub fn request(&self, operation: Operation, out: &mut Vec<u8>) {
        if let (Some(web), Operation::Get(page)) = (&self.mix.web, operation) {
            return web.request(page, out);
        }
        match operation {
            Operation::Get(key) => {
                out.extend_from_slice(b"get ");
                self.key(key, out);
                out.extend_from_slice(b"\r\n");
            }
            Operation::Set(key) => {
                out.extend_from_slice(b"set ");
                self.key(key, out);
                out.extend_from_slice(
                    format!(" {} 0 {}\r\n", self.flags(key), self.value_len(key)).as_bytes(),
                );
                self.value(key, out);
                out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// Judges the bytes that came for an operation; a verdict with a length consumed so many of them.
    pub fn judge(&mut self, operation: Operation, bytes: &[u8]) -> Verdict {
        if let (Some(web), Operation::Get(page)) = (&self.mix.web, operation) {
            return web.judge(page, bytes);
        }
        let right = match operation {
            Operation::Get(key) => {
                if bytes.starts_with(b"END\r\n") {
                    return Verdict::Miss(5);
                }
                let mut expected = std::mem::take(&mut self.expected);
                expected.clear();
                expected.extend_from_slice(b"VALUE ");
                self.key(key, &mut expected);
                let (flags, len) = (self.flags(key), self.value_len(key));
                expected.extend_from_slice(format!(" {flags} {len}\r\n").as_bytes());
                self.value(key, &mut expected);
                expected.extend_from_slice(b"\r\nEND\r\n");
                self.expected = expected;
                if bytes.starts_with(&self.expected) {
                    return Verdict::Hit(self.expected.len());
                }
                self.expected.starts_with(bytes) || b"END\r\n".starts_with(bytes)
            }
            Operation::Set(_) => {
                if bytes.starts_with(b"STORED\r\n") {
                    return Verdict::Stored(8);
                }
                b"STORED\r\n".starts_with(bytes)
            }
        };
        if right { Verdict::Incomplete } else { error_line(bytes) }
    }

    fn key(&self, key: u32, out: &mut Vec<u8>) {
        let start = out.len();
        match self.mix.whose {
            Keys::Shared => out.extend_from_slice(format!("k{key:08}").as_bytes()),
            Keys::Own => out.extend_from_slice(format!("c{:05}k{key:08}", self.connection).as_bytes()),
        }
        out.resize(start + self.mix.key_len, b'x');
    }

    fn of_key(&self, key: u32) -> Random {
        let owner = if self.mix.whose == Keys::Own { self.connection } else { 0 };
        Random::new(self.seed ^ 0x7661_6c75_6500).fork((u64::from(owner) << 32) | u64::from(key))
    }

    fn flags(&self, key: u32) -> u32 {
        key % 7
    }

    fn value_len(&self, key: u32) -> usize {
        let spread = (self.mix.value_len_max - self.mix.value_len_min) as u64 + 1;
        self.mix.value_len_min + self.of_key(key).below(spread) as usize
    }

    fn value(&self, key: u32, out: &mut Vec<u8>) {
        let end = out.len() + self.value_len(key);
        let mut random = self.of_key(key).fork(1);
        while out.len() < end {
            let word = random.next().to_le_bytes();
            let take = (end - out.len()).min(8);
            out.extend_from_slice(&word[..take]);
        }
    }
}

/// An error line of the protocol, complete or not, or nothing that may stand here.
fn error_line(bytes: &[u8]) -> Verdict {
    let kinds: [&[u8]; 3] = [b"ERROR", b"CLIENT_ERROR ", b"SERVER_ERROR "];
    let could_be = kinds.iter().any(|kind| {
        let n = kind.len().min(bytes.len());
        kind[..n] == bytes[..n]
    });
    match bytes.windows(2).take(ERROR_LINE_MAX).position(|pair| pair == b"\r\n") {
        Some(end) if could_be => Verdict::Refused(end + 2),
        None if could_be && bytes.len() <= ERROR_LINE_MAX => Verdict::Incomplete,
        _ => Verdict::Wrong,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(speaker: &Speaker, key: u32) -> Vec<u8> {
        let mut request = Vec::new();
        speaker.request(Operation::Set(key), &mut request);
        let line_end = request.windows(2).position(|pair| pair == b"\r\n").unwrap();
        let line = String::from_utf8(request[..line_end].to_vec()).unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        let mut answer = format!("VALUE {} {} {}\r\n", words[1], words[2], words[4]).into_bytes();
        answer.extend_from_slice(&request[line_end + 2..]);
        answer.extend_from_slice(b"END\r\n");
        answer
    }

    #[test]
    fn every_prefix_of_a_right_answer_is_incomplete_and_every_flipped_byte_is_wrong() {
        let mix = Mix { value_len_min: 9, value_len_max: 40, ..Mix::default() };
        let mut speaker = Speaker::new(mix, 4, 0);
        let right = answer(&speaker, 17);
        for len in 0..right.len() {
            assert_eq!(speaker.judge(Operation::Get(17), &right[..len]), Verdict::Incomplete, "{len}");
            let mut bad = right.clone();
            bad[len] ^= 0x40;
            assert_eq!(speaker.judge(Operation::Get(17), &bad), Verdict::Wrong, "{len}");
        }
        assert_eq!(speaker.judge(Operation::Get(17), &right), Verdict::Hit(right.len()));
        assert_eq!(speaker.judge(Operation::Get(17), b"END\r\nEND\r\n"), Verdict::Miss(5));
        assert_eq!(speaker.judge(Operation::Set(1), b"STORED\r\nx"), Verdict::Stored(8));
        assert_eq!(speaker.judge(Operation::Set(1), b"SERVER_ERROR full\r\n"), Verdict::Refused(19));
        assert_eq!(speaker.judge(Operation::Set(1), b"SERVER_ERR"), Verdict::Incomplete);
        assert_eq!(speaker.judge(Operation::Set(1), b"NOT_STORED\r\n"), Verdict::Wrong);
    }

    #[test]
    fn own_keys_differ_and_shared_keys_do_not() {
        let key_of = |whose, connection| {
            let mix = Mix { whose, ..Mix::default() };
            let mut out = Vec::new();
            Speaker::new(mix, 1, connection).key(5, &mut out);
            out
        };
        assert_eq!(key_of(Keys::Shared, 1), key_of(Keys::Shared, 2));
        assert_ne!(key_of(Keys::Own, 1), key_of(Keys::Own, 2));
        assert_eq!(key_of(Keys::Own, 1).len(), 16);
    }

    #[test]
    fn a_plan_that_cannot_be_checked_is_refused() {
        assert!(Mix { get_percent: 101, ..Mix::default() }.check().is_err());
        assert!(Mix { keys: 0, ..Mix::default() }.check().is_err());
        assert!(Mix { key_len: 5, ..Mix::default() }.check().is_err());
        assert!(Mix { value_len_min: 2000, ..Mix::default() }.check().is_err());
        assert!(Mix::default().check().is_ok());
    }
}
