//! What the service is configured with. The points are **made up for the bench**, so that what is to move the knob
//! does so without doubt: with [`PRICES`] the price of a core decides between two settings whatever the load is, with
//! [`LOADS`] one setting is the best under little load and another one under much.

/// Prices of a core that take turns, in dollars.
pub const CORE: [&str; 2] = ["0.04 $/core/h", "10 $/core/h"];

/// Bytes of little worth: at a low price of cores the first point earns more, at a high one the second. The memory price is
/// unknown and bills nothing.
pub const PRICES: &str = "\
listen = 11211
memory.items = 8 MiB
kernel.heap = 16 MiB
utility = refund
value = 0.2 $/Mop
refund = 3 $/(Mop s)
window = 1 s
stats.interval = 200 ms
tuner = on
wait = halt
batch = 0
image.trusted = yes
points = nom-points 1
points = application kv
points = noise 0.02
points = capacity_per_s 1000000
points = class any open utilisation 0.. connections 0..
points = point wait=halt batch=0 : throughput_per_s=1000000 useful_bytes=0 wire_bytes=600 core_ns=30000 idle_cores=0 memory_bytes=0 mean_ns=100000 jitter_ns=10000 p99_ns=200000 samples=10000 late=1s:0
points = point wait=halt batch=200us : throughput_per_s=1000000 useful_bytes=0 wire_bytes=600 core_ns=10000 idle_cores=0 memory_bytes=0 mean_ns=2000000 jitter_ns=10000 p99_ns=3000000 samples=10000 late=1s:0
";

/// Up to 2,000 a second the first point's latency is the better one, beyond that the second one's.
pub const LOADS: &str = "\
listen = 11211
memory.items = 8 MiB
utility = refund
value = 0.2 $/Mop
refund = 30 $/(Mop s)
window = 1 s
stats.interval = 200 ms
tuner = on
wait = halt
batch = 0
points = nom-points 1
points = application kv
points = noise 0.02
points = capacity_per_s 10000
points = class little open utilisation 0..0.2 connections 0..
points = point wait=halt batch=0 : throughput_per_s=10000 useful_bytes=0 wire_bytes=600 core_ns=30000 idle_cores=0 memory_bytes=0 mean_ns=100000 jitter_ns=10000 p99_ns=200000 samples=10000 late=1s:0
points = point wait=halt batch=50us : throughput_per_s=10000 useful_bytes=0 wire_bytes=600 core_ns=30000 idle_cores=0 memory_bytes=0 mean_ns=900000 jitter_ns=10000 p99_ns=2000000 samples=10000 late=1s:0
points = class much open utilisation 0.2.. connections 0..
points = point wait=halt batch=0 : throughput_per_s=10000 useful_bytes=0 wire_bytes=600 core_ns=30000 idle_cores=0 memory_bytes=0 mean_ns=900000 jitter_ns=10000 p99_ns=2000000 samples=10000 late=1s:0
points = point wait=halt batch=50us : throughput_per_s=10000 useful_bytes=0 wire_bytes=600 core_ns=30000 idle_cores=0 memory_bytes=0 mean_ns=100000 jitter_ns=10000 p99_ns=200000 samples=10000 late=1s:0
";

#[cfg(test)]
pub fn check() {
    use nom_money::Prices;
    use nom_service::configuration::Configuration;
    use nom_tuner::{Moment, Quoted, Rules, Tuner};
    let chosen = |text: &str, core: &str, arrival_per_s: f64| {
        let configuration = Configuration::parse(text).unwrap();
        let rules = Rules { hysteresis: false, ..Rules::default() };
        let mut tuner = Tuner::new(configuration.contract.unwrap(), configuration.points.unwrap(), rules);
        let prices = Prices { core: Some(core.parse().unwrap()), ..Prices::NONE };
        let quoted = Some(Quoted { prices, generation: 1, valid_until_ns: 0 });
        tuner.decide(&Moment { now_ns: 1, quoted, announced: None, arrival_per_s, connections: 4.0 });
        tuner.setting().to_string()
    };
    for arrival_per_s in [300.0, 3_000.0] {
        assert_eq!(chosen(PRICES, CORE[0], arrival_per_s), "wait=halt batch=0");
        assert_eq!(chosen(PRICES, CORE[1], arrival_per_s), "wait=halt batch=200us");
    }
    assert_eq!(chosen(LOADS, CORE[0], 400.0), "wait=halt batch=0");
    assert_eq!(chosen(LOADS, CORE[0], 4_000.0), "wait=halt batch=50us");
}
