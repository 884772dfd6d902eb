//! Asking for prices over the application's own stack, so that a one-core guest needs nobody beside it.

use super::Worker;
use crate::home::Home;
use crate::management::Level;
use crate::together::INBOX_MAX;
use alloc::format;
use core::net::Ipv4Addr;
use nom_feeds::http::{Host, Url};
use nom_feeds::priced::Action;
use nom_stack::application::{Application, Io};
use nom_stack::port::{Egress, Ingress};

/// Actions that are done in one round.
const ACTIONS_MAX: usize = 16;

impl<I: Ingress, E: Egress, A: Application> Worker<I, E, A> {
    /// Hands over what happened and does what priced asks for. True when there was anything.
    pub(super) fn ask_for_prices(&mut self, home: &mut impl Home, now_ns: u64) -> bool {
        let Some(priced) = &mut self.priced else { return false };
        let stirred = self.engine.application().side.stirred();
        if !stirred && now_ns < priced.deadline_ns() {
            return false;
        }
        let side = &mut self.engine.application_mut().side;
        let (id, happened) = (side.id(), side.happened());
        if let Some(id) = id.filter(|_| happened.bytes.len() >= INBOX_MAX) {
            // What did not fit stayed with the stack, which offers it again only when somebody calls.
            self.engine.with_connection(id, now_ns, |_, _| ());
        }
        if happened.opened {
            priced.connected(now_ns);
        }
        if !happened.bytes.is_empty() {
            priced.received(now_ns, home.unix_ns(), &happened.bytes);
        }
        if happened.ended {
            priced.closed(now_ns);
        }
        for _ in 0..ACTIONS_MAX {
            let Some(action) = self.priced.as_mut().and_then(|priced| priced.poll(now_ns)) else { break };
            self.act(home, now_ns, action);
        }
        true
    }

    fn act(&mut self, home: &mut impl Home, now_ns: u64, action: Action) {
        match action {
            Action::Connect(Url { host: Host::Address(address), port, .. }) => {
                self.connect_to_prices(address, port, now_ns);
            }
            Action::Connect(Url { host: Host::Name(name), port, .. }) => self.want_name(&name, port, now_ns),
            Action::Send(bytes) => {
                let side = &mut self.engine.application_mut().side;
                side.send(&bytes);
                if let Some(id) = side.id() {
                    self.engine.with_connection(id, now_ns, |together, io| together.flush_side(io));
                }
            }
            Action::Disconnect => self.hang_up(now_ns),
            Action::Publish(prices) => {
                if home.publish(&prices).is_err() {
                    let text =
                        "this application may not publish prices: say prices = board, and let priced do it";
                    self.log(now_ns, Level::Error, text);
                    self.stop_asking(now_ns);
                } else {
                    // Nothing else is done before it is in force.
                    self.reprice(home);
                }
            }
            Action::Report(text) => self.log(now_ns, Level::Warning, text),
        }
    }

    /// Opens a connection to a price service. It is plain: a configuration with one over TLS was not read.
    pub(super) fn connect_to_prices(&mut self, address: Ipv4Addr, port: u16, now_ns: u64) {
        match self.engine.connect(address, port, now_ns) {
            Ok(id) => self.engine.application_mut().side.begin(id),
            Err(error) => {
                self.no_prices_from_there(&format!("no way to {address}:{port}: {error:?}"), now_ns)
            }
        }
    }

    /// There is no connection, and this is why.
    pub(super) fn no_prices_from_there(&mut self, why: &str, now_ns: u64) {
        if let Some(priced) = &mut self.priced {
            priced.failed(now_ns, why);
        }
    }

    fn hang_up(&mut self, now_ns: u64) {
        self.forget_name();
        if let Some(id) = self.engine.application_mut().side.forget() {
            // One that is still being opened cannot be called; it is aborted when it opens.
            self.engine.with_connection(id, now_ns, |_, io| io.abort());
        }
    }

    /// Asks no more.
    pub(super) fn stop_asking(&mut self, now_ns: u64) {
        self.priced = None;
        self.hang_up(now_ns);
    }
}
