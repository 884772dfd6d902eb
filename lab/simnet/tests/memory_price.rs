//! The price of memory sets the size of the deployed cache, in virtual time: dear, cheap and dear again.

use nom_abi::board::{Prices, Rate, Resource};
use nom_kv::Kv;
use nom_load::mix::Mix;
use nom_load::pace::Pace;
use nom_load::recording::Recording;
use nom_service::configuration::Configuration;
use nom_service::management::Message;
use nom_simnet::port::Device;
use nom_simnet::{Cost, Deployed, End, Link, Player, Simulation};
use nom_stack::Config;
use std::net::Ipv4Addr;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const SECOND: u64 = 1_000_000_000;
const MIB: usize = 1 << 20;
const CONFIGURATION: &str = "memory.items = 4 MiB\nmemory.items.min = 1 MiB\nmemory.items.max = 16 MiB\n\
                             miss.cost = 0.0001 $/Mop\ntuner = off\nmanagement.token = 0123456789abcdef\n";

/// Dollars for a byte and a second, in attodollars.
const CHEAP: i128 = 1_000;
const DEAR: i128 = 10_000_000;

fn prices(atto_per_unit: i128) -> Prices {
    let mut prices = Prices::NONE;
    prices.rates[Resource::Memory as usize] = Some(Rate { atto_per_unit, valid_until_ns: 0 });
    prices
}

#[test]
fn memory_is_given_back_when_it_is_dear_and_taken_when_it_is_cheap() {
    let mut simulation = Simulation::new(5);
    let mix = Mix { keys: 20_000, get_percent: 50, preload: false, ..Mix::default() };
    let recording = Recording::draw(&mix, Pace::Poisson { per_s: 10_000.0 }, 8, 5, 12_000_000);
    let configuration = Configuration::parse(CONFIGURATION).unwrap();
    let schedule = vec![(SECOND, prices(CHEAP)), (8 * SECOND, prices(DEAR))];
    let server = Deployed::new(
        configuration,
        Device::default(),
        Cost::default(),
        16 << 20,
        schedule,
        5,
        |configuration, seed| {
            Kv::new(nom_kv::Config {
                memory_bytes_max: configuration.allowed.items_bytes_max,
                ..nom_kv::Config::new(configuration.items_bytes, seed, 0)
            })
        },
    );
    let (server_id, server) = simulation.add(server.unwrap());
    let client = Config::new([2, 0, 0, 0, 0, 2], Ipv4Addr::new(10, 0, 2, 2), 24);
    let (client_id, _client) =
        simulation.add(Player::new(client, Device::default(), recording, (SERVER, 11211), 9));
    simulation.connect(End { node: server_id, port: 0 }, End { node: client_id, port: 0 }, Link::gigabit());
    server.borrow_mut().command("hello 0123456789abcdef\n");
    let capacity = || server.borrow().worker().engine().application().application().store().capacity_bytes();
    let at_first = capacity();
    simulation.run_until(8 * SECOND);
    let cheap = capacity();
    simulation.run_until(12 * SECOND);
    let dear = capacity();
    assert!(cheap > at_first + 2 * MIB, "{at_first} then {cheap}");
    assert!(dear < 2 * MIB, "{dear}");
    let lines: Vec<String> = server
        .borrow_mut()
        .messages()
        .into_iter()
        .filter_map(|message| match message {
            Message::Log { text, .. } if text.starts_with("memory for items: ") => Some(text),
            _ => None,
        })
        .collect();
    assert!(lines.iter().any(|line| line.contains(": 1MiB instead of ")), "{lines:?}");
    assert!(lines.len() < 10, "it does not tremble: {lines:?}");
}
