//! A server's process on one processor and its client's on another, in networks of their own.

use super::{Programs, Server, TAP};
use crate::caslap::{Caslap, Load, Seen};
use nom_cable::{ADDRESS, Cable, End, PREFIX_LEN, SERVER, SERVER_KERNEL};
use nom_machine::machine::dying_with_us;
use nom_machine::scratch::Scratch;
use nom_machine::trouble::{Context, Outcome, Trouble};
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const SERVERS_PROCESSOR: usize = 0;
const CLIENTS_PROCESSOR: usize = 1;
const PORT: u16 = 11211;
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(20);
/// Memory for items on both sides.
const ITEMS_MIB: u32 = 256;
/// Ticks of `/proc/PID/stat` in a second: USER_HZ is 100 on x86-64.
const TICKS_PER_S: f64 = 100.0;

/// A server and where its clients are. The process ends with the thread that started it.
pub(super) struct Place {
    cable: Cable,
    target: SocketAddr,
    process: u32,
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    _folder: Scratch,
}

impl Place {
    pub(super) fn start(server: Server, programs: &Programs) -> Outcome<Self> {
        let folder = Scratch::new()?;
        let tap = matches!(server, Server::Ours { platform: TAP, .. });
        let cable = if tap { Cable::without() } else { Cable::lay() };
        let cable = cable.map_err(Trouble::new)?;
        let mut command = match server {
            Server::Memcached => memcached(programs),
            Server::Ours { platform, wait } => {
                let file = folder.file("configuration");
                fs::write(&file, configuration(platform, wait)).context(|| "a configuration".into())?;
                let mut command = dying_with_us(&programs.kv);
                command.arg("--config").arg(file).arg("--run").arg(folder.path()).args(["--port", "0"]);
                command
            }
        };
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
        let address = if server == Server::Memcached { SERVER_KERNEL } else { ADDRESS };
        let target = SocketAddr::from((address, PORT));
        let place = Self { cable, target, process, stop: Some(stop), thread: Some(thread), _folder: folder };
        place.wait_until_reached(server)?;
        Ok(place)
    }

    fn wait_until_reached(&self, server: Server) -> Outcome<()> {
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
            _ => Err(Trouble::new(format!("{} does not answer on {target}", server.name()))),
        }
    }

    pub(super) fn ask(&self, caslap: &Caslap, connections: u32) -> Outcome<Seen> {
        let (caslap, target) = (caslap.clone(), self.target);
        let run = move || caslap.run(target, Load { connections, value_len: None });
        let client = self.cable.spawn(End::Client, Some(CLIENTS_PROCESSOR), run).map_err(Trouble::new)?;
        client.join().map_err(|_| Trouble::new("the client failed"))?
    }

    /// Processor time of the server's process so far, all its threads.
    pub(super) fn used_us(&self) -> Outcome<f64> {
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

fn memcached(programs: &Programs) -> Command {
    let mut command = dying_with_us(&programs.memcached);
    let memory = ITEMS_MIB.to_string();
    command.args(["-u", "nobody", "-t", "1", "-U", "0", "-m", &memory, "-l", "0.0.0.0"]);
    command.args(["-p", &PORT.to_string()]);
    command
}

fn configuration(platform: &str, wait: &str) -> String {
    let interface = if platform == TAP { "nom0" } else { SERVER };
    format!(
        "listen = {PORT}\naddress = {ADDRESS}/{PREFIX_LEN}\nnetwork = {platform}\nnetwork.interface = {interface}\n\
         memory.items = {ITEMS_MIB} MiB\nmemory.send = 16 MiB\nmemory.receive = 16 MiB\nwait = {wait}\n\
         batch = queued\ntuner = off\nmanagement.token = 00112233445566778899aabbccddeeff\n"
    )
}
