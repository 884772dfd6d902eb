//! Who owns which core, and where each application is at home.
//!
//! An application has a home core, where its first context runs, and may acquire further ones. A core has at most
//! one owner. When there are more applications than cores some share a home; when that happens although one holds
//! further cores, the kernel asks one of these back, waits until a deadline, then takes it, and whoever shared moves.

use nom_abi::call::CallError;

use crate::{APPLICATIONS_MAX, Application};

/// The most cores.
pub const CORES_MAX: usize = 8;
/// How long an application may take to give a core back that it was asked for.
pub const REVOCATION_NS: u64 = 20_000_000;

/// A core, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Core(pub u8);

/// All cores and their owners.
#[derive(Debug, Clone, Hash)]
pub struct Cores {
    owners: [Option<Application>; CORES_MAX],
    homes: [Option<Core>; APPLICATIONS_MAX as usize],
    /// When a core that was asked for is taken.
    wanted_ns: [Option<u64>; CORES_MAX],
    count: u8,
}

impl Cores {
    /// A machine with this many cores (at least one, at most [`CORES_MAX`]), all free.
    pub const fn new(count: usize) -> Cores {
        let count = if count == 0 { 1 } else { count };
        let count = if count > CORES_MAX { CORES_MAX } else { count };
        Cores {
            owners: [None; CORES_MAX],
            homes: [None; APPLICATIONS_MAX as usize],
            wanted_ns: [None; CORES_MAX],
            count: count as u8,
        }
    }

    /// How many there are.
    pub fn count(&self) -> u8 {
        self.count
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = Core> + use<> {
        (0..self.count).map(Core)
    }

    /// The core that an argument means.
    pub fn named(&self, claim: u64) -> Result<Core, CallError> {
        u8::try_from(claim).ok().filter(|&number| number < self.count).map(Core).ok_or(CallError::NoSuch)
    }

    /// Who owns it.
    pub fn owner(&self, core: Core) -> Option<Application> {
        self.owners.get(usize::from(core.0)).copied().flatten()
    }

    /// Where an application is at home.
    pub fn home(&self, application: Application) -> Option<Core> {
        self.homes.get(usize::from(application.0)).copied().flatten()
    }

    /// The applications that are at home on a core.
    pub fn residents(&self, core: Core) -> impl Iterator<Item = Application> + '_ {
        let all = self.homes.iter().enumerate().filter(move |(_, home)| **home == Some(core));
        all.map(|(number, _)| Application(number as u8))
    }

    /// Finds an application a home: a free core, else the one with the fewest residents.
    pub fn settle(&mut self, application: Application) -> Core {
        let free = self.all().find(|&core| self.owner(core).is_none());
        let shared = || self.all().filter(|&core| self.residents(core).next().is_some());
        let home = free.or_else(|| shared().min_by_key(|&core| self.residents(core).count()));
        let home = home.unwrap_or(Core(0));
        self.set_home(application, home);
        home
    }

    fn set_home(&mut self, application: Application, home: Core) {
        if let Some(place) = self.homes.get_mut(usize::from(application.0)) {
            *place = Some(home);
        }
        let owner = &mut self.owners[usize::from(home.0) % CORES_MAX];
        *owner = owner.or(Some(application));
    }

    /// While applications share a home and no core is free: a further core that its owner is asked to give back, and when it is taken.
    /// Each core is asked for once.
    pub fn want_back(&mut self, now_ns: u64) -> Option<(Core, Application)> {
        let shared = self.all().any(|core| self.residents(core).count() > 1);
        let free = self.all().any(|core| self.owner(core).is_none());
        if !shared || free || self.wanted_ns.iter().any(Option::is_some) {
            return None;
        }
        let further = |core: &Core| self.owner(*core).is_some() && self.residents(*core).next().is_none();
        let core = self.all().find(further)?;
        self.wanted_ns[usize::from(core.0)] = Some(now_ns.saturating_add(REVOCATION_NS));
        Some((core, self.owner(core)?))
    }

    /// When this core is taken from its owner, if it was asked for.
    pub fn taken_at_ns(&self, core: Core) -> Option<u64> {
        self.wanted_ns.get(usize::from(core.0)).copied().flatten()
    }

    /// A free core and an application that may move there from a shared home: not the one whose core that is.
    /// `may_move` says who can now.
    pub fn relief(&self, may_move: impl Fn(Application) -> bool) -> Option<(Application, Core)> {
        let free = self.all().find(|&core| self.owner(core).is_none())?;
        let crowded = self.all().max_by_key(|&core| self.residents(core).count())?;
        if self.residents(crowded).count() < 2 {
            return None;
        }
        let guest = |&resident: &Application| self.owner(crowded) != Some(resident) && may_move(resident);
        self.residents(crowded).find(guest).map(|mover| (mover, free))
    }

    /// An application moves its home to a free core.
    pub fn move_home(&mut self, application: Application, core: Core) {
        if let Some(old) = self.home(application) {
            self.homes[usize::from(application.0)] = None;
            self.pass_on(old);
        }
        self.set_home(application, core);
    }

