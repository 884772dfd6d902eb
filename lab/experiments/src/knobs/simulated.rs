//! A block in virtual time: the stack that ships, on a server whose every deed has a stated cost.

use super::asker::{Asker, Driver, Span};
use super::seen::{Seen, Used};
use super::sweep::Value;
use nom_echo::Echo;
use nom_machine::trouble::{Outcome, Trouble};
use nom_simnet::port::Device;
use nom_simnet::{Cost, End, Host, Link, Node, Rest, Simulation};
use nom_stack::Config;
use std::net::Ipv4Addr;

const PORT: u16 = 7;
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
const MS: u64 = 1_000_000;
/// Connections are open before the load begins; it has come to rest before it counts.
const BEGIN_NS: u64 = 5 * MS;
const FROM_NS: u64 = 15 * MS;

/// What is stated: a notification of the device leaves the virtual machine, a sleep ends by an interrupt.
pub const COST: Cost =
    Cost { wake_ns: 2_000, batch_ns: 300, frame_ns: 1_000, kilobyte_ns: 100, kick_ns: 5_000 };

/// The client as a node.
struct Client {
    host: Host<Asker>,
    driver: Driver,
}

impl Node for Client {
    fn deliver(&mut self, now_ns: u64, port: usize, frame: &[u8], damaged: bool) {
        self.host.deliver(now_ns, port, frame, damaged);
    }

    fn step(&mut self, now_ns: u64) -> Rest {
        let next_ns = self.driver.drive(self.host.engine_at(now_ns), now_ns);
        let rest = self.host.step(now_ns);
        let deadline_ns = [rest.deadline_ns, next_ns].into_iter().flatten().min();
        Rest { deadline_ns, ..rest }
    }

    fn depart(&mut self) -> Option<(usize, Vec<u8>)> {
        self.host.depart()
    }
}

/// Runs one, of this length.
pub fn block(value: &Value, per_s: Option<f64>, cost: Cost, span_ns: u64, seed: u64) -> Outcome<Seen> {
    let span = Span { begin_ns: BEGIN_NS, from_ns: FROM_NS, to_ns: FROM_NS + span_ns };
    let mut simulation = Simulation::new(seed);
    let config = |number: u8, address| Config::new([2, 0, 0, 0, 0, number], address, 24);
    let device = Device { ring: 1024, ..Device::default() };
    let mut server = Host::new(config(1, SERVER), device, cost, Echo::default(), seed);
    server.engine_mut().listen(PORT);
    server.set_knobs(value.knobs, 0);
    let (server_id, server) = simulation.add(server);
    let (driver, asker) = Driver::new((SERVER, PORT), per_s, span, seed);
    let host = Host::new(config(2, CLIENT), device, Cost::default(), asker, seed + 1);
    let (client_id, client) = simulation.add(Client { host, driver });
    let link = Link { rate_bits_per_s: 10_000_000_000, delay_ns: 10_000, ..Link::default() };
    simulation.connect(End { node: server_id, port: 0 }, End { node: client_id, port: 0 }, link);
    simulation.touch(client_id);
    let used = || {
        let host = server.borrow();
        let (usage, counters) = (host.usage(), host.engine().counters());
        [counters.bytes_out, usage.busy_ns + usage.looking_ns, counters.kicks]
    };
    simulation.run_until(span.from_ns);
    let before = used();
    simulation.run_until(span.to_ns);
    let after = used();
    // Late answers to what was due in time count for the latency.
    simulation.run_until(span.to_ns + span_ns);
    let client = client.borrow();
    let asker = client.host.engine().application();
    if asker.answers == 0 {
        return Err(Trouble::new(format!("{}: nothing was answered in virtual time", value.name)));
    }
    let [bytes, cpu_ns, kicks] = [0, 1, 2].map(|place: usize| after[place] - before[place]);
    Ok(Seen::new(&asker.tally, Used { span_ns, answers: asker.answers, bytes, cpu_ns, kicks }))
}

#[cfg(test)]
mod tests {
    use super::super::frontier::judge;
    use super::super::sweep::{Home, Load, Sweep, sweeps, unturned};
    use super::*;

    fn paper() -> Sweep {
        sweeps(Home::Simnet).into_iter().find(|sweep| sweep.knob == "paper").unwrap()
    }

    fn runs(cost: Cost, load: Load) -> Vec<Vec<Seen>> {
        let capacity = block(&unturned(), None, cost, 20 * MS, 1).unwrap().per_s;
        let per_s = load.per_s(capacity);
        let run = |value: &Value, seed| block(value, per_s, cost, 20 * MS, seed).unwrap();
        let values = paper().values;
        values.iter().map(|value| (1..4).map(|seed| run(value, seed)).collect()).collect()
    }

    #[test]
    fn the_papers_frontier_is_there_where_a_kick_costs_and_is_not_where_it_is_free() {
        let dear = runs(COST, Load::Open(70));
        let trade = judge(&dear).trade.expect("latency for processor time");
        assert_eq!(trade.metrics[1], "cpu_us", "{trade:?}");
        assert!(trade.values[0] < trade.values[1], "the longer delay costs less: {trade:?}");
        // The delay is what it says, and nothing waits much longer.
        let mean = |place: usize| dear[place][0].mean_us;
        assert!(mean(2) > mean(0) + 25.0 && mean(2) < mean(0) + 150.0, "{} {}", mean(0), mean(2));
        let free = Cost { kick_ns: 0, batch_ns: 0, wake_ns: 0, ..COST };
        assert_eq!(judge(&runs(free, Load::Open(70))).trade, None, "nothing is saved by waiting");
    }

    #[test]
    fn a_block_is_what_its_seed_makes_it() {
        let value = &paper().values[1];
        let run = |seed| block(value, Some(50_000.0), COST, 10 * MS, seed).unwrap();
        assert_eq!(run(1), run(1));
        assert_ne!(run(1).mean_us, run(2).mean_us);
        assert!((45_000.0..55_000.0).contains(&run(1).per_s), "{:?}", run(1));
    }
}
