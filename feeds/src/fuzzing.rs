//! Hostile bytes for every reader of this crate: what the fuzzer calls. A panic is a finding, and so is a reading that
//! breaks its own promises.

use crate::cloud_sigma::Purchase;
use crate::feed::{Feed, Format};
use crate::http::{Host, Url};
use crate::offer::{CHANGES_MAX, Currency, Rates};
use crate::schedule::Schedule;
use crate::spot::Instance;
use crate::trace;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use nom_money::Prices;

/// A time at which the fixtures speak of now, since 1970.
const NOW_NS: u64 = 1_774_780_000_000_000_000;

/// Good answers of all providers to start from.
pub fn answers() -> Vec<Vec<u8>> {
    let files = [
        include_str!("../fixtures/cloud-sigma.json"),
        include_str!("../fixtures/spot.xml"),
        include_str!("../fixtures/spot.json"),
        include_str!("../fixtures/day-ahead.xml"),
        include_str!("../fixtures/day-ahead-none.xml"),
        include_str!("../fixtures/energy-charts.json"),
    ];
    files.iter().map(|file| file.as_bytes().to_vec()).collect()
}

fn feeds() -> [Feed; 4] {
    let feed = |format| Feed {
        url: Url { secure: false, host: Host::Address(Ipv4Addr::LOCALHOST), port: 80, path: "/".into() },
        format,
        rates: Rates::parse("EUR:1.08").unwrap_or_default(),
        others: Prices::NONE,
        negative: true,
    };
    [
        feed(Format::Metadata),
        feed(Format::CloudSigma(Purchase { currency: Currency::USD, core_mhz: 2_000, subscription: false })),
        feed(Format::Spot(Instance {
            kind: "m1.xlarge".into(),
            zone: "us-west-1b".into(),
            product: "SUSE Linux".into(),
            cores: 4,
        })),
        feed(Format::DayAhead { milliwatts_a_core: 10_000 }),
    ]
}

/// An answer, given to every adapter.
pub fn answer(bytes: &[u8]) {
    let Ok(text) = core::str::from_utf8(bytes) else { return };
    for feed in feeds() {
        let Ok(reading) = feed.read(text, NOW_NS) else { continue };
        assert!(reading.next.len() <= CHANGES_MAX && !reading.prices.is_none());
        assert!(reading.next.windows(2).all(|pair| pair[0].begin_unix_ns < pair[1].begin_unix_ns));
        if !feed.holds() {
            assert!(reading.provider_unix_ns <= NOW_NS && reading.valid_ns > 0);
            assert!(reading.next.iter().all(|change| change.begin_unix_ns > NOW_NS));
        }
    }
}

/// Good traces and schedules to start from.
pub fn traces() -> Vec<Vec<u8>> {
    [
        "seconds,bandwidth $/GB,core $/core/h\n0,0.09,0.04\n3600,,0.12\n7200.5,0.05,\n",
        "time,core $/core/h\n2026-03-28T23:00Z,0.04\n2026-03-29T01:00:00+01:00,0.12\n",
        "{\"loop_s\":86400,\"steps\":[{\"at_s\":0,\"prices\":{\"core\":\"0.04 $/core/h\"}},{\"at_s\":3.5,\"prices\":{}}]}",
        "at 0 s: bandwidth 1 $/Gbit, core 0.04 $/core/h\nat 60 s: memory 0.005 $/GiB/h # dear\nloop 120 s\n",
        "day-ahead http://10.0.0.9/api watts=12 convert=EUR:1.08 core=0.004$/core/h negative=yes",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect()
}

/// A schedule, a table, JSON, or the line of a feed: what is read is written and read again.
pub fn trace(bytes: &[u8]) {
    let Ok(text) = core::str::from_utf8(bytes) else { return };
    let _ = Feed::parse(text).map(|feed| feed.to_string());
    let Ok(schedule) = trace::read(text) else { return };
    assert_eq!(Schedule::parse(&schedule.to_string()).as_ref(), Ok(&schedule));
    let step = schedule.at(u64::from(bytes.len() as u32) << 32);
    assert!(step.generation > 0);
    let _ = schedule.faster(bytes.len() as u32);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::tests::Random;

    #[test]
    fn noise_breaks_no_adapter() {
        let mut random = Random(3);
        let (answers, traces) = (answers(), traces());
        for turn in 0..6_000 {
            let text = core::str::from_utf8(&answers[turn % answers.len()]).unwrap();
            if let Some(text) = random.mutate(text) {
                answer(text.as_bytes());
            }
            let text = core::str::from_utf8(&traces[turn % traces.len()]).unwrap();
            if let Some(text) = random.mutate(text) {
                trace(text.as_bytes());
            }
        }
    }
}