    /// A core's owner is gone from there: a resident inherits it, or it is free.
    fn pass_on(&mut self, core: Core) {
        let heir = self.residents(core).next();
        self.owners[usize::from(core.0) % CORES_MAX] = heir;
        self.wanted_ns[usize::from(core.0) % CORES_MAX] = None;
    }

    /// Whether `application` may have `core` now. Changes nothing.
    pub fn may_acquire(&self, core: Core, _application: Application) -> Result<(), CallError> {
        match self.owner(core) {
            None => Ok(()),
            Some(_) => Err(CallError::Taken),
        }
    }

    /// Whether `application` may give `core` back: its home it keeps. Changes nothing.
    pub fn may_release(&self, core: Core, application: Application) -> Result<(), CallError> {
        if self.home(application) == Some(core) {
            Err(CallError::BadArgument)
        } else if self.owner(core) != Some(application) {
            Err(CallError::NotOwner)
        } else {
            Ok(())
        }
    }

    /// Gives a free core to an application; one that is owned stays as it is.
    pub fn acquire(&mut self, core: Core, application: Application) {
        if let Some(owner @ None) = self.owners[..usize::from(self.count)].get_mut(usize::from(core.0)) {
            *owner = Some(application);
        }
    }

    /// Takes a core back from its owner.
    pub fn release(&mut self, core: Core) {
        self.pass_on(core);
    }

    /// Takes all of an application's cores back; says how many it had alone.
    pub fn release_all(&mut self, application: Application) -> usize {
        if let Some(home) = self.homes.get_mut(usize::from(application.0)) {
            *home = None;
        }
        let mut released = 0;
        for core in self.all() {
            if self.owner(core) == Some(application) {
                self.pass_on(core);
                released += usize::from(self.owner(core).is_none());
            }
        }
        released
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::Dice;

    #[test]
    fn a_core_has_one_owner_through_long_histories() {
        for seed in 1..60 {
            let mut dice = Dice::new(seed);
            let mut cores = Cores::new(1 + dice.below(4) as usize);
            let mut now_ns = 0;
            for _ in 0..2000 {
                now_ns += dice.below(REVOCATION_NS);
                let application = Application(dice.below(6) as u8);
                let Ok(core) = cores.named(dice.below(6)) else { continue };
                match dice.below(6) {
                    0 if cores.home(application).is_none() => {
                        let had_free = cores.all().any(|core| cores.owner(core).is_none());
                        let homes: [usize; CORES_MAX] =
                            core::array::from_fn(|core| cores.residents(Core(core as u8)).count());
                        let home = cores.settle(application);
                        // Nobody shares while a core is free, and nobody settles on what another acquired.
                        assert_eq!(had_free, homes[usize::from(home.0)] == 0);
                    }
                    1 if cores.home(application).is_some() => {
                        let free = cores.owner(core).is_none();
                        assert_eq!(cores.may_acquire(core, application).is_ok(), free);
                        cores.acquire(core, application);
                        assert!(!free || cores.owner(core) == Some(application));
                    }
                    2 => {
                        if cores.may_release(core, application).is_ok() {
                            assert!(cores.residents(core).next().is_none());
                            cores.release(core);
                            assert_eq!(cores.owner(core), None);
                        }
                    }
                    3 => {
                        let free = cores.all().any(|core| cores.owner(core).is_none());
                        if let Some((core, owner)) = cores.want_back(now_ns) {
                            assert!(!free, "one was asked back although another is free");
                            assert_ne!(cores.home(owner), Some(core));
                            assert_eq!(cores.taken_at_ns(core), Some(now_ns + REVOCATION_NS));
                            assert_eq!(cores.want_back(now_ns), None, "asked twice");
                            cores.release(core);
                            assert_eq!(cores.taken_at_ns(core), None);
                        }
                    }
                    4 => {
                        if let Some((mover, free)) = cores.relief(|_| true) {
                            let old = cores.home(mover).unwrap();
                            assert_ne!(cores.owner(old), Some(mover), "its owner left its core");
                            cores.move_home(mover, free);
                            assert_eq!((cores.home(mover), cores.owner(free)), (Some(free), Some(mover)));
                        }
                    }
                    _ => {
                        cores.release_all(application);
                        assert_eq!(cores.home(application), None);
                        assert!(cores.all().all(|core| cores.owner(core) != Some(application)));
                    }
                }
                for core in cores.all() {
                    let mut residents = cores.residents(core).peekable();
                    if residents.peek().is_some() {
                        let owner = cores.owner(core);
                        assert!(residents.any(|resident| Some(resident) == owner), "a stranger owns a home");
                    }
                }
            }
        }
    }

    #[test]
    fn a_machine_has_at_least_one_core() {
        assert_eq!(Cores::new(0).count(), 1);
        assert_eq!(Cores::new(1000).count(), 8);
        assert_eq!(Cores::new(2).named(2), Err(CallError::NoSuch));
        assert_eq!(Cores::new(2).named(u64::MAX), Err(CallError::NoSuch));
    }
}
