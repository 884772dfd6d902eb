//! One run from the service's first word to its last: hello, load, figures, drain, ledger.

use super::Service;
use super::ledger::{Ledger, Total};
use super::load::Load;
use super::options::Options;
use super::seen::Seen;
use super::teller::Teller;
use super::web::Web;
use nom_linux_ledger::Export;
use nom_linux_metrics::{Figures, Server};
use nom_load::Report;
use nom_machine::management::{Heard, Management, Silence};
use nom_machine::trouble::{Context, Outcome, Trouble};
use nom_machine::watch::Hub;
use nom_service::management::{Bye, Command, Hello, Level, Message};
use nom_service::metrics::Who;
use nom_view::{duration, grouped, page, svg};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a service may take until it says hello.
const HELLO_PATIENCE: Duration = Duration::from_secs(30);
/// How long a service that drains may be silent beyond `drain.limit`, which may be another one than at its start.
const DRAIN_PATIENCE: Duration = Duration::from_secs(15);
/// The longest `drain.limit` that a configuration may have.
const DRAIN_MAX: Duration = Duration::from_secs(600);
/// How long a service may take to end after its last word.
const END_PATIENCE: Duration = Duration::from_secs(5);
/// For how long the last words of a service that is gone are waited for.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Columns and rows of a picture.
const PICTURE: (usize, usize) = (104, 30);
/// How long one wait for words lasts: clock and Ctrl-C are looked at in between.
const TURN: Duration = Duration::from_millis(50);

/// Watches a service until the time is over or somebody ends it, and settles.
pub fn watch(
    service: &mut dyn Service,
    options: &Options,
    target: SocketAddr,
    teller: &mut Teller,
    interrupted: &AtomicBool,
) -> Outcome<Settled> {
    let mut management = service.management().map_err(|trouble| rather(service, trouble))?;
    // Who cannot be watched serves all the same.
    let hub = Hub::open(service.about(target.port()))
        .inspect_err(|trouble| teller.say(&format!("`nom top` and `nom log` will not find this: {trouble}")))
        .ok();
    let export = match &options.ledger {
        Some(path) => Some(export(path, teller)?),
        None => None,
    };
    let ledger = Ledger::new(service.terms().contract, export);
    let figures = Figures::default();
    let _shown = match options.metrics {
        Some(port) => Some(show(port, &figures, teller)?),
        None => None,
    };
    let host = if target.ip().is_loopback() { "localhost".into() } else { target.ip().to_string() };
    let web = options.web.map(Web::start).transpose()?;
    let mut place = format!("{host}:{}", target.port());
    let serving = format!("serving on {place}");
    if let Some(web) = &web {
        teller.say(&format!("the live view is on {}", web.url()));
        place = format!("{place}, {}", web.url());
    }
    let seen = Seen::new(service.terms().clone(), place, options.time);
    let mut session = Session { figures, ledger, seen, bye: None, hub, web, gone: None };
    session.wait_for_hello(service, &management, teller, interrupted)?;
    let client = match options.application {
        "kv" => "memcached client",
        "httpd" => "browser",
        _ => "TCP client",
    };
    teller.say(&format!("{serving}, for any {client}; Ctrl-C settles and ends"));
    for port in service.beside() {
        teller.say(&format!("another one of it on localhost:{port}, behind the same network card"));
    }
    teller.open();
    let mut load = (options.rate > 0).then(|| Load::start(options, target));
    let started = Instant::now();
    while !interrupted.load(Ordering::SeqCst) && options.time.is_none_or(|time| started.elapsed() < time) {
        session.answer_watchers(&mut management)?;
        session.turn(service, &management, teller)?;
        if session.bye.is_some() {
            break;
        }
        if load.as_ref().is_some_and(Load::ended) {
            // One without an end failed, perhaps because the service ends: then that is about to say so.
            let patience = if options.load_time.is_none() { END_PATIENCE } else { Duration::ZERO };
            let deadline = Instant::now() + patience;
            while session.bye.is_none() && Instant::now() < deadline {
                session.turn(service, &management, teller)?;
            }
            break;
        }
    }
    // A process takes SIGTERM from anybody.
    let by_others = session.bye.is_some();
    if let Some(file) = &options.picture {
        let (columns, rows) = PICTURE;
        let text = svg(&page(session.seen.snapshot(), columns, rows), columns, "the live view of nom run");
        std::fs::write(file, text).context(|| format!("cannot write {}", file.display()))?;
    }
    // Whoever presses Ctrl-C twice ends us at once: the terminal is given back before anything is waited for.
    teller.close();
    // The load ends first, so that every answer it got is in the ledger before that is sealed.
    let report = match load.take().map(Load::finish).transpose() {
        Ok(report) => report,
        Err(_) if by_others => None,
        Err(trouble) => return Err(rather(service, trouble)),
    };
    if let (Some(file), Some(report)) = (&options.record, &report) {
        write_down(file, report, teller)?;
    }
    if !by_others {
        management.say(&Command::Drain).map_err(|trouble| rather(service, trouble))?;
    }
    session.drain(service, &management, teller)?;
    session.web = None;
    let ended = service.ended(END_PATIENCE);
    let settled = session.settle(report, teller)?;
    if !ended {
        return Err(Trouble::new("the service settled but did not end by itself; it was ended by force"));
    }
    if by_others {
        return Err(Trouble::new("the service was ended by somebody else; it settled first"));
    }
    Ok(settled)
}

