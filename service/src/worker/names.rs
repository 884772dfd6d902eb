//! The names of price services: the resolver over the application's own stack.
//!
//! One name is wanted at a time, since one connection is open at a time. When the patience for a connection is over
//! before its name is known, the name goes on being asked for, and is there for the next try.

use super::Worker;
use alloc::format;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use nom_stack::application::Application;
use nom_stack::dns::{Found, QUERIES_MAX, Resolver};
use nom_stack::port::{Egress, Ingress};
use nom_stack::wire::dns::{Kind, Name, PORT};

/// Answers that are looked at in one round, at each port.
const ANSWERS_MAX: usize = 16;

/// Who finds names out.
pub(super) struct Names {
    resolver: Resolver,
    /// The servers are configured: what a lease says of others is not heard.
    configured: bool,
    /// Whose address is waited for, and the port that is connected to there.
    wanted: Option<(Name, u16)>,
}

impl Names {
    pub(super) fn new(servers: &[Ipv4Addr], seed: u64) -> Self {
        let mut resolver = Resolver::new(seed);
        resolver.set_servers(servers.iter().copied());
        Self { resolver, configured: !servers.is_empty(), wanted: None }
    }
}

impl<I: Ingress, E: Egress, A: Application> Worker<I, E, A> {
    /// When names have something to do by themselves.
    pub(super) fn names_ns(&self) -> u64 {
        self.names.as_ref().map_or(u64::MAX, |names| names.resolver.deadline_ns())
    }

    /// Whoever lent the address told of these servers.
    pub(super) fn lent_servers(&mut self, servers: impl IntoIterator<Item = Ipv4Addr>) {
        if let Some(names) = self.names.as_mut().filter(|names| !names.configured) {
            names.resolver.set_servers(servers);
        }
    }

    /// A connection is wanted to whoever has this name.
    pub(super) fn want_name(&mut self, name: &str, port: u16, now_ns: u64) {
        if let (Some(names), Some(name)) = (&mut self.names, Name::parse(name)) {
            names.wanted = Some((name, port));
            self.settle_name(now_ns);
            return;
        }
        // Only a configuration with a name has one, and there it was checked.
        self.no_prices_from_there(&format!("{name} is no name that can be asked for"), now_ns);
    }

    /// Nobody waits for a name any more.
    pub(super) fn forget_name(&mut self) {
        if let Some(names) = &mut self.names {
            names.wanted = None;
        }
    }

    /// Hears what servers say, asks them when that is due, and connects when it is known whom to. True when there was
    /// anything.
    pub(super) fn keep_names(&mut self, now_ns: u64) -> bool {
        let Some(names) = &mut self.names else { return false };
        let mut any = false;
        for port in names.resolver.ports().collect::<Vec<_>>() {
            for _ in 0..ANSWERS_MAX {
                let Some(datagram) = self.engine.take_datagram(port) else { break };
                any = true;
                let source = (datagram.source, datagram.source_port);
                if let Some(freed) = names.resolver.receive(port, source, &datagram.payload, now_ns) {
                    self.engine.unbind(freed);
                }
            }
        }
        for _ in 0..=QUERIES_MAX {
            if names.resolver.deadline_ns() > now_ns {
                break;
            }
            any = true;
            let (outgoing, freed) = names.resolver.run(now_ns);
            if let Some(freed) = freed {
                self.engine.unbind(freed);
            }
            let Some(outgoing) = outgoing else { continue };
            if let Some(old) = outgoing.old_port {
                self.engine.unbind(old);
            }
            // What cannot be asked is asked again like what is lost.
            if self.engine.bind(outgoing.port).is_ok() {
                let to = (outgoing.server, PORT);
                let _ = self.engine.send_datagram(outgoing.port, to, &outgoing.bytes, now_ns);
            }
        }
        if any {
            self.settle_name(now_ns);
        }
        any
    }

    /// Connects to the name that is wanted, when it is known, or says that it cannot be.
    fn settle_name(&mut self, now_ns: u64) {
        let Some(names) = &mut self.names else { return };
        let Some((name, port)) = names.wanted.take() else { return };
        let why = match names.resolver.find(&name, Kind::A, now_ns) {
            Found::Pending => {
                names.wanted = Some((name, port));
                return;
            }
            Found::Address(IpAddr::V4(address)) if is_host(address) => {
                return self.connect_to_prices(address, port, now_ns);
            }
            Found::Address(address) => format!("has the address {address}, which nobody can have"),
            Found::None => "does not exist, or has no IPv4 address".into(),
            Found::Failed => "is known to no name server that answers (see the key dns)".into(),
        };
        self.no_prices_from_there(&format!("{} {why}", name.as_str()), now_ns);
    }
}

fn is_host(address: Ipv4Addr) -> bool {
    let first = address.octets()[0];
    !(first == 0 || address.is_loopback() || address.is_multicast() || first >= 240)
}
