//! Prices that are announced before they come: which of them are believed, and since when they are known here.

use super::reprice::plausible;
use nom_abi::board;
use nom_feeds::board::typed;
use nom_money::Prices;
use nom_tuner::Announced;

/// What was announced.
#[derive(Debug, Default)]
pub(super) struct Foreseen {
    next: Option<Known>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    announced: board::Announced,
    prices: Prices,
    /// When the board said it first.
    since_ns: u64,
}

impl Foreseen {
    /// The board says other prices than before: how long ago those in force were announced, if they were. What it
    /// announces now is kept from here on; false when that is beyond belief and left out.
    pub fn turn(&mut self, board: &board::Prices, now_ns: u64) -> (Option<u64>, bool) {
        let before = self.next;
        let ago_ns = before
            .filter(|known| known.prices == super::reprice::typed(board))
            .map(|known| now_ns.saturating_sub(known.since_ns));
        let credible = board.next.as_ref().is_none_or(|next| is_credible(next, board));
        self.next = board.next.filter(|_| credible).map(|announced| {
            // The publisher reckons the moment anew each time; the provider's name for it stays.
            let again = before.filter(|known| {
                known.announced.provider_unix_ns == announced.provider_unix_ns
                    && known.announced.atto_per_unit == announced.atto_per_unit
            });
            let since_ns = again.map_or(now_ns, |known| known.since_ns);
            Known { announced, prices: typed(announced.atto_per_unit), since_ns }
        });
        (ago_ns, credible)
    }

    /// What the tuner is told of it.
    pub fn announced(&self) -> Option<Announced> {
        self.next.map(|known| Announced { at_ns: known.announced.at_ns, prices: known.prices })
    }
}

/// Whether an announcement can be one: of believable prices, one at least, for later than it was published.
fn is_credible(next: &board::Announced, board: &board::Prices) -> bool {
    next.at_ns > board.published_ns
        && next.atto_per_unit.iter().any(Option::is_some)
        && plausible(&next.atto_per_unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nom_abi::board::{Announced, Rate};

    fn board(core: i128, next: Option<(u64, i128)>) -> board::Prices {
        let mut board = board::Prices { published_ns: 100, ..board::Prices::NONE };
        board.rates[1] = Some(Rate { atto_per_unit: core, valid_until_ns: 0 });
        board.next = next.map(|(at_ns, core)| Announced {
            at_ns,
            provider_unix_ns: 7,
            atto_per_unit: [None, Some(core), None],
        });
        board
    }

    #[test]
    fn prices_that_come_as_announced_are_known_since_then() {
        let mut foreseen = Foreseen::default();
        assert_eq!(foreseen.turn(&board(1, Some((500, 2))), 110), (None, true));
        let announced = foreseen.announced().unwrap();
        assert_eq!((announced.at_ns, announced.prices.core.map(|rate| rate.0)), (500, Some(2)));
        // The same announcement again, its moment reckoned anew.
        assert_eq!(foreseen.turn(&board(1, Some((501, 2))), 200), (None, true));
        assert_eq!(foreseen.announced().map(|next| next.at_ns), Some(501));
        assert_eq!(foreseen.turn(&board(2, None), 510), (Some(400), true));
        assert!(foreseen.announced().is_none());
        // Others than the announced ones came, and one that nobody had announced.
        foreseen.turn(&board(2, Some((600, 3))), 520);
        assert_eq!(foreseen.turn(&board(4, None), 600), (None, true));
        assert_eq!(foreseen.turn(&board(3, None), 610), (None, true));
    }

    #[test]
    fn what_cannot_be_an_announcement_is_left_out() {
        let beyond = i128::MAX;
        let empty = Announced { at_ns: 500, provider_unix_ns: 7, atto_per_unit: [None; 3] };
        for hostile in [
            board(1, Some((500, beyond))),
            board(1, Some((500, i128::MIN))),
            board(1, Some((100, 2))),
            board::Prices { next: Some(empty), ..board(1, None) },
        ] {
            let mut foreseen = Foreseen::default();
            foreseen.turn(&board(1, Some((500, 2))), 110);
            assert_eq!(foreseen.turn(&hostile, 120), (None, false), "{hostile:?}");
            assert!(foreseen.announced().is_none());
        }
    }
}