/// Why a service does not answer: it is gone, if it is. Its process may need a moment to be seen as ended.
fn rather(service: &mut dyn Service, trouble: Trouble) -> Trouble {
    let deadline = Instant::now() + END_PATIENCE;
    while Instant::now() < deadline {
        if let Some(gone) = service.gone() {
            return gone;
        }
        std::thread::sleep(TURN);
    }
    trouble
}

/// Figures for collectors, from what the service tells us.
fn show(port: u16, figures: &Figures, teller: &mut Teller) -> Outcome<Server> {
    let server =
        nom_linux_metrics::listen(port).and_then(|listener| Server::start(listener, figures.clone()));
    let server = server.map_err(Trouble::new)?;
    teller.say(&format!("figures on http://localhost:{}/metrics, beside /health and /ready", server.port()));
    Ok(server)
}

/// What the load sent, as a file that can be played again.
fn write_down(file: &Path, report: &Report, teller: &mut Teller) -> Outcome<()> {
    let Some(recording) = &report.recording else { return Ok(()) };
    std::fs::write(file, recording.to_text())
        .context(|| format!("--record: cannot write {}", file.display()))?;
    let cut = match report.recording_full {
        true => ", where recordings end",
        false => "",
    };
    teller.say(&format!(
        "{} arrivals are in {}{cut}",
        grouped(recording.arrivals.len() as u64),
        file.display()
    ));
    Ok(())
}

/// The file in which sealed windows are kept.
fn export(path: &Path, teller: &mut Teller) -> Outcome<Export> {
    let (export, earlier) = Export::create(path).map_err(|error| Trouble::new(error.to_string()))?;
    if let Some(earlier) = earlier {
        teller.say(&format!("the ledger of an earlier run is now {}", earlier.display()));
    }
    Ok(export)
}

/// A run that was settled and found right.
pub struct Settled {
    /// What the load did and saw.
    pub report: Option<Report>,
    /// Accepted operations that were not the load's.
    pub others: i128,
    /// Sums of the ledger.
    pub total: Total,
    /// What the best fixed setting of each window would have made over what the best one of all would have: an estimate.
    pub headroom: Option<f64>,
}

struct Session {
    figures: Figures,
    ledger: Ledger,
    seen: Seen,
    bye: Option<Bye>,
    hub: Option<Hub>,
    web: Option<Web>,
    /// When a process of the service was first seen to be gone.
    gone: Option<Instant>,
}

