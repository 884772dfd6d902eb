//! kv as a Linux process: the network that the configuration names, on one core or several, and the service that every
//! deployed application shares.

#![forbid(unsafe_code)]

mod contents;

use contents::Contents;
use nom_kv::Kv;
use nom_kv::shards::{Shards, Wake};
use nom_kv_setup::Began;
use nom_linux_process::arguments::{Arguments, Program};
use nom_linux_process::deployed::{self, Deployed, Last, Part};
use nom_linux_process::home::LinuxHome;
use nom_linux_process::team::Team;
use nom_service::configuration::Configuration;
use nom_service::home::Home;
use nom_service::team::Ring;
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
    /// What a predecessor left there, once it was taken.
    taken: Option<Arc<Contents>>,
    /// Our part of the keys, where other cores have the others.
    shards: Option<Shards>,
    /// Which core has which key, for a successor with as many.
    secret: Option<[u8; SECRET_LEN]>,
    /// When the clock of items began, where other cores have it too.
    began: Option<Began>,
}

/// A core that another one wakes.
struct Core(Arc<Team>, usize);

impl Wake for Core {
    fn wake(&self) {
        self.0.bell(self.1).ring();
    }
}

fn began(home: &LinuxHome) -> Began {
    Began { now_ns: home.now_ns(), unix_ns: home.unix_ns() }
}

impl Cache {
    /// What a predecessor left, taken once for all cores.
    fn taken(&mut self) -> Result<Arc<Contents>, String> {
        if let Some(taken) = &self.taken {
            return Ok(Arc::clone(taken));
        }
        let taken = Arc::new(self.contents.as_deref().map_or_else(|| Ok(Contents::new()), contents::take)?);
        self.taken = Some(Arc::clone(&taken));
        Ok(taken)
    }
}

impl Deployed for Cache {
    type Application = Kv;

    const PROGRAM: Program = Program { name: "nom-kv-linux", files: &["contents"] };
    const NAME: &'static str = "kv";

    fn open(_configuration: &Configuration, arguments: &Arguments) -> Result<Self, String> {
        let contents = arguments.file("contents").map(PathBuf::from);
        Ok(Self { contents, taken: None, shards: None, began: None, secret: None })
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
        // All cores have the same clock of items.
        let began = began(home);
        let seed = || seed(home).map_err(|error| error.to_string());
        let (shards, parts) = nom_kv_setup::parts(configuration, secret, &wakers, began, seed)?;
        (self.shards, self.began) = (shards, Some(began));
        let taken = self.taken()?;
        let filled = |part: nom_kv_setup::Part| -> Part<Kv> {
            let taken = Arc::clone(&taken);
            Box::new(move || {
                let mut kv = part();
                contents::take_over(&mut kv, &taken, began.now_ns, false);
                kv
            })
        };
        Ok(parts.into_iter().map(filled).collect())
    }

    fn application(&mut self, configuration: &Configuration, home: &mut LinuxHome) -> Result<Kv, String> {
        let seed = seed(home).map_err(|error| error.to_string())?;
        let began = self.began.unwrap_or_else(|| began(home));
        let mut kv = Kv::new(nom_kv_setup::config(configuration, seed, began));
        if let Some(shards) = self.shards.take() {
            kv.join(shards);
        }
        let taken = self.taken()?;
        contents::take_over(&mut kv, &taken, home.now_ns(), true);
        // Nobody asks again.
        self.taken = Some(Arc::default());
        if let Some(path) = &self.contents {
            contents::can_be_left(path)?;
        }
        Ok(kv)
    }

    fn last(&self, core: usize) -> Option<Last<Kv>> {
        let path = contents::of_core(self.contents.as_deref()?, core);
        Some(Box::new(move |kv, now_ns| contents::leave(kv, &path, now_ns)))
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
