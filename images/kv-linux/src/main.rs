//! kv as a Linux process: the network that the configuration names, on one core or several, and the service that every
//! deployed application shares.

#![forbid(unsafe_code)]

mod contents;

use nom_kv::Kv;
use nom_kv::shards::{Shards, Wake};
use nom_linux_process::arguments::{Arguments, Program};
use nom_linux_process::deployed::{self, Deployed, Part};
use nom_linux_process::home::LinuxHome;
use nom_linux_process::team::Team;
use nom_service::configuration::Configuration;
use nom_service::home::Home;
use nom_service::worker::seed;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

fn main() -> ExitCode {
    deployed::main::<Cache>()
}

/// Bytes of what decides which core has which key.
const SECRET_LEN: usize = 16;

struct Cache {
    /// Where the items stay between two processes.
    contents: Option<PathBuf>,
    /// Our part of the keys, where other cores have the others.
    shards: Option<Shards>,
    /// Which core has which key, for a successor with as many.
    secret: Option<[u8; SECRET_LEN]>,
    /// When the clock of items began, where other cores have it too; and that in nanoseconds since 1970.
    started: Option<(u64, u64)>,
}

/// A core that another one wakes.
struct Core(Arc<Team>, usize);

impl Wake for Core {
    fn wake(&self) {
        self.0.bell(self.1).ring();
    }
}

/// What each core has of what is configured for all.
fn config(configuration: &Configuration, seed: [u8; 16], now_ns: u64, unix_ns: u64) -> nom_kv::Config {
    let (allowed, cores) = (configuration.allowed, configuration.cores);
    nom_kv::Config {
        item_bytes_max: configuration.item_bytes_max,
        inline_value_bytes: configuration.inline_value_bytes,
        // Who has several cores cannot ask for more while they serve.
        memory_bytes_max: if cores == 1 {
            allowed.items_bytes_max
        } else {
            configuration.items_bytes / cores
        },
        evicts: allowed.evicts,
        crawls: allowed.crawls,
        sender_limit_s: allowed.sender_limit_s,
        idle_limit_s: allowed.idle_limit_s,
        may_flush: allowed.flush,
        may_watch: allowed.watch,
        may_move_time: allowed.move_time,
        start_unix_ns: unix_ns,
        ..nom_kv::Config::new(configuration.items_bytes / cores, seed, now_ns)
    }
}

impl Deployed for Cache {
    type Application = Kv;

    const PROGRAM: Program = Program { name: "nom-kv-linux", files: &["contents"] };
    const NAME: &'static str = "kv";

    fn open(configuration: &Configuration, arguments: &Arguments) -> Result<Self, String> {
        let contents = arguments.file("contents").map(PathBuf::from);
        if contents.is_some() && configuration.cores > 1 {
            return Err("--contents is for a cache on one core: remove it, or the line kv.cores".into());
        }
        Ok(Self { contents, shards: None, started: None, secret: None })
    }

    fn parts(
        &mut self,
        configuration: &Configuration,
        team: &Arc<Team>,
        home: &mut LinuxHome,
        left: Option<&[u8]>,
    ) -> Result<Vec<Part<Kv>>, String> {
        let wakers: Vec<Arc<dyn Wake>> =
            (0..team.cores()).map(|core| Arc::new(Core(Arc::clone(team), core)) as Arc<dyn Wake>).collect();
        let secret = match left {
            Some(left) => *left.first_chunk().ok_or("the predecessor's state is not one of this version")?,
            None => seed(home).map_err(|error| error.to_string())?,
        };
        self.secret = Some(secret);
        let mut all = Shards::all(secret, &wakers).into_iter();
        self.shards = all.next();
        // All cores have the same clock of items.
        let (now_ns, unix_ns) = (home.now_ns(), home.unix_ns());
        self.started = Some((now_ns, unix_ns));
        let mut parts: Vec<Part<Kv>> = Vec::new();
        for shards in all {
            let seed = seed(home).map_err(|error| error.to_string())?;
            let config = config(configuration, seed, now_ns, unix_ns);
            parts.push(Box::new(move || {
                let mut kv = Kv::new(config);
                kv.join(shards);
                kv
            }));
        }
        Ok(parts)
    }

    fn application(&mut self, configuration: &Configuration, home: &mut LinuxHome) -> Result<Kv, String> {
        let seed = seed(home).map_err(|error| error.to_string())?;
        let (now_ns, unix_ns) = self.started.unwrap_or_else(|| (home.now_ns(), home.unix_ns()));
        let mut kv = Kv::new(config(configuration, seed, now_ns, unix_ns));
        if let Some(shards) = self.shards.take() {
            kv.join(shards);
        }
        if let Some(path) = &self.contents {
            contents::take_over(&mut kv, path, home.now_ns())?;
            contents::can_be_left(path)?;
        }
        Ok(kv)
    }

    fn bequeath_first(&self, write: &mut dyn FnMut(&[u8])) {
        if let Some(secret) = &self.secret {
            write(secret);
        }
    }

    fn bequeath(kv: &Kv, now_ns: u64, write: &mut dyn FnMut(&[u8])) {
        kv.save(now_ns, write);
    }

    fn inherit(&self, kv: &mut Kv, now_ns: u64, left: &[u8]) -> Result<(), String> {
        Self::inherit_part(kv, now_ns, &left[if self.secret.is_some() { SECRET_LEN } else { 0 }..])
    }

    fn inherit_part(kv: &mut Kv, now_ns: u64, left: &[u8]) -> Result<(), String> {
        kv.load(now_ns, left).map(|_| ()).map_err(|error| error.to_string())
    }

    fn end(self, kv: &mut Kv, home: &LinuxHome) -> Result<(), String> {
        match &self.contents {
            Some(path) => contents::leave(kv, path, home.now_ns()),
            None => Ok(()),
        }
    }
}
