//! A server's process on one processor and its client's on another, in networks of their own.

use nom_cable::{Cable, End};
use nom_machine::scratch::Scratch;
use nom_machine::trouble::{Context, Outcome, Trouble};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

pub(crate) const SERVERS_PROCESSOR: usize = 0;
pub(crate) const CLIENTS_PROCESSOR: usize = 1;
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(20);
/// Ticks of `/proc/PID/stat` in a second: USER_HZ is 100 on x86-64.
const TICKS_PER_S: f64 = 100.0;

/// Where a server's frames come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// A `veth` cable between two networks, for the kernel's own stack and for AF_XDP.
    Cable,
    /// A TAP device, which the server makes in the clients' network.
    Tap,
}

/// A server and where its clients are. The process ends with the thread that started it.
pub struct Place {
    cable: Cable,
    target: SocketAddr,
    process: u32,
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    _folder: Scratch,
}

impl Place {
    /// Starts a server. The command is told a folder that lasts as long as the place.
    pub fn start(
        way: Way,
        (address, port): (Ipv4Addr, u16),
        command: impl FnOnce(&Scratch) -> Outcome<Command>,
    ) -> Outcome<Self> {
        let folder = Scratch::new()?;
        let tap = way == Way::Tap;
        let cable = if tap { Cable::without() } else { Cable::lay() };
        let cable = cable.map_err(Trouble::new)?;
        let mut command = command(&folder)?;
        // The kernel's end of a TAP device is the clients': it is made in their network.
        let end = if tap { End::Client } else { End::Server };
        let ((say, heard), (stop, told)) = (mpsc::channel(), mpsc::channel::<()>());
        let run = move || {
            let started = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
            let mut child = match started {
                Ok(child) => child,
                Err(error) => return drop(say.send(Err(error))),
            };
            let _ = say.send(Ok(child.id()));
            // Both a word and the end of whoever would say it end the process.
            let _ = told.recv();
            let _ = child.kill();
            let _ = child.wait();
        };
        let thread = cable.spawn(end, Some(SERVERS_PROCESSOR), run).map_err(Trouble::new)?;
        let process = match heard.recv() {
            Ok(started) => started.context(|| "the server".into())?,
            Err(_) => return Err(Trouble::new("the server's thread ended")),
        };
        let target = SocketAddr::from((address, port));
        let place = Self { cable, target, process, stop: Some(stop), thread: Some(thread), _folder: folder };
        place.wait_until_reached()?;
        Ok(place)
    }

    fn wait_until_reached(&self) -> Outcome<()> {
        let (target, deadline) = (self.target, Instant::now() + PATIENCE);
        let reach = move || {
            while Instant::now() < deadline {
                if TcpStream::connect_timeout(&target, PATIENCE).is_ok() {
                    return true;
                }
                thread::sleep(PAUSE);
            }
            false
        };
        let client = self.cable.spawn(End::Client, None, reach).map_err(Trouble::new)?;
        match client.join() {
            Ok(true) => Ok(()),
            _ => Err(Trouble::new(format!("the server does not answer on {target}"))),
        }
    }

    /// Runs a client in the clients' network, on their processor.
    pub fn ask<R: Send + 'static>(
        &self,
        client: impl FnOnce(SocketAddr) -> Outcome<R> + Send + 'static,
    ) -> Outcome<R> {
        let target = self.target;
        let run = move || client(target);
        let client = self.cable.spawn(End::Client, Some(CLIENTS_PROCESSOR), run).map_err(Trouble::new)?;
        client.join().map_err(|_| Trouble::new("the client failed"))?
    }

    /// Processor time of the server's process so far, all its threads.
    pub fn used_us(&self) -> Outcome<f64> {
        let file = format!("/proc/{}/stat", self.process);
        let text = fs::read_to_string(&file).context(|| format!("cannot read {file}"))?;
        let used =
            crate::idle::used(&text).ok_or_else(|| Trouble::new(format!("{file} is not as expected")))?;
        Ok(used as f64 / TICKS_PER_S * 1e6)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
