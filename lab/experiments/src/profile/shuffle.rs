//! A random order that a seed repeats.

/// 0 to `count` in an order of chance (Fisher and Yates, with a generator by Sebastiano Vigna).
pub fn shuffled(count: usize, seed: u64) -> Vec<usize> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    let mut order: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        order.swap(last, (next() % (last as u64 + 1)) as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stands_once_and_the_seed_says_where() {
        let mut orders = Vec::new();
        for seed in 0..50 {
            let order = shuffled(6, seed);
            assert_eq!(order, shuffled(6, seed));
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3, 4, 5]);
            orders.push(order);
        }
        orders.sort();
        orders.dedup();
        assert!(orders.len() > 40, "{}", orders.len());
    }
}
