//! Which readings are good: every price of now and of later is checked before anything of it is used.

use super::{Next, Priced};
use crate::feed::Reading;
use crate::quote::{Limits, Quote, check};
use alloc::collections::VecDeque;
use alloc::string::String;
use nom_abi::board;
use nom_money::Prices;

impl Priced {
    /// Checks a reading, and publishes it when it is good. One bad price refuses all of it; a bad price of later ends
    /// what is known ahead, and with it how long the reading is valid: that is what comes back as a text.
    pub(super) fn judge(
        &mut self,
        source: usize,
        now_ns: u64,
        unix_ns: u64,
        mut reading: Reading,
    ) -> Result<Option<String>, String> {
        // Even a refused answer is known: what we wait for is another one.
        self.sources[source].known = reading.generation;
        let feed = &self.settings.feeds()[source];
        let holds = feed.holds();
        let limits =
            Limits { negative: self.settings.limits.negative || feed.negative, ..self.settings.limits };
        reading.valid_ns = reading.valid_ns.min(limits.valid_max_ns);
        // Once the last good prices have run out they are no yardstick any more: a provider's clock that was wrong
        // for a while must not shut out the right ones for ever. Another feed's clock is none in any case.
        let good = self.good.as_ref().filter(|good| now_ns <= good.until_ns);
        let before =
            good.map(|good| (good.prices, if good.source == source { good.provider_unix_ns } else { 0 }));
        let set_unix_ns = reading.provider_unix_ns;
        let valid_ns = reading.valid_ns;
        let all = |prices: &Prices, set_unix_ns, unix_ns, before: Option<(Prices, u64)>| {
            check_all(prices, (set_unix_ns, valid_ns), &limits, unix_ns, before)
        };
        all(&reading.prices, set_unix_ns, unix_ns, before)?;
        let (mut next, mut last, mut trouble) = (VecDeque::new(), (reading.prices, set_unix_ns), None);
        for change in &reading.next {
            // Without our own clock nobody knows when it comes.
            let Some(away_ns) = change.begin_unix_ns.checked_sub(unix_ns).filter(|_| unix_ns != 0) else {
                continue;
            };
            if away_ns >= reading.valid_ns && !holds {
                break;
            }
            if let Err(why) = all(&change.prices, change.begin_unix_ns, 0, Some(last)) {
                reading.valid_ns = if holds { reading.valid_ns } else { reading.valid_ns.min(away_ns) };
                trouble = Some(alloc::format!("a price that is known ahead is refused: {why}"));
                break;
            }
            last = (change.prices, change.begin_unix_ns);
            next.push_back(Next {
                at_ns: now_ns.saturating_add(away_ns),
                prices: change.prices,
                provider_unix_ns: change.begin_unix_ns,
            });
        }
        self.publish(source, now_ns, &reading, next);
        Ok(trouble)
    }
}

/// Checks the price of each resource against the one before it.
fn check_all(
    prices: &Prices,
    (provider_unix_ns, valid_ns): (u64, u64),
    limits: &Limits,
    unix_ns: u64,
    before: Option<(Prices, u64)>,
) -> Result<(), String> {
    let like = Quote {
        resource: board::Resource::Bandwidth,
        atto_per_unit: 0,
        valid_ns,
        provider_unix_ns,
        source: "feed",
    };
    for quote in Quote::all(prices, like) {
        let before = before.and_then(|(prices, provider_unix_ns)| {
            let like = Quote { provider_unix_ns, ..like };
            Quote::all(&prices, like).find(|before| before.resource == quote.resource)
        });
        check(&quote, limits, unix_ns, before.as_ref()).map_err(|refused| alloc::format!("{refused}"))?;
    }
    Ok(())
}
