//! `nom prices`: what a schedule or a feed says, a feed's prices written down, and a schedule played as a metadata
//! service, as fast as one likes.
//!
//! A feed is asked as `priced` asks it: every answer is checked, and what is refused is said and not written down.

use crate::arguments::{Typed, nearest};
use crate::interrupted::interrupts;
use crate::run::prices as schedules;
use crate::service::{progress, read_text};
use nom_feeds::board::from_board;
use nom_feeds::priced::{Action, Settings};
use nom_feeds::{Feed, Priced, Schedule, trace};
use nom_linux_provider::{Connection, Event, Trust};
use nom_machine::file::try_writing;
use nom_machine::metadata::Metadata;
use nom_machine::trouble::{Context, Outcome, Trouble};
use nom_money::{Prices, print_duration};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What can be done.
const DEEDS: [&str; 3] = ["show", "record", "replay"];
/// How long a feed may take until it has a price to show.
const SHOW_PATIENCE: Duration = Duration::from_secs(30);
/// How long one wait for bytes lasts: clock and Ctrl-C are looked at in between.
const TURN: Duration = Duration::from_millis(20);
/// Steps of a schedule that are shown.
const STEPS_SHOWN_MAX: usize = 100;
/// Furthest that a schedule is made faster.
const SPEED_MAX: u32 = 1_000_000;

/// The command.
pub fn prices(typed: &Typed) -> Outcome<ExitCode> {
    let [deed, what] = typed.words.as_slice() else {
        return Err(Trouble::new(
            "nom prices show|record|replay WHAT: say what to do with which schedule or feed",
        ));
    };
    match deed.as_str() {
        "show" if is_feed(what) => show_feed(typed, &feed(what)?),
        "show" => {
            print!("{}", shown(&schedule(typed, what)?));
            Ok(ExitCode::SUCCESS)
        }
        "record" if is_feed(what) => record(typed, &feed(what)?),
        "record" => Err(Trouble::new(format!(
            "nom prices record: {what:?} is no feed; it has an address such as http://127.0.0.1:8080/prices"
        ))),
        "replay" if !is_feed(what) => replay(typed, what),
        "replay" => Err(Trouble::new("nom prices replay: a schedule's file is expected, not a feed")),
        _ => {
            let near = nearest(deed, DEEDS.into_iter());
            let hint = near.map_or_else(
                || format!("there are {}", DEEDS.join(", ")),
                |near| format!("did you mean {near}?"),
            );
            Err(Trouble::new(format!("nom prices: no {deed:?}; {hint}")))
        }
    }
}

fn is_feed(what: &str) -> bool {
    what.contains("://")
}

fn feed(line: &str) -> Outcome<Feed> {
    Feed::parse(line).context(|| format!("the feed {line:?}"))
}

/// A schedule or table, as fast as was asked for.
fn schedule(typed: &Typed, file: &str) -> Outcome<Schedule> {
    let schedule = trace::read(&read_text(Path::new(file))?).context(|| file.into())?;
    match typed.number("speed", 1, SPEED_MAX)? {
        None => Ok(schedule),
        Some(speed) => schedule
            .faster(speed)
            .ok_or_else(|| Trouble::new(format!("--speed {speed}: two steps of {file} would become one"))),
    }
}

/// Its first steps, as a schedule again, or as many as there are before it begins anew.
fn shown(schedule: &Schedule) -> String {
    let text = schedule.to_string();
    let count = text.lines().count();
    let mut out: String = text.lines().take(STEPS_SHOWN_MAX).map(|line| format!("{line}\n")).collect();
    if count > STEPS_SHOWN_MAX {
        out.push_str(&format!("# and {} lines more\n", count - STEPS_SHOWN_MAX));
    }
    out
}

fn show_feed(typed: &Typed, feed: &Feed) -> Outcome<ExitCode> {
    let interrupted = AtomicBool::new(false);
    let mut asking = Asking::new(feed, typed.text("ca"))?;
    asking.is_silent = true;
    let deadline = Instant::now() + SHOW_PATIENCE;
    while Instant::now() < deadline {
        if let Some(prices) = asking.turn(&interrupted) {
            println!("now: {prices}");
            match asking.priced.next() {
                Some(next) => {
                    let ahead = next.at_ns.saturating_sub(asking.now_ns());
                    println!("in {}: {}", print_duration(ahead / 1_000_000_000 * 1_000_000_000), next.prices);
                }
                None => println!("nothing is known ahead"),
            }
            return Ok(ExitCode::SUCCESS);
        }
    }
    Err(Trouble::new(match asking.reported {
        Some(why) => format!("no price: {why}"),
        None => format!("no price within {} s", SHOW_PATIENCE.as_secs()),
    }))
}

