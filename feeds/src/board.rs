//! Prices as the bulletin board holds them.

use nom_abi::board;
use nom_money::{PerByte, PerByteSecond, PerCoreNs, Prices};

/// Prices as they are published. The generation is the board's to count.
pub fn to_board(
    prices: &Prices,
    published_ns: u64,
    provider_unix_ns: u64,
    valid_until_ns: u64,
) -> board::Prices {
    let rate = |atto: Option<i128>| atto.map(|atto_per_unit| board::Rate { atto_per_unit, valid_until_ns });
    board::Prices {
        generation: 0,
        published_ns,
        provider_unix_ns,
        rates: [
            rate(prices.bandwidth.map(|rate| rate.0)),
            rate(prices.core.map(|rate| rate.0)),
            rate(prices.memory.map(|rate| rate.0)),
        ],
    }
}

/// Prices as they stand on the board, and until when all of them may be used (0: until they are replaced).
pub fn from_board(board: &board::Prices) -> (Prices, u64) {
    let rate = |resource: board::Resource| board.rates[resource as usize].map(|rate| rate.atto_per_unit);
    let prices = Prices {
        bandwidth: rate(board::Resource::Bandwidth).map(PerByte),
        core: rate(board::Resource::Core).map(PerCoreNs),
        memory: rate(board::Resource::Memory).map(PerByteSecond),
    };
    let ends = board.rates.iter().flatten().map(|rate| rate.valid_until_ns).filter(|end| *end != 0);
    (prices, ends.min().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_on_the_board_comes_back() {
        let prices = Prices { bandwidth: Some(PerByte(7)), core: None, memory: Some(PerByteSecond(-1)) };
        let board = to_board(&prices, 1, 2, 3);
        assert_eq!((board.published_ns, board.provider_unix_ns), (1, 2));
        assert_eq!(from_board(&board), (prices, 3));
        assert_eq!(from_board(&board::Prices::NONE), (Prices::NONE, 0));
    }
}
