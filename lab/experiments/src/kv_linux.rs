//! The cache as a Linux process beside Debian's memcached with one thread ([`crate::contest`]), asked by memcaslap.

use crate::Settings;
use crate::caslap::{Caslap, Load};
use crate::contest::{Contest, Heard, Server};
use crate::figures::Figure;
use nom_machine::artefacts;
use nom_machine::machine::dying_with_us;
use nom_machine::packages;
use nom_machine::scratch::Scratch;
use nom_machine::trouble::Outcome;

const CONTEST: Contest = Contest { ours: "kv", peer: "memcached", port: 11211 };
/// Memory for items on both sides.
const ITEMS_MIB: u32 = 256;
const GOALS: [Option<&str>; 6] =
    [Some(">=1.3"), Some(">=1.5"), Some(">=2.5"), Some(">=1"), Some(">=4"), None];

/// Measures.
pub fn measure(settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Vec<Figure>> {
    let caslap = Caslap::new(progress)?;
    let memcached = packages::ensure("memcached", "memcached", progress)?;
    let kv = artefacts::linux(&["nom-kv-linux"], progress)?.remove(0);
    let start = |server, folder: &Scratch| match server {
        Server::Peer => {
            let mut command = dying_with_us(&memcached);
            let memory = ITEMS_MIB.to_string();
            command.args(["-u", "nobody", "-t", "1", "-U", "0", "-m", &memory, "-l", "0.0.0.0"]);
            command.args(["-p", &CONTEST.port.to_string()]);
            Ok(command)
        }
        Server::Ours { platform, wait } => {
            let lines = format!("memory.items = {ITEMS_MIB} MiB\n");
            CONTEST.process(&kv, folder, (platform, wait), &lines)
        }
    };
    let ask = move |target, (), connections| {
        let seen = caslap.run(target, Load { connections, value_len: None })?;
        let crate::caslap::Seen { operations, rate, mean_us, deviation_us, .. } = seen;
        Ok(Heard { operations, rate, mean_us, deviation_us })
    };
    let rounds = CONTEST.hold(settings, &[((), "")], start, ask, progress)?;
    Ok(CONTEST.figures("kv.linux", "memcached, one thread", GOALS, &rounds[0]))
}