/// Writes down what a feed says, as a schedule that can be played again.
fn record(typed: &Typed, feed: &Feed) -> Outcome<ExitCode> {
    let Some(out) = typed.text("out") else {
        return Err(Trouble::new("nom prices record: say where to write with --out FILE"));
    };
    let time = typed.number("seconds", 1, 100_000_000)?.map(Duration::from_secs);
    let most = typed.number("changes", 1, nom_feeds::schedule::STEPS_MAX)?;
    let most = most.unwrap_or(nom_feeds::schedule::STEPS_MAX);
    try_writing(Path::new(out))?;
    let interrupted = interrupts()?;
    let mut asking = Asking::new(feed, typed.text("ca"))?;
    let (started, mut begun, mut last) = (Instant::now(), None, None);
    let (mut file, mut count) = (None, 0);
    while count < most
        && !interrupted.load(Ordering::SeqCst)
        && time.is_none_or(|time| started.elapsed() < time)
    {
        let Some(prices) = asking.turn(&interrupted) else { continue };
        if last.replace(prices) == Some(prices) {
            continue;
        }
        let at = begun.get_or_insert_with(Instant::now).elapsed();
        // Whole milliseconds, and never two steps at one time.
        let at_ms = if count == 0 { 0 } else { (at.as_millis() as u64).max(1) };
        let line = format!("at {at_ms} ms: {prices}");
        write_line(&mut file, out, &line).context(|| format!("cannot write {out}"))?;
        println!("{line}");
        count += 1;
    }
    match count {
        0 => {
            let why = asking.reported.unwrap_or_else(|| {
                format!("no answer within {} s; give it longer with --seconds", started.elapsed().as_secs())
            });
            Err(Trouble::new(format!("no price came, and {out} is left as it was: {why}")))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// A line more in a file that is made for the first one.
fn write_line(file: &mut Option<File>, out: &str, line: &str) -> io::Result<()> {
    let file = match file {
        Some(file) => file,
        None => file.insert(File::create(out)?),
    };
    writeln!(file, "{line}")?;
    file.flush()
}

/// Serves a schedule as a cloud's metadata service would.
fn replay(typed: &Typed, file: &str) -> Outcome<ExitCode> {
    let schedule = schedule(typed, file)?;
    let time = typed.number("seconds", 1, 100_000_000)?.map(Duration::from_secs);
    let interrupted = interrupts()?;
    let port = typed.number("port", 0, u16::MAX)?.unwrap_or(0);
    let service = Metadata::on(port, schedules::Schedule::new(schedule))?;
    println!("prices on http://127.0.0.1:{}/prices; Ctrl-C ends", service.port());
    std::io::stdout().flush().context(|| "cannot say where".into())?;
    let started = Instant::now();
    while !interrupted.load(Ordering::SeqCst) && time.is_none_or(|time| started.elapsed() < time) {
        std::thread::sleep(TURN);
    }
    Ok(ExitCode::SUCCESS)
}

/// The authorities of a file, or of the system.
fn trust(authorities: Option<&str>) -> Outcome<Trust> {
    authorities.map_or_else(Trust::system, |file| Trust::file(Path::new(file))).map_err(Trouble::new)
}

/// A feed that is asked.
struct Asking {
    priced: Priced,
    started: Instant,
    connection: Option<Connection>,
    /// Who is believed over TLS.
    trust: Option<Trust>,
    /// What was said last about a price that did not come.
    reported: Option<String>,
    /// Whoever asks says it himself.
    is_silent: bool,
}

impl Asking {
    fn new(feed: &Feed, authorities: Option<&str>) -> Outcome<Self> {
        let settings = Settings::of(vec![feed.clone()]).context(|| "the feed".into())?;
        let priced = Priced::new(settings, u64::from(std::process::id()), 0);
        let trust = feed.url.secure.then(|| trust(authorities)).transpose()?;
        Ok(Self {
            priced,
            started: Instant::now(),
            connection: None,
            trust,
            reported: None,
            is_silent: false,
        })
    }

    fn now_ns(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    /// Does what is due and waits a moment for bytes. A price that is good comes back.
    fn turn(&mut self, interrupted: &AtomicBool) -> Option<Prices> {
        let mut published = None;
        while let Some(action) = self.priced.poll(self.now_ns()) {
            match action {
                Action::Connect(url) => match Connection::begin(&url, self.trust.as_ref()) {
                    Ok(connection) => self.connection = Some(connection),
                    Err(why) => self.priced.failed(self.now_ns(), &why),
                },
                Action::Send(bytes) => {
                    if let Some(connection) = &mut self.connection {
                        connection.send(&bytes);
                    }
                }
                Action::Disconnect => self.connection = None,
                Action::Publish(prices) => published = Some(from_board(&prices).0),
                Action::Report(text) => {
                    if !self.is_silent {
                        progress(&text);
                    }
                    self.reported = Some(text);
                }
            }
            if interrupted.load(Ordering::SeqCst) {
                return published;
            }
        }
        if published.is_some() {
            return published;
        }
        let Some(connection) = &mut self.connection else {
            std::thread::sleep(TURN);
            return None;
        };
        connection.wait(TURN);
        let mut bytes = [0; 4096];
        let event = connection.turn(&mut bytes);
        let now_ns = self.now_ns();
        match event {
            None => {}
            Some(Event::Open) => self.priced.connected(now_ns),
            Some(Event::Bytes(len)) => {
                let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                self.priced.received(now_ns, unix.as_nanos() as u64, &bytes[..len]);
            }
            Some(Event::Over) => {
                self.connection = None;
                self.priced.closed(now_ns);
            }
            Some(Event::Failed(why)) => {
                self.connection = None;
                self.priced.failed(now_ns, &why);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nom_machine::scratch::Scratch;
    use std::fs;
    use std::net::TcpListener;

    /// A day in 864 s, 100 times faster; here an hour's steps in a few seconds.
    #[test]
    fn what_is_recorded_from_a_replay_is_the_schedule() {
        let text = "at 0 s: core 1 $/core/h\nat 60 s: core 2 $/core/h\nat 120 s: core 3 $/core/h\n";
        let schedule = Schedule::parse(text).unwrap().faster(100).unwrap();
        let service = Metadata::start(schedules::Schedule::new(schedule.clone())).unwrap();
        let feed = feed(&format!("http://127.0.0.1:{}/prices", service.port())).unwrap();
        let mut asking = Asking::new(&feed, None).unwrap();
        let interrupted = AtomicBool::new(false);
        let steps: Vec<Prices> =
            [0, 600_000_000, 1_200_000_000].map(|at_ns| schedule.at(at_ns).prices).into();
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut told = Vec::new();
        while told.last() != steps.last() {
            assert!(Instant::now() < deadline, "{told:?} {:?}", asking.reported);
            told.extend(asking.turn(&interrupted));
            told.dedup();
        }
        // A machine that stalls may miss a step that is over, but it never hears one twice or out of order.
        let mut rest = steps.iter();
        assert!(told.iter().all(|prices| rest.any(|step| step == prices)), "{told:?}");
    }

    fn typed(words: &[&str]) -> Typed {
        let (verb, _) = crate::verbs::find("prices").unwrap();
        crate::arguments::read(verb, words.iter().map(Into::into)).unwrap()
    }

    /// Whoever takes connections and says nothing, and whoever takes none.
    #[test]
    fn a_feed_that_says_no_price_leaves_no_file_and_changes_none() {
        let scratch = Scratch::new().unwrap();
        let (absent, kept) = (scratch.file("absent.prices"), scratch.file("kept.prices"));
        fs::write(&kept, "at 0 ms: core 1 $/core/h\n").unwrap();
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        for (at, file) in [(silent.local_addr().unwrap(), &absent), (closed, &kept)] {
            let (feed, out) = (format!("http://{at}/prices"), file.display().to_string());
            let said = prices(&typed(&["record", &feed, "--out", &out, "--seconds", "1"])).unwrap_err();
            let said = said.to_string();
            assert!(said.starts_with(&format!("no price came, and {out} is left as it was: ")), "{said}");
        }
        assert!(!absent.exists(), "an empty file is no schedule");
        assert_eq!(fs::read_to_string(&kept).unwrap(), "at 0 ms: core 1 $/core/h\n");
        // What cannot be written is said before anybody is asked.
        for nowhere in [scratch.file("no/such/file"), scratch.file("")] {
            let nowhere = nowhere.display().to_string();
            let said = prices(&typed(&["record", "http://127.0.0.1:1/", "--out", &nowhere])).unwrap_err();
            assert!(said.to_string().starts_with(&format!("cannot write {nowhere}: ")), "{said}");
        }
    }

    #[test]
    fn feeds_and_files_are_told_apart_and_mistakes_are_named() {
        for (words, said) in [
            (&["show"][..], "say what to do"),
            (&["shwo", "x"], "did you mean show?"),
            (&["record", "x"], "is no feed"),
            (&["record", "http://127.0.0.1:1/"], "--out FILE"),
            (&["replay", "http://127.0.0.1:1/"], "not a feed"),
            (&["show", "nowhere://x"], "http://"),
            (&["show", "/nowhere"], "cannot read /nowhere"),
        ] {
            let error = prices(&typed(words)).unwrap_err().to_string();
            assert!(error.contains(said), "{words:?}: {error}");
        }
        let long: String =
            (0..500).map(|step| format!("at {step} s: core {} $/core/h\n", step + 1)).collect();
        assert!(shown(&Schedule::parse(&long).unwrap()).ends_with("# and 400 lines more\n"));
    }
}