impl Session {
    fn wait_for_hello(
        &mut self,
        service: &mut dyn Service,
        management: &Management,
        teller: &mut Teller,
        interrupted: &AtomicBool,
    ) -> Outcome<()> {
        let deadline = Instant::now() + HELLO_PATIENCE;
        while !self.seen.is_ready() {
            if interrupted.load(Ordering::SeqCst) {
                return Err(Trouble::new("interrupted before the service was up"));
            }
            if Instant::now() > deadline {
                let seconds = HELLO_PATIENCE.as_secs();
                return Err(Trouble::new(format!("the service did not say hello within {seconds} s")));
            }
            self.turn(service, management, teller)?;
        }
        Ok(())
    }

    fn drain(
        &mut self,
        service: &mut dyn Service,
        management: &Management,
        teller: &mut Teller,
    ) -> Outcome<()> {
        let last = Instant::now() + DRAIN_MAX + DRAIN_PATIENCE;
        let mut deadline = Instant::now() + service.terms().drain + DRAIN_PATIENCE;
        while self.bye.is_none() {
            let now = Instant::now();
            if now > deadline.min(last) {
                return Err(Trouble::new("the service did not settle in time; its last window is unsettled"));
            }
            // One that still speaks is at it.
            if self.turn(service, management, teller)? {
                deadline = deadline.max(now + DRAIN_PATIENCE);
            }
        }
        Ok(())
    }

    /// Asks the service for what somebody wants to see.
    fn answer_watchers(&self, management: &mut Management) -> Outcome<()> {
        let questions = self.hub.as_ref().map(Hub::asks).unwrap_or_default();
        questions.iter().try_for_each(|question| management.say(question))
    }

    /// Hears one line, or waits a moment for it. Whether there was one.
    fn turn(
        &mut self,
        service: &mut dyn Service,
        management: &Management,
        teller: &mut Teller,
    ) -> Outcome<bool> {
        let heard = match management.hear(TURN) {
            Err(Silence::Yet) => match service.gone() {
                None => return Ok(false),
                // What it said last may still be on its way.
                Some(trouble) => {
                    let seen = *self.gone.get_or_insert_with(Instant::now);
                    return if seen.elapsed() < LAST_WORDS { Ok(false) } else { Err(trouble) };
                }
            },
            heard => heard,
        };
        match heard {
            Ok(Heard::Message(message, line)) => self.take(*message, &line, teller)?,
            Ok(Heard::Malformed(text)) => {
                teller.say(&format!("a line of the service is malformed and was dropped: {text}"));
            }
            Err(_) => return Err(rather(service, Trouble::new("the service closed its channel"))),
        }
        Ok(true)
    }

    fn take(&mut self, message: Message, line: &str, teller: &mut Teller) -> Outcome<()> {
        if let Some(hub) = &self.hub {
            hub.heard(&message);
        }
        if matches!(
            message,
            Message::Machine(_) | Message::Answered { .. } | Message::Captured(_) | Message::Connections(_)
        ) {
            // An answer to somebody else's question.
            return Ok(());
        }
        teller.json(line);
        match message {
            Message::Hello(hello) => {
                self.seen.hello(&hello);
                self.figures.introduce(who(&hello), Duration::ZERO);
                teller.say(&format!("{} {} is up ({})", hello.application, hello.version, hello.home));
            }
            Message::Refused { reason } if self.hub.as_ref().is_some_and(|hub| hub.refused(&reason)) => {}
            Message::Refused { reason } => {
                return Err(Trouble::new(format!("the service refused us: {reason}")));
            }
            Message::Log { level: Level::Info, .. }
            | Message::Machine(_)
            | Message::Captured(_)
            | Message::Answered { .. }
            | Message::Connections(_) => {}
            Message::Log { level, text, .. } => teller.say(&format!("{level:?}: {text}").to_lowercase()),
            Message::Stats(stats) => {
                self.figures.tell(&stats);
                self.seen.stats(stats);
                teller.show(self.seen.snapshot());
                if let Some(web) = &self.web {
                    web.show(self.seen.snapshot());
                }
            }
            Message::Knobs(change) => {
                self.seen.knob(&change);
                teller.say(&format!(
                    "knob: {} -> {} ({}; {} after the price was seen)",
                    change.before,
                    change.after,
                    change.why,
                    duration(change.in_force_ns.saturating_sub(change.seen_ns)),
                ));
            }
            Message::Window(window) => self.seen.window(self.ledger.take(&window)?),
            Message::Bye(bye) => {
                self.ledger.close()?;
                self.bye = Some(bye);
            }
        }
        Ok(())
    }

