//! The small load that `nom run` brings along, on a thread of its own.

use super::options::Options;
use nom_load::{Mix, Pace, Plan, Report, Stop, Web};
use nom_machine::trouble::{Outcome, Trouble};
use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::Duration;

/// How long outstanding answers are waited for at the end.
const GRACE: Duration = Duration::from_secs(2);
/// The load of a run without an end is planned for so long; nobody watches longer.
const LONGEST: Duration = Duration::from_secs(nom_load::bounds::DURATION_MAX_S);

/// A load that runs.
pub struct Load {
    stop: Stop,
    thread: JoinHandle<Result<Report, nom_load::LoadError>>,
}

/// A web server is asked for the page that every site has. Not compressed: every answer is compared byte for byte, and which
/// forms there are is the server's to choose, by prices and while it runs.
fn web(application: &str) -> Option<Web> {
    (application == "httpd").then(|| Web::new(&["/"], "Accept-Encoding: identity\r\n"))
}

impl Load {
    /// Starts it against a service.
    pub fn start(options: &Options, target: SocketAddr) -> Self {
        let plan = Plan {
            connections: options.connections,
            pace: Pace::Poisson { per_s: f64::from(options.rate) },
            mix: Mix { preload: true, web: web(options.application), ..Mix::default() },
            duration: options.load_time.unwrap_or(LONGEST),
            grace: GRACE,
            record: options.records,
            ..Plan::new(target)
        };
        let stop = Stop::default();
        let heard = stop.clone();
        let thread = std::thread::spawn(move || nom_load::run(&plan, &heard, |_| {}));
        Self { stop, thread }
    }

    /// Whether it has ended, which it should not by itself.
    pub fn ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Ends it and says what it did.
    pub fn finish(self) -> Outcome<Report> {
        self.stop.stop();
        match self.thread.join() {
            Ok(report) => report.map_err(|error| Trouble::new(format!("the load failed: {error}"))),
            Err(_) => Err(Trouble::new("the load failed: its thread panicked")),
        }
    }
}
