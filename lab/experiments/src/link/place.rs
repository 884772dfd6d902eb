//! A server on one processor and its client on another, in networks of their own.

use super::{Server, mirror, opening};
use nom_cable::{
    ADDRESS, Answered, Cable, End, Opened, PORT, Refused, Running, SERVER_KERNEL, ask, serve_linux, stream,
};
use nom_machine::trouble::{Outcome, Trouble};
use nom_stack::knobs::{Batching, Knobs, Wait};
use nom_stack::port::{Egress, Ingress};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

const SERVERS_PROCESSOR: usize = 0;
const CLIENTS_PROCESSOR: usize = 1;

/// The server while it runs.
enum Serving {
    Ours(Running),
    Other { stop: Arc<AtomicBool>, thread: JoinHandle<std::io::Result<()>> },
}

/// A server and where its clients are.
pub(crate) struct Place {
    cable: Cable,
    serving: Serving,
    target: SocketAddr,
    /// The server's thread, for its processor time.
    thread: Arc<AtomicU32>,
}

fn here(thread: &AtomicU32) {
    // /proc/thread-self is PROCESS/task/THREAD.
    let link = std::fs::read_link("/proc/thread-self").ok();
    let number = link.and_then(|link| link.file_name()?.to_str()?.parse().ok());
    thread.store(number.unwrap_or(0), Ordering::Relaxed);
}

impl Place {
    /// Starts a server that waits in this way.
    pub(crate) fn start(server: Server, spinning: bool) -> Outcome<Self> {
        let taps = matches!(server, Server::Tap | Server::TapMirror);
        let cable = if taps { Cable::without() } else { Cable::lay() };
        let cable = cable.map_err(Trouble::new)?;
        let thread = Arc::new(AtomicU32::new(0));
        let at = Arc::clone(&thread);
        let wait = if spinning { Wait::Poll } else { Wait::Halt };
        let knobs = Knobs { wait, batching: Batching::TakeQueued, ..Knobs::default() };
        let processor = Some(SERVERS_PROCESSOR);
        let serving = match server {
            Server::Linux => linux(&cable, spinning, at)?,
            Server::Xdp => Serving::Ours(started(Running::start(&cable, processor, knobs, move || {
                here(&at);
                opening::xdp()
            }))?),
            Server::TapMirror => {
                let copy = cable.copy().map_err(Trouble::new)?;
                mirrored(&cable, spinning, move || opening::tap(&copy))?
            }
            Server::XdpMirror => mirrored(&cable, spinning, opening::xdp)?,
            Server::Packet => Serving::Ours(started(Running::start(&cable, processor, knobs, move || {
                here(&at);
                opening::packet()
            }))?),
            Server::Tap => {
                let copy = cable.copy().map_err(Trouble::new)?;
                Serving::Ours(started(Running::start(&cable, processor, knobs, move || {
                    here(&at);
                    opening::tap(&copy)
                }))?)
            }
        };
        let address = if server == Server::Linux { SERVER_KERNEL } else { ADDRESS };
        Ok(Self { cable, serving, target: (address, PORT).into(), thread })
    }

    /// Round trips with that many connections, and the server's processor time meanwhile.
    pub(crate) fn ask(
        &self,
        connections: usize,
        len: usize,
        warm_up: Duration,
        time: Duration,
    ) -> Outcome<(Answered, u64)> {
        let (target, file) = (self.target, self.clock());
        self.at_client(move || {
            let mut used_ns = Vec::with_capacity(2);
            let answered =
                ask(target, connections, len, warm_up, time, || used_ns.push(processor_time_ns(&file)))?;
            Ok((answered, used_ns[1] - used_ns[0]))
        })
    }

    /// A bulk transfer there and back.
    pub(crate) fn stream(&self, warm_up: Duration, time: Duration) -> Outcome<Answered> {
        let target = self.target;
        self.at_client(move || stream(target, warm_up, time))
    }

    fn at_client<T: Send + 'static>(
        &self,
        act: impl FnOnce() -> std::io::Result<T> + Send + 'static,
    ) -> Outcome<T> {
        let client = self.cable.spawn(End::Client, Some(CLIENTS_PROCESSOR), act).map_err(Trouble::new)?;
        let done = client.join().map_err(|_| Trouble::new("the client failed"))?;
        done.map_err(|error| Trouble::new(format!("the client: {error}")))
    }

    fn clock(&self) -> String {
        format!("/proc/self/task/{}/schedstat", self.thread.load(Ordering::Relaxed))
    }

    /// Ends the server.
    pub(crate) fn end(self) -> Outcome<()> {
        match self.serving {
            Serving::Ours(running) => drop(running.end()),
            Serving::Other { stop, thread } => {
                stop.store(true, Ordering::Relaxed);
                let ended = thread.join().map_err(|_| Trouble::new("the server failed"))?;
                ended.map_err(|error| Trouble::new(format!("the server: {error}")))?;
            }
        }
        Ok(())
    }
}

fn started(result: Result<Running, Refused>) -> Outcome<Running> {
    result.map_err(|refused| Trouble::new(refused.text))
}

fn linux(cable: &Cable, spinning: bool, at: Arc<AtomicU32>) -> Outcome<Serving> {
    let stop = Arc::new(AtomicBool::new(false));
    let (told, (say, heard)) = (Arc::clone(&stop), mpsc::channel());
    let server = move || {
        here(&at);
        serve_linux(
            PORT,
            spinning,
            || {
                let _ = say.send(());
            },
            &told,
        )
    };
    let thread = cable.spawn(End::Server, Some(SERVERS_PROCESSOR), server).map_err(Trouble::new)?;
    heard.recv().map_err(|_| Trouble::new("the Linux server did not begin"))?;
    Ok(Serving::Other { stop, thread })
}

fn mirrored<I: Ingress, E: Egress>(
    cable: &Cable,
    spinning: bool,
    open: impl FnOnce() -> Result<Opened<I, E>, Refused> + Send + 'static,
) -> Outcome<Serving> {
    let stop = Arc::new(AtomicBool::new(false));
    let (told, (say, heard)) = (Arc::clone(&stop), mpsc::channel());
    let server = move || {
        let opened = open();
        let _ = say.send(opened.as_ref().map(|_| ()).map_err(|refused| refused.text.clone()));
        if let Ok(opened) = opened {
            mirror::turn_round(opened, spinning, &told);
        }
        Ok(())
    };
    let thread = cable.spawn(End::Server, Some(SERVERS_PROCESSOR), server).map_err(Trouble::new)?;
    heard.recv().map_err(|_| Trouble::new("the mirror did not begin"))?.map_err(Trouble::new)?;
    Ok(Serving::Other { stop, thread })
}

/// The time that a thread was on a processor: the first number of its `schedstat`.
fn processor_time_ns(file: &str) -> u64 {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0)
}
