//! Prices as the bulletin board holds them.

use crate::priced::Next;
use nom_abi::board;
use nom_money::{PerByte, PerByteSecond, PerCoreNs, Prices};

/// Prices as they are published. The generation is the board's to count.
pub fn to_board(
    prices: &Prices,
    published_ns: u64,
    provider_unix_ns: u64,
    valid_until_ns: u64,
    next: Option<&Next>,
) -> board::Prices {
    let rate = |atto: Option<i128>| atto.map(|atto_per_unit| board::Rate { atto_per_unit, valid_until_ns });
    board::Prices {
        generation: 0,
        published_ns,
        provider_unix_ns,
        rates: rates(prices).map(rate),
        next: next.map(|next| board::Announced {
            at_ns: next.at_ns,
            provider_unix_ns: next.provider_unix_ns,
            atto_per_unit: rates(&next.prices),
        }),
    }
}

/// In the order of their places on the board.
fn rates(prices: &Prices) -> [Option<i128>; board::RESOURCES.len()] {
    [prices.bandwidth.map(|rate| rate.0), prices.core.map(|rate| rate.0), prices.memory.map(|rate| rate.0)]
}

/// Rates as typed prices.
pub fn typed(rates: [Option<i128>; board::RESOURCES.len()]) -> Prices {
    let rate = |resource: board::Resource| rates[resource as usize];
    Prices {
        bandwidth: rate(board::Resource::Bandwidth).map(PerByte),
        core: rate(board::Resource::Core).map(PerCoreNs),
        memory: rate(board::Resource::Memory).map(PerByteSecond),
    }
}

/// Prices as they stand on the board, and until when all of them may be used (0: until they are replaced).
pub fn from_board(board: &board::Prices) -> (Prices, u64) {
    let prices = typed(board.rates.map(|rate| rate.map(|rate| rate.atto_per_unit)));
    let ends = board.rates.iter().flatten().map(|rate| rate.valid_until_ns).filter(|end| *end != 0);
    (prices, ends.min().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_on_the_board_comes_back() {
        let prices = Prices { bandwidth: Some(PerByte(7)), core: None, memory: Some(PerByteSecond(-1)) };
        let later = Prices { bandwidth: None, core: Some(PerCoreNs(9)), memory: Some(PerByteSecond(8)) };
        let next = Next { at_ns: 4, prices: later, provider_unix_ns: 5 };
        let board = to_board(&prices, 1, 2, 3, Some(&next));
        assert_eq!((board.published_ns, board.provider_unix_ns), (1, 2));
        assert_eq!(from_board(&board), (prices, 3));
        let announced = board.next.unwrap();
        assert_eq!((announced.at_ns, announced.provider_unix_ns), (4, 5));
        assert_eq!(typed(announced.atto_per_unit), later);
        assert_eq!(to_board(&prices, 1, 2, 3, None).next, None);
        assert_eq!(from_board(&board::Prices::NONE), (Prices::NONE, 0));
    }
}
