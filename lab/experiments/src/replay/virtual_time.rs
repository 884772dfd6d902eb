//! The home of virtual time: the worker that ships, in a simulation.

use super::{Piece, Played, terms};
use crate::homes::{PORT, TOKEN};
use nom_feeds::board::to_board;
use nom_kv::Kv;
use nom_ledger::Window;
use nom_machine::trouble::{Context, Outcome, Trouble};
use nom_service::configuration::Configuration;
use nom_service::management::Message;
use nom_simnet::port::Device;
use nom_simnet::{Cost, Deployed, End, Link, Player, Simulation};
use nom_stack::Config;
use std::net::Ipv4Addr;

/// Server and client.
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// Memory that the ledger bills.
const MEMORY_BYTES: u64 = 64 << 20;
/// What work costs there.
const COST: Cost = Cost { wake_ns: 30_000, batch_ns: 500, frame_ns: 800, kilobyte_ns: 100, kick_ns: 300 };
/// How much longer than its recording a piece may take.
const GRACE_NS: u64 = 60_000_000_000;
/// Time after the last answer, so that the last price has been decided by.
const SETTLE_NS: u64 = 1_000_000_000;

/// Plays a piece over a link.
pub fn play(piece: &Piece, link: Link) -> Outcome<Played> {
    let text = format!("{}management.token = {}\n", terms::CONFIGURATION, TOKEN);
    let configuration = Configuration::parse(&text).context(|| "the test's configuration".into())?;
    let prices =
        piece.steps.all().iter().map(|(at_ns, prices)| (*at_ns, to_board(prices, 0, 0, 0, None))).collect();
    let mut simulation = Simulation::new(1);
    let server =
        Deployed::new(configuration, Device::default(), COST, MEMORY_BYTES, prices, 1, |own, seed| {
            Kv::new(nom_kv::Config {
                item_bytes_max: own.item_bytes_max,
                inline_value_bytes: own.inline_value_bytes,
                ..nom_kv::Config::new(own.items_bytes, seed, 0)
            })
        })
        .context(|| "the service in virtual time".into())?;
    let (server_id, server) = simulation.add(server);
    let client = Config::new([2, 0, 0, 0, 0, 2], CLIENT, 24);
    let target = (SERVER, PORT);
    let (client_id, client) =
        simulation.add(Player::new(client, Device::default(), piece.recording.clone(), target, 2));
    simulation.connect(End { node: server_id, port: 0 }, End { node: client_id, port: 0 }, link);
    server.borrow_mut().command(&format!("hello {}\n", TOKEN));
    let end_us = piece.recording.arrivals.last().map_or(0, |arrival| arrival.time_us);
    let limit_ns = end_us * 1000 + GRACE_NS;
    if !simulation.run_while(limit_ns, || !client.borrow().is_done()) {
        return Err(Trouble::new("virtual time: the recording did not end"));
    }
    // The last price may come later than the last answer.
    let now_ns = simulation.now_ns().max(end_us * 1000);
    simulation.run_until(now_ns + SETTLE_NS);
    server.borrow_mut().command("drain\n");
    simulation.touch(server_id);
    if !simulation.run_while(now_ns + GRACE_NS, || !server.borrow().is_over()) {
        return Err(Trouble::new("virtual time: the service did not settle"));
    }
    let (mut windows, mut moves, mut bye) = (Vec::new(), Vec::new(), None);
    for message in server.borrow_mut().messages() {
        match message {
            Message::Window(text) => {
                windows.push(Window::parse(&text).context(|| "a window of the ledger".into())?);
            }
            Message::Knobs(change) => moves.push((change.price_generation, change.before, change.after)),
            Message::Bye(last) => bye = Some(last),
            _ => {}
        }
    }
    let answers = client.borrow().answers();
    let bye = bye.ok_or_else(|| Trouble::new("virtual time: the service said no bye"))?;
    Ok(Played { home: "virtual time", answers, windows, moves, bye })
}
