//! What coalescing saves: in virtual time, the web server with its whole service, and clients that ask again before they were
//! answered (proxies do, browsers do not). Answers to one connection that are given within one batch leave in one segment,
//! with one acknowledgement for what asked for them. Bytes and money are those of the sealed ledger; core time is modelled.
//!
//! - `httpd.coalesced_bytes_per_request` where frames gather for at most 200 us, `httpd.uncoalesced_bytes_per_request` where
//!   each is answered by itself;
//! - `httpd.coalesced_profit`, `httpd.uncoalesced_profit`: dollars for a million answers at a large provider's prices.

use crate::figures::Figure;
use nom_abi::board::{Prices, Rate, Resource};
use nom_httpd::{Config as Web, File, Httpd};
use nom_ledger::Window;
use nom_load::random::Random;
use nom_machine::trouble::{Context, Outcome, Trouble};
use nom_money::{PerByte, PerCoreNs};
use nom_service::configuration::Configuration;
use nom_service::management::Message;
use nom_simnet::port::Device;
use nom_simnet::{Cost, Deployed, End, Host, Link, Simulation};
use nom_stack::Config;
use nom_stack::application::{Application, ConnectionId, Ended, Io, Pin};
use std::net::Ipv4Addr;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const PORT: u16 = 80;
const MEMORY_BYTES: u64 = 16 << 20;
/// nginx's page of the paper's second size.
const CONTENT_LEN: usize = 175;
const CONNECTIONS: usize = 4;
const REQUESTS: u64 = 20_000;
/// Between two requests on the mean, over all connections.
const GAP_NS: f64 = 25_000.0;
/// Time in which all is answered that was asked.
const PATIENCE_NS: u64 = 20_000_000_000;
/// What work costs a halting core: as in the tests of deployed services.
const COST: Cost = Cost { wake_ns: 30_000, batch_ns: 500, frame_ns: 800, kilobyte_ns: 100, kick_ns: 300 };
/// A large provider's.
const BANDWIDTH: &str = "0.09 $/GB";
const CORE: &str = "0.04 $/core/h";
const REQUEST: &[u8] = b"GET /175.html HTTP/1.1\r\nHost: nom\r\n\r\n";

/// What a setting came to.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Seen {
    bytes: f64,
    /// Dollars for a million answers, and what of that bytes and the core took.
    profit: f64,
    bandwidth: f64,
    core: f64,
    mean_us: f64,
}

/// Counts.
pub fn measure(progress: &mut dyn FnMut(&str)) -> Outcome<Vec<Figure>> {
    let mut seen = |batch: &str| -> Outcome<Seen> {
        let seen = run(batch)?;
        progress(&format!(
            "batch = {batch}, in virtual time: {:.1} bytes a request, {:.4} $ for a million ({:.4} of bytes, {:.4} of the core), \
             {:.0} us on the mean",
            seen.bytes, seen.profit, seen.bandwidth, seen.core, seen.mean_us
        ));
        Ok(seen)
    };
    let alone = seen("0")?;
    seen("queued")?;
    seen("50 us")?;
    let together = seen("200 us")?;
    let figures = [
        Figure::of("httpd.uncoalesced_bytes_per_request", "B", None, &[alone.bytes]),
        Figure::of("httpd.uncoalesced_profit", "$/Mop", None, &[alone.profit]),
        Figure::of("httpd.coalesced_bytes_per_request", "B", None, &[together.bytes])
            .map(|figure| figure.against("batch = 0")),
        Figure::of("httpd.coalesced_profit", "$/Mop", None, &[together.profit])
            .map(|figure| figure.against("batch = 0")),
    ];
    Ok(figures.into_iter().flatten().collect())
}

/// Clients that count what they are told.
#[derive(Debug, Default)]
struct Clients {
    open: Vec<ConnectionId>,
    bytes: u64,
}

impl Application for Clients {
    fn opened(&mut self, io: &mut impl Io, _port: u16, _outgoing: bool) {
        self.open.push(io.connection());
    }

    fn received(&mut self, _io: &mut impl Io, bytes: &[u8]) -> usize {
        self.bytes += bytes.len() as u64;
        bytes.len()
    }

    fn writable(&mut self, _io: &mut impl Io) {}

    fn finished(&mut self, io: &mut impl Io) {
        io.close();
    }

    fn ended(&mut self, _connection: ConnectionId, _reason: Ended) {}

    fn pinned(&self, _pin: Pin) -> &[u8] {
        &[]
    }

    fn released(&mut self, _pin: Pin) {}
}