    /// Re-adds the ledger, compares it with what the load counted, and tells both.
    fn settle(&self, report: Option<Report>, teller: &mut Teller) -> Outcome<Settled> {
        let bye = self.bye.as_ref().expect("drained");
        let total = self.ledger.total()?;
        teller.say("");
        for line in total.lines() {
            teller.say(&line);
        }
        let counted = report.as_ref().map_or(0, Report::accepted);
        let others = i128::from(total.accepted) - i128::from(counted);
        let mut wrong = Vec::new();
        if total.accepted != bye.accepted {
            wrong.push(format!(
                "the ledger has {} accepted operations, the service counted {}",
                total.accepted, bye.accepted
            ));
        }
        if others < 0 {
            wrong.push(format!("the load had {counted} right answers, the ledger only {}", total.accepted));
        }
        if bye.windows_dropped > 0 {
            wrong.push(format!("{} windows were lost on the way", bye.windows_dropped));
        }
        if let Some(report) = &report {
            let tally = &report.tally;
            teller.say(&format!(
                "load      {} right answers, {} wrong, {} refused, {} lost, {} shed; median {}, p99 {} (client)",
                grouped(counted),
                tally.wrong,
                tally.refused,
                tally.lost,
                tally.shed,
                duration(tally.quantile_ns(0.5)),
                duration(tally.quantile_ns(0.99)),
            ));
            if tally.wrong > 0 {
                wrong.push(format!("{} answers were wrong", tally.wrong));
            }
        }
        teller.json(&summary(total, report.as_ref(), others, &wrong));
        if !wrong.is_empty() {
            return Err(Trouble::new(format!("the ledger does not add up: {}", wrong.join("; "))));
        }
        Ok(Settled { report, others, total: total.clone(), headroom: self.seen.headroom() })
    }
}

fn who(hello: &Hello) -> Who {
    let Hello { application, version, home, .. } = hello.clone();
    Who { application, version, home }
}

fn summary(total: &Total, report: Option<&Report>, others: i128, wrong: &[String]) -> String {
    let tally = report.map(|report| &report.tally);
    let count = |pick: fn(&nom_load::tally::Tally) -> u64| tally.map_or(0, pick);
    format!(
        "{{\"summary\":{{\"adds_up\":{},\"windows\":{},\"accepted\":{},\"refused\":{},\"load_accepted\":{},\
         \"others_accepted\":{others},\"load_wrong\":{},\"load_lost\":{},\"load_shed\":{},\
         \"revenue_picodollars\":{},\"cost_picodollars\":{},\"profit_picodollars\":{},\
         \"client_p50_us\":{},\"client_p99_us\":{}}}}}",
        wrong.is_empty(),
        total.windows,
        total.accepted,
        total.refused,
        report.map_or(0, Report::accepted),
        count(|tally| tally.wrong),
        count(|tally| tally.lost),
        count(|tally| tally.shed),
        total.revenue,
        total.cost(),
        total.profit(),
        tally.map_or(0, |tally| tally.quantile_ns(0.5) / 1000),
        tally.map_or(0, |tally| tally.quantile_ns(0.99) / 1000),
    )
}
