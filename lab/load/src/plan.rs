//! What a run does, checked before it starts.

use crate::bounds;
use crate::mix::{Keys, Mix};
use crate::pace::Pace;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// A run.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The one address that is contacted.
    pub target: SocketAddr,
    /// Connections, open for the whole run.
    pub connections: usize,
    /// Threads that share them.
    pub threads: usize,
    /// When requests are due.
    pub pace: Pace,
    /// Which requests.
    pub mix: Mix,
    /// The run is a function of it, as far as the network lets it.
    pub seed: u64,
    /// How long requests are sent.
    pub duration: Duration,
    /// How long outstanding answers are waited for afterwards.
    pub grace: Duration,
    /// Ends the sending early after so many operations.
    pub operations_max: u64,
    /// Keep the arrivals, for [`crate::Recording`].
    pub record: bool,
    /// How often the progress callback is called.
    pub progress_every: Duration,
}

impl Plan {
    /// A small closed loop: 4 connections, 1 thread, 10 s.
    pub fn new(target: SocketAddr) -> Self {
        Self {
            target,
            connections: 4,
            threads: 1,
            pace: Pace::Closed,
            mix: Mix::default(),
            seed: 1,
            duration: Duration::from_secs(10),
            grace: Duration::from_secs(2),
            operations_max: bounds::OPERATIONS_MAX,
            record: false,
            progress_every: Duration::from_millis(200),
        }
    }

    /// Refuses a plan that is out of bounds, naming the bound.
    pub fn check(&self) -> Result<(), LoadError> {
        let refuse = |what: String| Err(LoadError::Plan(what));
        let within = |what: &str, value: usize, max: usize| {
            if value == 0 || value > max {
                return Err(LoadError::Plan(format!("{value} {what}, give 1 to {max}")));
            }
            Ok(())
        };
        within("connections", self.connections, bounds::CONNECTIONS_MAX)?;
        within("threads", self.threads, bounds::THREADS_MAX)?;
        if self.mix.whose == Keys::Own && self.connections > 99_999 {
            return refuse("own keys are for at most 99999 connections".into());
        }
        if self.duration.as_secs() > bounds::DURATION_MAX_S || self.grace.as_secs() > bounds::DURATION_MAX_S {
            return refuse(format!("a run lasts at most {} s", bounds::DURATION_MAX_S));
        }
        if self.operations_max > bounds::OPERATIONS_MAX {
            return refuse(format!("at most {} operations", bounds::OPERATIONS_MAX));
        }
        if let Pace::Fixed { per_s } | Pace::Poisson { per_s } = self.pace
            && !(per_s > 0.0 && per_s <= bounds::RATE_MAX)
        {
            return refuse(format!(
                "a rate of {per_s} operations/s, give more than 0 to {}",
                bounds::RATE_MAX
            ));
        }
        self.mix.check()
    }
}

/// Why a run did not start or could not go on.
#[derive(Debug)]
pub enum LoadError {
    /// The plan is out of bounds.
    Plan(String),
    /// The target does not accept connections.
    Connect(SocketAddr, std::io::Error),
    /// A recording cannot be read.
    Recording {
        /// Where, from 1; 0 for the whole file.
        line: usize,
        /// What is wrong and what was expected.
        what: String,
    },
    /// The system refused something else.
    System(&'static str, std::io::Error),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plan(what) => write!(f, "load: {what}"),
            Self::Connect(target, error) => {
                write!(f, "load: cannot connect to {target}: {error}; is the server up?")
            }
            Self::Recording { line, what } => write!(f, "recording, line {line}: {what}"),
            // How the system says that a read or a write took longer than it may.
            Self::System(what, error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                let patience_s = bounds::CONNECT_TIMEOUT_S;
                write!(f, "load: {what}: the server did not go on for {patience_s} s")
            }
            Self::System(what, error) => write!(f, "load: {what}: {error}"),
        }
    }
}

impl std::error::Error for LoadError {}