fn server(configuration: Configuration) -> Outcome<Deployed<Httpd>> {
    let mut prices = Prices::NONE;
    let rate = |atto_per_unit| Some(Rate { atto_per_unit, valid_until_ns: 0 });
    let wrong = |what: &str| Trouble::new(format!("{what} is no price"));
    let bandwidth: PerByte = BANDWIDTH.parse().map_err(|_| wrong(BANDWIDTH))?;
    let core: PerCoreNs = CORE.parse().map_err(|_| wrong(CORE))?;
    prices.rates[Resource::Bandwidth as usize] = rate(bandwidth.0);
    prices.rates[Resource::Core as usize] = rate(core.0);
    let application = |configuration: &Configuration, _| {
        let mut httpd = Httpd::new(Web::new(configuration.items_bytes, 0, 1_800_000_000_000_000_000));
        let file = File { plain: vec![b'x'; CONTENT_LEN].into(), ..File::default() };
        httpd.site_mut().put("/175.html", file).expect("there is room");
        httpd
    };
    Deployed::new(configuration, Device::default(), COST, MEMORY_BYTES, vec![(0, prices)], 1, application)
        .map_err(|error| Trouble::new(format!("the service does not start: {error:?}")))
}

fn run(batch: &str) -> Outcome<Seen> {
    let text = format!(
        "listen = {PORT}\nutility = simple\nvalue = 2 $/Mop\nlatency.limit = 1 s\nwindow = 100 ms\ntuner = off\nwait = halt\n\
         batch = {batch}\nmanagement.token = 0123456789abcdef\n"
    );
    let configuration = Configuration::parse(&text).context(|| "a configuration".into())?;
    let mut simulation = Simulation::new(1);
    let (server_id, server) = simulation.add(server(configuration)?);
    let config = Config::new([2, 0, 0, 0, 0, 2], CLIENT, 24);
    let (client_id, client) =
        simulation.add(Host::new(config, Device::default(), Cost::default(), Clients::default(), 2));
    simulation.connect(End { node: server_id, port: 0 }, End { node: client_id, port: 0 }, Link::gigabit());
    server.borrow_mut().command("hello 0123456789abcdef\n");
    for _ in 0..CONNECTIONS {
        let opened = client.borrow_mut().engine_at(0).connect(SERVER, PORT, 0);
        opened.map_err(|error| Trouble::new(format!("a connection: {error:?}")))?;
    }
    simulation.touch(client_id);
    let is_open = |client: &Host<Clients>| client.engine().application().open.len() == CONNECTIONS;
    if !simulation.run_while(PATIENCE_NS, || !is_open(&client.borrow())) {
        return Err(Trouble::new("the connections do not open"));
    }
    let mut random = Random::new(3);
    let mut at_ns = simulation.now_ns() as f64;
    for _ in 0..REQUESTS {
        at_ns += random.exponential(GAP_NS);
        simulation.run_until(at_ns as u64);
        let now_ns = simulation.now_ns();
        let mut client = client.borrow_mut();
        let id = client.engine().application().open[random.below(CONNECTIONS as u64) as usize];
        let written = client.engine_at(now_ns).with_connection(id, now_ns, |_, io| io.write(REQUEST));
        if written != Some(Ok(())) {
            return Err(Trouble::new("a request finds no room"));
        }
        drop(client);
        simulation.touch(client_id);
    }
    server.borrow_mut().command("drain\n");
    simulation.touch(server_id);
    if !simulation.run_while(PATIENCE_NS, || !server.borrow().is_over()) {
        return Err(Trouble::new("the drain does not end"));
    }
    let messages = server.borrow_mut().messages();
    let mut windows = Vec::new();
    for message in messages {
        if let Message::Window(text) = message {
            windows.push(Window::parse(&text).context(|| "a window of the ledger".into())?);
        }
    }
    let sum = |of: fn(&Window) -> f64| windows.iter().map(of).sum::<f64>();
    let accepted = sum(|window| window.accepted as f64);
    if accepted != REQUESTS as f64 || client.borrow().engine().application().bytes == 0 {
        return Err(Trouble::new(format!("{accepted} of {REQUESTS} requests were answered")));
    }
    let dollars = |of: fn(&Window) -> f64| sum(of) / 1e12 / accepted * 1e6;
    Ok(Seen {
        bytes: sum(|window| window.wire_bytes as f64) / accepted,
        profit: dollars(|window| window.profit().0 as f64),
        bandwidth: dollars(|window| window.bandwidth.amount.0 as f64),
        core: dollars(|window| window.core.amount.0 as f64),
        mean_us: sum(|window| window.latency_sum_ns as f64) / sum(|window| window.measured as f64) / 1e3,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_that_gather_cost_fewer_bytes_and_earn_more() {
        let (alone, together) = (run("0").unwrap(), run("200 us").unwrap());
        assert!(together.bytes < alone.bytes * 0.95, "{alone:?} {together:?}");
        assert!(together.profit > alone.profit, "{alone:?} {together:?}");
        assert_eq!(run("0").unwrap(), alone, "virtual time repeats itself");
    }
}
