//! Which application of an image lives, how often it was started, and whether it comes again.
//!
//! One that comes again waits first, twice as long each time in a row, so that one that dies at once does not eat the
//! machine. A life that lasted [`HEALTHY_NS`] begins a new row.

use nom_abi::application::{Phase, Status};
use nom_abi::call::{CallError, FOREVER};

use crate::{APPLICATIONS_MAX, Application};

/// The first pause before an application comes again.
pub const PAUSE_NS_MIN: u64 = 10_000_000;
/// No pause is longer.
pub const PAUSE_NS_MAX: u64 = 10_000_000_000;
/// Whoever lived this long has not failed at its start.
pub const HEALTHY_NS: u64 = 60_000_000_000;

/// What happens when an application has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// Nothing.
    Never,
    /// It starts again, this often in a row at most.
    Always(u32),
    /// The same, but not after code 0: then its work is done.
    Failed(u32),
}

impl Restart {
    fn times(self, code: u8) -> u32 {
        match self {
            Restart::Always(times) => times,
            Restart::Failed(times) if code != 0 => times,
            Restart::Never | Restart::Failed(_) => 0,
        }
    }
}

/// The pause before this restart of a row, counted from 0.
fn pause_ns(restart: u32) -> u64 {
    PAUSE_NS_MIN.saturating_mul(1 << restart.min(32)).min(PAUSE_NS_MAX)
}

#[derive(Debug, Clone, Copy)]
struct Life {
    status: Status,
    starter: Option<Application>,
    started_ns: u64,
    /// How often it came again by itself in this row.
    restarts: u32,
    /// When it comes again; [`FOREVER`] when it does not.
    again_ns: u64,
}

/// All applications of the image, by their places in the bundle.
#[derive(Debug, Clone)]
pub struct Lives {
    lives: [Life; APPLICATIONS_MAX as usize],
    count: u8,
}

impl Lives {
    /// An image with this many applications, none started.
    pub fn new(count: usize) -> Lives {
        let life =
            Life { status: Status::default(), starter: None, started_ns: 0, restarts: 0, again_ns: FOREVER };
        let count = count.min(usize::from(APPLICATIONS_MAX)) as u8;
        Lives { lives: [life; APPLICATIONS_MAX as usize], count }
    }

    fn life(&mut self, application: Application) -> &mut Life {
        &mut self.lives[usize::from(application.0) % usize::from(APPLICATIONS_MAX)]
    }

    /// How one is doing.
    pub fn status(&self, application: Application) -> Status {
        self.lives.get(usize::from(application.0)).map_or(Status::default(), |life| life.status)
    }

