//! An address that somebody lends us: the DHCP client over the application's own stack.

use super::Worker;
use crate::management::Level;
use alloc::format;
use nom_stack::application::Application;
use nom_stack::dhcp::{Change, Client};
use nom_stack::port::{Egress, Ingress};
use nom_stack::wire::dhcp::{CLIENT_PORT, SERVER_PORT};

/// Answers that are looked at in one round.
const ANSWERS_MAX: usize = 16;

impl<I: Ingress, E: Egress, A: Application> Worker<I, E, A> {
    /// Asks for an address from now on.
    pub(super) fn begin_lease(&mut self, mac: [u8; 6], seed: u64, now_ns: u64) {
        // Nobody else binds ports before us.
        if self.engine.bind(CLIENT_PORT).is_ok() {
            self.lease = Some(Client::new(mac, seed, now_ns));
        }
    }

    /// When the lease has something to do by itself.
    pub(super) fn lease_ns(&self) -> u64 {
        self.lease.as_ref().map_or(u64::MAX, Client::deadline_ns)
    }

    /// Hears what servers say, and asks them when that is due. True when there was anything.
    pub(super) fn keep_lease(&mut self, now_ns: u64) -> bool {
        let mut any = false;
        for _ in 0..ANSWERS_MAX {
            let Some(datagram) = self.engine.take_datagram(CLIENT_PORT) else { break };
            any = true;
            let change = self.lease.as_mut().and_then(|client| client.receive(&datagram.payload, now_ns));
            self.leased(change, now_ns);
        }
        if self.lease_ns() <= now_ns
            && let Some(client) = &mut self.lease
        {
            any = true;
            let (outgoing, change) = client.run(now_ns);
            self.leased(change, now_ns);
            if let Some(outgoing) = outgoing {
                // What does not leave is asked again like what is lost.
                let to = (outgoing.to, SERVER_PORT);
                let _ = self.engine.send_datagram(CLIENT_PORT, to, &outgoing.bytes, now_ns);
            }
        }
        any
    }

    fn leased(&mut self, change: Option<Change>, now_ns: u64) {
        match change {
            None => {}
            Some(Change::Bound(lease)) => {
                self.lent_servers(lease.name_servers.into_iter().flatten());
                let news = self.engine.config().address != lease.address;
                self.engine.set_address(Some((lease.address, lease.prefix_len)), lease.gateway, now_ns);
                if news {
                    let text =
                        format!("address {}/{} is lent by {}", lease.address, lease.prefix_len, lease.server);
                    self.log(now_ns, Level::Info, text);
                }
            }
            Some(Change::Lost) => {
                self.engine.set_address(None, None, now_ns);
                let text = "the address is lent no longer: connections ended, and another one is asked for";
                self.log(now_ns, Level::Warning, text);
            }
        }
    }
}
