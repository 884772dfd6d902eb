//! Debian's dnsmasq as the server of addresses and names, and a TAP device between it and a test, in a network of the test's
//! own.

use nom_tap::{TapConfig, TapEgress, TapError, TapIngress, namespace, open};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The address that it lends.
pub const LENT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 50);
/// The program's places on Debian.
const PROGRAMS: [&str; 2] = ["/usr/sbin/dnsmasq", "/usr/local/sbin/dnsmasq"];

/// Ends with the test, also when that fails.
pub struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Enters a network of its own, opens the device, and starts the server at the kernel's end of it, which knows
/// `prices.example` and these names too. Nothing, and a line that says so, when this machine does not let us.
pub fn start(names: &[&str]) -> Option<(Server, TapIngress, TapEgress)> {
    let Some(program) = PROGRAMS.into_iter().find(|program| Path::new(program).is_file()) else {
        println!("SKIPPED: no dnsmasq (Debian: dnsmasq-base)");
        return None;
    };
    match namespace::enter().and_then(|()| open(&TapConfig::default())) {
        Ok((ingress, egress)) => Some((serve(program, names), ingress, egress)),
        Err(error @ (TapError::Namespace(_) | TapError::NoTun(_))) => {
            println!("SKIPPED: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn serve(program: &str, names: &[&str]) -> Server {
    let arguments = [
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--no-resolv",
        "--no-hosts",
        "--no-ping",
        "--user=root",
        "--pid-file=",
        "--leasefile-ro",
        "--dhcp-authoritative",
        "--dhcp-range=10.77.0.50,10.77.0.50,255.255.255.0,120",
        "--address=/prices.example/10.77.0.1",
        "--local=/example/",
    ];
    let mut command = Command::new(program);
    command.args(arguments).args(names).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Server(command.spawn().expect("dnsmasq starts"))
}
