//! The courses: the paper's, and what the providers' own texts say.

use super::days::Course;
use super::run::WINDOW_S;
use super::surface::Fitted;
use nom_feeds::cloud_sigma::{self, Purchase};
use nom_feeds::day_ahead;
use nom_feeds::offer::{Change, Offer, Plan, Rates, Trouble as Refused};
use nom_feeds::spot::{self, Instance};
use nom_machine::trouble::{Outcome, Trouble};
use nom_money::Prices;

/// A course of a day takes so long: a day a hundred and more times faster.
const DAY_S: f64 = 600.0;
/// What a core draws.
const MILLIWATTS: u32 = 20_000;

fn refused(refused: Refused) -> Trouble {
    Trouble::new(format!("a price text of the bench: {}", refused.0))
}

fn spread(name: &'static str, changes: &[Change]) -> Outcome<Course> {
    let (Some(first), Some(last)) = (changes.first(), changes.last()) else {
        return Err(Trouble::new(format!("{name}: no prices")));
    };
    let span = (last.begin_unix_ns - first.begin_unix_ns) as f64 * (1.0 + 1.0 / changes.len() as f64);
    let at = |change: &Change| {
        let second = (change.begin_unix_ns - first.begin_unix_ns) as f64 / span.max(1.0) * DAY_S;
        ((second / WINDOW_S).floor() * WINDOW_S, change.prices)
    };
    Ok(Course { name, seconds: DAY_S, steps: changes.iter().map(at).collect(), paper: false })
}

fn plan(offers: &[Offer], others: &Prices, begin_unix_ns: u64) -> Outcome<Vec<Change>> {
    let rates = Rates::parse("EUR:1.08").map_err(refused)?;
    let plan = Plan::new(offers, &rates, others, begin_unix_ns).map_err(refused)?;
    Ok(std::iter::once(plan.now).chain(plan.next).collect())
}

/// All of them.
pub fn courses() -> Outcome<Vec<Course>> {
    let bandwidth = |text: &str| Prices { bandwidth: text.parse().ok(), ..Prices::NONE };
    let paper = Course {
        name: "paper",
        seconds: 120.0,
        steps: vec![(0.0, bandwidth("1 $/Gbit")), (60.0, bandwidth("10 $/Gbit"))],
        paper: true,
    };
    let instance = Instance {
        kind: "m1.xlarge".into(),
        zone: "us-west-1b".into(),
        product: "SUSE Linux".into(),
        cores: 4,
    };
    let offers =
        spot::read(include_str!("../../../../feeds/fixtures/spot.json"), &instance).map_err(refused)?;
    let begin = |offers: &[Offer]| {
        offers
            .iter()
            .filter_map(|offer| offer.slots().first())
            .map(|slot| slot.begin_unix_ns)
            .max()
            .unwrap_or(0)
    };
    let spot = spread("spot", &plan(&offers, &Prices::NONE, begin(&offers))?)?;
    let offers = day_ahead::read(include_str!("../../../../feeds/fixtures/day-ahead.xml"), MILLIWATTS)
        .map_err(refused)?;
    // Energy comes on top of what the core itself costs.
    let others = Prices { core: "0.001 $/core/h".parse().ok(), ..Prices::NONE };
    let power = spread("day-ahead", &plan(&offers, &others, begin(&offers))?)?;
    Ok(vec![paper, spot, sigma()?, power])
}

/// A provider that states a level now and the next one: a day of such documents, each with the levels that stand in it.
fn sigma() -> Outcome<Course> {
    let text = include_str!("../../../../feeds/fixtures/cloud-sigma.json");
    let purchase =
        Purchase { currency: nom_feeds::offer::Currency::USD, core_mhz: 2_000, subscription: false };
    let mut changes: Vec<Change> = Vec::new();
    // What is current and what is next take turns, five minutes each, in the levels that the document has prices for.
    for (number, (cpu, tx)) in [(6, 6), (7, 5), (7, 6), (6, 5), (6, 6), (7, 5)].into_iter().enumerate() {
        let current =
            format!("\"cpu\": {cpu}, \"dssd\": 1, \"ip\": 1, \"mem\": 6, \"sms\": 1, \"tx\": {tx},");
        let text = text.replacen(
            "\"cpu\": 6, \"dssd\": 1, \"ip\": 1, \"mem\": 6, \"sms\": 1, \"tx\": 6,",
            &current,
            1,
        );
        let unix_ns = (1_774_738_800 + number as u64 * 4 * 3600) * 1_000_000_000;
        let offers = cloud_sigma::read(&text, &purchase, unix_ns).map_err(refused)?;
        let mut now = plan(&offers, &Prices::NONE, unix_ns)?.remove(0);
        now.begin_unix_ns = unix_ns;
        now.prices.memory = None;
        changes.push(now);
    }
    spread("cloudsigma", &changes)
}

impl Course {
    /// What an operation's core time and bytes cost on average, in attodollars.
    pub fn operation_cost_atto(&self, fitted: &Fitted) -> f64 {
        let prices = self.middle();
        let core = prices.core.map_or(0.0, |rate| rate.0 as f64) * fitted.alone_core_ns();
        let bandwidth = prices.bandwidth.map_or(0.0, |rate| rate.0 as f64) * fitted.alone_wire();
        core.max(0.0) + bandwidth.max(0.0)
    }
}
