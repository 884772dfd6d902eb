//! memcached's size classes. Memory here is not divided by sizes; people's tools expect `stats items` and `stats slabs`
//! to be, so items are counted by the class that memcached would put them into.

/// Bytes of memcached's item beside key and value, its key's end, its line end and its number.
const OVERHEAD: usize = 48 + 8 + 1 + 2;
/// Classes, and one for what is larger than the largest.
pub(crate) const CLASSES: usize = 39;

/// The largest size of each class but the last: 96 and a quarter more each time, in eights.
const SIZES: [u32; CLASSES - 1] = sizes();

const fn sizes() -> [u32; CLASSES - 1] {
    let mut sizes = [0; CLASSES - 1];
    let mut size: u32 = 96;
    let mut at = 0;
    while at < sizes.len() {
        sizes[at] = size;
        size = (size + size / 4).next_multiple_of(8);
        at += 1;
    }
    sizes
}

/// Bytes that an item would take in memcached.
#[inline]
pub(crate) fn item_bytes(key_len: usize, value_len: usize) -> usize {
    OVERHEAD + key_len + value_len
}

/// The class of an item of so many bytes, from 0.
#[inline]
pub(crate) fn of(bytes: usize) -> usize {
    SIZES.partition_point(|size| (*size as usize) < bytes)
}

/// Bytes of a class's pieces.
pub(crate) fn chunk_bytes(class: usize) -> u32 {
    SIZES.get(class).copied().unwrap_or(512 << 10)
}

/// What is counted of a class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClassCounts {
    /// Items ever stored.
    pub stored: u64,
    /// Items now.
    pub items: u64,
    /// Bytes that they would take in memcached.
    pub bytes: u64,
    /// Items that made room for others.
    pub evicted: u64,
    /// Of those, items that had a time.
    pub evicted_nonzero: u64,
    /// Of those, items that nobody ever asked for.
    pub evicted_unfetched: u64,
    /// Items past their time, or flushed, whose memory went to others.
    pub reclaimed: u64,
    /// Of those, items that the walk over all found.
    pub crawled: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_memcached() {
        assert_eq!(SIZES[..6], [96, 120, 152, 192, 240, 304]);
        // What its suite expects: 66,560 bytes under a short key are in class 31, 20,000 in class 25.
        assert_eq!(of(item_bytes(4, 66_560)) + 1, 31);
        assert_eq!(of(item_bytes(6, 20_000)) + 1, 25);
        assert_eq!((of(96), of(97), of(1 << 20)), (0, 1, CLASSES - 1));
    }
}
