//! Which application of an image lives, how often it was started, and whether it comes again.

use nom_abi::application::{Phase, Status};
use nom_abi::call::CallError;

use crate::{APPLICATIONS_MAX, Application};

/// What happens when an application has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// Nothing.
    Never,
    /// It starts again, this often at most.
    Always(u32),
}

#[derive(Debug, Clone, Copy)]
struct Life {
    status: Status,
    starter: Option<Application>,
    /// How often it came again by itself.
    restarts: u32,
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
        let life = Life { status: Status::default(), starter: None, restarts: 0 };
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
    pub fn started(&mut self, application: Application, starter: Option<Application>) {
        let life = self.life(application);
        life.status.phase = Phase::Running;
        life.status.starts = life.status.starts.saturating_add(1);
        life.starter = starter;
    }

    /// It has ended. True when it is to be started again. What was ended on purpose stays ended.
    pub fn ended(&mut self, application: Application, code: u8, policy: Restart, on_purpose: bool) -> bool {
        // Whoever it had started is nobody's now: its number may come again with another intention.
        for life in &mut self.lives {
            if life.starter == Some(application) {
                life.starter = None;
            }
        }
        let life = self.life(application);
        life.status.phase = Phase::Ended;
        life.status.code = code;
        let again = match policy {
            Restart::Never => false,
            Restart::Always(times) => life.restarts < times && !on_purpose,
        };
        life.restarts += u32::from(again);
        again
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
        lives.started(one, None);
        assert_eq!(lives.may_start(one), Err(CallError::Taken));
        assert_eq!(lives.may_end(two, one), Err(CallError::NoSuch));
        lives.started(two, Some(one));
        assert_eq!(lives.may_end(one, two), Err(CallError::NotOwner));
        assert_eq!(lives.may_end(two, two), Err(CallError::NotOwner));
        assert_eq!(lives.may_end(two, one), Ok(()));
        assert!(!lives.ended(one, 5, Restart::Never, false));
        assert_eq!(lives.status(one).code, 5);
        lives.started(one, None);
        assert_eq!(lives.may_end(two, one), Err(CallError::NotOwner), "an earlier life's child");
    }

    #[test]
    fn restarts_are_as_many_as_allowed() {
        let mut dice = Dice::new(3);
        for _ in 0..100 {
            let times = dice.below(5) as u32;
            let mut lives = Lives::new(1);
            let mut starts = 1;
            lives.started(Application(0), None);
            while lives.ended(Application(0), 1, Restart::Always(times), false) {
                lives.started(Application(0), None);
                starts += 1;
            }
            assert_eq!(starts, times + 1);
            assert_eq!(lives.status(Application(0)).starts, starts);
        }
        let mut lives = Lives::new(1);
        lives.started(Application(0), None);
        assert!(!lives.ended(Application(0), 0, Restart::Always(9), true), "it was ended on purpose");
    }
}
