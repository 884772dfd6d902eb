//! An echo on a private stack at the server's end of a cable, on a thread of its own.

use crate::{Cable, End, serve};
use nom_echo::Echo;
use nom_stack::Config;
use nom_stack::counters::Counters;
use nom_stack::knobs::Knobs;
use nom_stack::port::{Egress, Ingress};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;

/// A device that was opened.
pub struct Opened<I, E> {
    /// Its halves.
    pub halves: (I, E),
    /// Who the stack on it is.
    pub config: Config,
    /// Readable when a frame waits.
    pub wakes: OwnedFd,
}

/// Why there is no device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// This machine or this user lacks what it takes: a test is skipped, not failed.
    pub missing: bool,
    /// A line for a person.
    pub text: String,
}

/// An echo that runs until it is ended.
pub struct Running {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Option<(Echo, Counters)>>,
}

impl Running {
    /// Opens a device at the server's end and serves on it, on one processor if one is named.
    pub fn start<I: Ingress, E: Egress>(
        cable: &Cable,
        processor: Option<usize>,
        knobs: Knobs,
        open: impl FnOnce() -> Result<Opened<I, E>, Refused> + Send + 'static,
    ) -> Result<Self, Refused> {
        let stop = Arc::new(AtomicBool::new(false));
        let (told, (say, heard)) = (Arc::clone(&stop), mpsc::channel());
        let server = move || match open() {
            Err(refused) => {
                let _ = say.send(Err(refused));
                None
            }
            Ok(opened) => {
                let _ = say.send(Ok(()));
                Some(serve(opened.config, knobs, opened.halves, &opened.wakes, &told))
            }
        };
        let lost = |text: String| Refused { missing: false, text };
        let thread = cable.spawn(End::Server, processor, server).map_err(lost)?;
        match heard.recv() {
            Ok(Ok(())) => Ok(Self { stop, thread }),
            Ok(Err(refused)) => Err(refused),
            Err(_) => Err(lost("the server ended before it began".into())),
        }
    }

    /// The same for tests: `None`, and a line that says so, when this machine does not let us.
    ///
    /// # Panics
    /// When something else is wrong.
    pub fn try_start<I: Ingress, E: Egress>(
        cable: &Cable,
        knobs: Knobs,
        open: impl FnOnce() -> Result<Opened<I, E>, Refused> + Send + 'static,
    ) -> Option<Self> {
        match Self::start(cable, None, knobs, open) {
            Ok(running) => Some(running),
            Err(Refused { missing: true, text }) => {
                println!("SKIPPED: {text}");
                None
            }
            Err(Refused { text, .. }) => panic!("{text}"),
        }
    }

    /// Ends it. What the application saw, and what the stack counted.
    ///
    /// # Panics
    /// When the server has failed.
    pub fn end(self) -> (Echo, Counters) {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(seen) => seen.expect("what did not open is not running"),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}
