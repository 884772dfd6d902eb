//! A real home from its first word to its last, while a recording is played against it.

use super::steps::Follower;
use super::{Piece, Played};
use crate::homes::Home;
use nom_ledger::Window;
use nom_load::recording::Answers;
use nom_load::{LoadError, replay_from};
use nom_machine::management::{Heard, Management, Silence};
use nom_machine::trouble::{Context, Outcome, Trouble};
use nom_service::management::{Bye, Command, Message};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a home may take to say hello and to have its first prices.
const UP: Duration = Duration::from_secs(40);
/// How long answers are waited for after the last request.
const GRACE: Duration = Duration::from_secs(30);
/// How long the last prices may take to be seen once the recording is over.
const PRICES: Duration = Duration::from_secs(60);
/// How long a drain may take.
const DRAIN: Duration = Duration::from_secs(20);
/// How long one wait for words lasts.
const TURN: Duration = Duration::from_millis(20);
/// Windows and moves that are kept of one home; a piece that makes more is refused.
const KEPT_MAX: usize = 100_000;

/// What was heard.
#[derive(Default)]
struct Ear {
    hello: bool,
    generation: u64,
    windows: Vec<Window>,
    moves: Vec<super::Move>,
    bye: Option<Bye>,
}

/// Plays a piece against a home that asks this follower of the schedule for prices.
pub fn play<H: Home>(
    name: &'static str,
    piece: &Piece,
    start: impl FnOnce(Follower) -> Outcome<H>,
) -> Outcome<Played> {
    let follower = Follower::new(&piece.steps);
    let mut home = start(follower.clone())?;
    let (mut management, port) = (home.management()?, home.port());
    let mut ear = Ear::default();
    let up = Instant::now() + UP;
    let mut gone = || home.gone();
    ear.until(&management, &mut gone, up, "say hello with prices", |ear| ear.hello && ear.generation > 0)?;
    let answers = while_playing(piece, &follower, port, || ear.turn(&management, &mut gone, &follower))?;
    let settled = Instant::now() + PRICES;
    let mut seen = false;
    while !seen {
        if Instant::now() > settled {
            return Err(Trouble::new("it did not see the last prices in time"));
        }
        ear.turn(&management, &mut gone, &follower)?;
        seen = follower.seen(ear.generation);
    }
    management.say(&Command::Drain)?;
    ear.until(&management, &mut gone, Instant::now() + DRAIN, "settle", |ear| ear.bye.is_some())?;
    let bye = ear.bye.ok_or_else(|| Trouble::new("it said no bye"))?;
    home.ended()?;
    Ok(Played { home: name, answers, windows: ear.windows, moves: ear.moves, bye })
}

/// Plays the recording in a thread of its own; meanwhile the home is listened to.
fn while_playing(
    piece: &Piece,
    follower: &Follower,
    port: u16,
    mut turn: impl FnMut() -> Outcome<()>,
) -> Outcome<Answers> {
    let target = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let player = scope.spawn(|| {
            let answers: Result<Answers, LoadError> =
                replay_from(&piece.recording, target, GRACE, || follower.start());
            over.store(true, Ordering::SeqCst);
            answers
        });
        let mut heard = Ok(());
        while !over.load(Ordering::SeqCst) {
            match heard {
                Ok(()) => heard = turn(),
                // A home that is gone has closed its connections: the player ends soon.
                Err(_) => std::thread::sleep(TURN),
            }
        }
        let answers = player.join().map_err(|_| Trouble::new("the player of the recording panicked"))?;
        heard?;
        answers.context(|| "the recording cannot be played".into())
    })
}

impl Ear {
    fn until(
        &mut self,
        management: &Management,
        gone: &mut dyn FnMut() -> Option<Trouble>,
        deadline: Instant,
        what: &str,
        done: impl Fn(&Self) -> bool,
    ) -> Outcome<()> {
        while !done(self) {
            if Instant::now() > deadline {
                return Err(Trouble::new(format!("it did not {what} in time")));
            }
            self.hear(management, gone)?;
        }
        Ok(())
    }

    /// Hears a line, and lets the schedule go on.
    fn turn(
        &mut self,
        management: &Management,
        gone: &mut dyn FnMut() -> Option<Trouble>,
        follower: &Follower,
    ) -> Outcome<()> {
        self.hear(management, gone)?;
        follower.seen(self.generation);
        Ok(())
    }

    fn hear(&mut self, management: &Management, gone: &mut dyn FnMut() -> Option<Trouble>) -> Outcome<()> {
        match management.hear(TURN) {
            Ok(Heard::Message(message, _)) => self.take(*message),
            Ok(Heard::Malformed(text)) => Err(Trouble::new(format!("it said what is no line: {text}"))),
            // Once it has said bye it may go.
            Err(_) if self.bye.is_some() => Ok(()),
            Err(silence) => match gone() {
                Some(trouble) => Err(trouble),
                None if silence == Silence::ForGood => Err(Trouble::new("it closed its management channel")),
                None => Ok(()),
            },
        }
    }

    fn take(&mut self, message: Message) -> Outcome<()> {
        match message {
            Message::Hello(_) => self.hello = true,
            Message::Stats(stats) => self.generation = stats.price_generation,
            Message::Knobs(change) => self.moves.push((change.price_generation, change.before, change.after)),
            Message::Window(text) => {
                self.windows.push(Window::parse(&text).context(|| "a window of the ledger".into())?);
            }
            Message::Bye(bye) => self.bye = Some(bye),
            Message::Refused { reason } => return Err(Trouble::new(format!("it refused us: {reason}"))),
            Message::Log { .. }
            | Message::Answered { .. }
            | Message::Machine(_)
            | Message::Captured(_)
            | Message::Connections(_) => {}
        }
        if self.windows.len().max(self.moves.len()) > KEPT_MAX {
            return Err(Trouble::new(format!("it sealed more than {KEPT_MAX} windows or moved as often")));
        }
        Ok(())
    }
}
