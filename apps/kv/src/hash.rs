//! SipHash-1-3 of a key: keyed by a secret, so that nobody can choose keys that fall into one bucket.

/// The secret.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Secret {
    low: u64,
    high: u64,
}

struct State {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
}

impl State {
    #[inline(always)]
    fn round(&mut self) {
        self.v0 = self.v0.wrapping_add(self.v1);
        self.v2 = self.v2.wrapping_add(self.v3);
        self.v1 = self.v1.rotate_left(13) ^ self.v0;
        self.v3 = self.v3.rotate_left(16) ^ self.v2;
        self.v0 = self.v0.rotate_left(32);
        self.v2 = self.v2.wrapping_add(self.v1);
        self.v0 = self.v0.wrapping_add(self.v3);
        self.v1 = self.v1.rotate_left(17) ^ self.v2;
        self.v3 = self.v3.rotate_left(21) ^ self.v0;
        self.v2 = self.v2.rotate_left(32);
    }

    #[inline(always)]
    fn word(&mut self, word: u64) {
        self.v3 ^= word;
        self.round();
        self.v0 ^= word;
    }
}

impl Secret {
    pub(crate) fn new(seed: [u8; 16]) -> Self {
        let seed = u128::from_le_bytes(seed);
        Self { low: seed as u64, high: (seed >> 64) as u64 }
    }

    pub(crate) fn hash(&self, bytes: &[u8]) -> u64 {
        let mut state = State {
            v0: self.low ^ 0x736f_6d65_7073_6575,
            v1: self.high ^ 0x646f_7261_6e64_6f6d,
            v2: self.low ^ 0x6c79_6765_6e65_7261,
            v3: self.high ^ 0x7465_6462_7974_6573,
        };
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            state.word(u64::from_le_bytes(*word));
        }
        let mut last = (bytes.len() as u64) << 56;
        for (place, byte) in rest.iter().enumerate() {
            last |= u64::from(*byte) << (8 * place);
        }
        state.word(last);
        state.v2 ^= 0xff;
        state.round();
        state.round();
        state.round();
        state.v0 ^ state.v1 ^ state.v2 ^ state.v3
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::hash::Hasher;
    use std::hash::DefaultHasher;
    use std::vec::Vec;

    #[test]
    fn equals_the_standard_librarys_own() {
        // `DefaultHasher::new` is SipHash-1-3 with a zero key.
        let secret = Secret::new([0; 16]);
        for len in 0..100u8 {
            let bytes: Vec<u8> = (0..len).map(|byte| byte.wrapping_mul(37)).collect();
            let mut theirs = DefaultHasher::new();
            theirs.write(&bytes);
            assert_eq!(secret.hash(&bytes), theirs.finish());
        }
    }

    #[test]
    fn another_secret_is_another_hash() {
        assert_ne!(Secret::new([0; 16]).hash(b"key"), Secret::new([1; 16]).hash(b"key"));
    }
}