    /// Those that live.
    pub fn living(&self) -> impl Iterator<Item = Application> + '_ {
        let all = (0..self.count).map(Application);
        all.filter(|&application| self.status(application).phase == Phase::Running)
    }

    /// One whose pause is over by now.
    pub fn due(&self, now_ns: u64) -> Option<Application> {
        let place = self.lives.iter().position(|life| life.again_ns <= now_ns)?;
        Some(Application(place as u8))
    }

    /// When the next pause is over; [`FOREVER`] when nobody is to come again.
    pub fn due_ns(&self) -> u64 {
        self.lives[..usize::from(self.count)].iter().map(|life| life.again_ns).min().unwrap_or(FOREVER)
    }

    /// Nothing lives, and nothing comes again.
    pub fn is_over(&self) -> bool {
        self.living().next().is_none() && self.due_ns() == FOREVER
    }

    /// It has ended and does not come again.
    pub fn is_gone(&self, application: Application) -> bool {
        let life = self.lives.get(usize::from(application.0));
        life.is_some_and(|life| life.status.phase == Phase::Ended && life.again_ns == FOREVER)
    }

    /// It could not be started although it was due: it does not come again.
    pub fn give_up(&mut self, application: Application) {
        self.life(application).again_ns = FOREVER;
    }

    /// Whether it may be started: it is there and does not live. Changes nothing.
    pub fn may_start(&self, application: Application) -> Result<(), CallError> {
        if application.0 >= self.count {
            Err(CallError::NoSuch)
        } else if self.status(application).phase == Phase::Running {
            Err(CallError::Taken)
        } else {
            Ok(())
        }
    }

    /// Whether `by` may end it: only who started it may. Changes nothing.
    pub fn may_end(&self, application: Application, by: Application) -> Result<(), CallError> {
        let life = self.lives.get(usize::from(application.0)).ok_or(CallError::NoSuch)?;
        if life.status.phase != Phase::Running {
            Err(CallError::NoSuch)
        } else if life.starter != Some(by) {
            Err(CallError::NotOwner)
        } else {
            Ok(())
        }
    }

    /// It lives now; `starter` is nobody when the configuration named it.
    pub fn started(&mut self, application: Application, starter: Option<Application>, now_ns: u64) {
        let life = self.life(application);
        life.started_ns = now_ns;
        life.again_ns = FOREVER;
        life.status.phase = Phase::Running;
        life.status.starts = life.status.starts.saturating_add(1);
        life.starter = starter;
    }

    /// It has ended; answers when it comes again. What was ended on purpose stays ended.
    pub fn ended(
        &mut self,
        application: Application,
        code: u8,
        policy: Restart,
        on_purpose: bool,
        now_ns: u64,
    ) -> Option<u64> {
        // Whoever it had started is nobody's now: its number may come again with another intention.
        for life in &mut self.lives {
            if life.starter == Some(application) {
                life.starter = None;
            }
        }
        let life = self.life(application);
        life.status.phase = Phase::Ended;
        life.status.code = code;
        if now_ns.saturating_sub(life.started_ns) >= HEALTHY_NS {
            life.restarts = 0;
        }
        if on_purpose || life.restarts >= policy.times(code) {
            return None;
        }
        life.again_ns = now_ns.saturating_add(pause_ns(life.restarts));
        life.restarts += 1;
        Some(life.again_ns)
    }

    /// Who started it.
    pub fn starter(&self, application: Application) -> Option<Application> {
        self.lives.get(usize::from(application.0)).and_then(|life| life.starter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::Dice;

    #[test]
    fn a_life_is_started_once_and_ended_by_its_starter() {
        let mut lives = Lives::new(2);
        let [one, two] = [Application(0), Application(1)];
        assert_eq!(lives.may_start(Application(2)), Err(CallError::NoSuch));
        lives.started(one, None, 0);
        assert_eq!(lives.may_start(one), Err(CallError::Taken));
        assert_eq!(lives.may_end(two, one), Err(CallError::NoSuch));
        lives.started(two, Some(one), 0);
        assert_eq!(lives.may_end(one, two), Err(CallError::NotOwner));
        assert_eq!(lives.may_end(two, two), Err(CallError::NotOwner));
        assert_eq!(lives.may_end(two, one), Ok(()));
        assert_eq!(lives.ended(one, 5, Restart::Never, false, 0), None);
        assert_eq!(lives.status(one).code, 5);
        lives.started(one, None, 0);
        assert_eq!(lives.may_end(two, one), Err(CallError::NotOwner), "an earlier life's child");
    }

    const ONE: Application = Application(0);

    #[test]
    fn restarts_are_as_many_as_allowed_and_rarer_each_time() {
        let mut dice = Dice::new(3);
        for _ in 0..100 {
            let times = dice.below(40) as u32;
            let mut lives = Lives::new(1);
            let (mut starts, mut now_ns, mut last_ns) = (1, dice.below(1 << 40), 0);
            lives.started(ONE, None, now_ns);
            while let Some(at_ns) = lives.ended(ONE, 1, Restart::Always(times), false, now_ns) {
                let pause_ns = at_ns - now_ns;
                assert!(pause_ns == (2 * last_ns).clamp(PAUSE_NS_MIN, PAUSE_NS_MAX), "{pause_ns}");
                assert_eq!(
                    (lives.due_ns(), lives.due(at_ns - 1), lives.due(at_ns)),
                    (at_ns, None, Some(ONE))
                );
                assert!(!lives.is_over() && !lives.is_gone(ONE));
                (now_ns, last_ns) = (at_ns, pause_ns);
                lives.started(ONE, None, now_ns);
                assert_eq!(lives.due_ns(), FOREVER);
                starts += 1;
            }
            assert!(lives.is_over() && lives.is_gone(ONE));
            assert_eq!((starts, lives.status(ONE).starts), (times + 1, times + 1));
        }
    }

    #[test]
    fn a_healthy_life_begins_a_new_row() {
        let mut lives = Lives::new(1);
        let policy = Restart::Always(1);
        let mut now_ns = 5;
        for _ in 0..20 {
            lives.started(ONE, None, now_ns);
            now_ns += HEALTHY_NS;
            assert_eq!(lives.ended(ONE, 1, policy, false, now_ns), Some(now_ns + PAUSE_NS_MIN));
            now_ns += PAUSE_NS_MIN;
        }
        lives.started(ONE, None, now_ns);
        assert_eq!(lives.ended(ONE, 1, policy, false, now_ns + HEALTHY_NS - 1), None);
    }

    #[test]
    fn some_ends_are_final() {
        for (code, policy, on_purpose, again) in [
            (0, Restart::Always(9), true, false),
            (0, Restart::Always(9), false, true),
            (0, Restart::Failed(9), false, false),
            (1, Restart::Failed(9), false, true),
            (1, Restart::Failed(9), true, false),
            (1, Restart::Never, false, false),
        ] {
            let mut lives = Lives::new(1);
            lives.started(ONE, None, 0);
            assert_eq!(lives.ended(ONE, code, policy, on_purpose, 0).is_some(), again, "{code} {policy:?}");
            lives.give_up(ONE);
            assert!(lives.is_over());
        }
    }
}
