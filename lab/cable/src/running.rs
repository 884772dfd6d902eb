//! An application on a private stack at the server's end of a cable, on a thread of its own.

use crate::{Cable, End, PORT, serve};
use nom_echo::Echo;
use nom_stack::application::Application;
use nom_stack::counters::Counters;
use nom_stack::knobs::Knobs;
use nom_stack::port::{Egress, Ingress};
use nom_stack::{Config, Engine};
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

/// An application that runs until it is ended: an echo, if no other one is named.
pub struct Running<A = Echo> {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Option<(A, Counters)>>,
}

impl Running {
    /// Opens a device at the server's end and serves an echo on it, on one processor if one is named.
    pub fn start<I: Ingress, E: Egress>(
        cable: &Cable,
        processor: Option<usize>,
        knobs: Knobs,
        open: impl FnOnce() -> Result<Opened<I, E>, Refused> + Send + 'static,
    ) -> Result<Self, Refused> {
        let mut begun = false;
        let begin = move |engine: &mut Engine<I, E, Echo>, _| {
            if !std::mem::replace(&mut begun, true) {
                engine.listen(PORT);
            }
        };
        Self::application(cable, processor, knobs, open, (Echo::default(), begin))
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
        Self::start(cable, None, knobs, open).or_skipped()
    }
}

/// What became of a start, for tests.
pub trait OrSkipped<T> {
    /// `None`, and a line that says so, when this machine does not let us.
    ///
    /// # Panics
    /// When something else is wrong.
    fn or_skipped(self) -> Option<T>;
}

impl<T> OrSkipped<T> for Result<T, Refused> {
    fn or_skipped(self) -> Option<T> {
        match self {
            Ok(running) => Some(running),
            Err(Refused { missing: true, text }) => {
                println!("SKIPPED: {text}");
                None
            }
            Err(Refused { text, .. }) => panic!("{text}"),
        }
    }
}

impl<A: Application + Default + Send + 'static> Running<A> {
    /// Opens a device at the server's end and runs an application on it. `turn` is called before each step of the stack
    /// and tells it what to listen for or whom to connect to.
    pub fn application<I: Ingress, E: Egress>(
        cable: &Cable,
        processor: Option<usize>,
        knobs: Knobs,
        open: impl FnOnce() -> Result<Opened<I, E>, Refused> + Send + 'static,
        (application, turn): (A, impl FnMut(&mut Engine<I, E, A>, u64) + Send + 'static),
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
                Some(serve(opened.config, knobs, opened.halves, (application, turn), &opened.wakes, &told))
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

    /// Ends it. What the application saw, and what the stack counted.
    ///
    /// # Panics
    /// When the server has failed.
    pub fn end(self) -> (A, Counters) {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(seen) => seen.expect("what did not open is not running"),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}
