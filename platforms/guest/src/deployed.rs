//! The whole life of an application in a guest, for those that need nothing special: `main` names the application.

use crate::home::Guest;
use crate::place::Place;
use crate::team::Team;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use nom_runtime::log;
use nom_service::configuration::Configuration;
use nom_stack::application::Application;

/// The exit code when the guest cannot serve: its log says why.
const UNABLE: u8 = 1;

/// Makes the application of one core, on that core.
pub type Part<A> = Box<dyn FnOnce() -> A + Send>;

/// An application, and what it does in this home beside serving.
pub trait Deployed: Sized {
    /// What is served.
    type Application: Application + 'static;

    /// The application's name, for people and for prices that are its own.
    const NAME: &'static str;

    /// Bytes of the heap that the application takes: so much must be there beside what the service needs.
    fn heap_bytes(_configuration: &Configuration) -> usize {
        0
    }

    /// What is needed beside the application.
    fn open(configuration: &Configuration) -> Result<Self, String>;

    /// The application, before anybody can ask.
    fn application(
        &mut self,
        configuration: &Configuration,
        home: &mut Guest,
    ) -> Result<Self::Application, String>;

    /// Its parts on further cores, by their number from 1 on. Called before [`Deployed::application`], where there are any.
    fn parts(
        &mut self,
        _configuration: &Configuration,
        _team: &Arc<Team>,
        _home: &mut Guest,
    ) -> Result<Vec<Part<Self::Application>>, String> {
        Err(format!("{} runs on one core: remove the line kv.cores", Self::NAME))
    }

    /// After each turn of the service: where the application wants a connection opened.
    fn turn(&mut self, _application: &mut Self::Application, _home: &Guest) -> Option<(Ipv4Addr, u16)> {
        None
    }
}

/// From the configuration to the exit code.
pub fn main<D: Deployed>() -> u8 {
    match serve::<D>() {
        Ok(()) => 0,
        Err(why) => {
            log!("{}: {why}", D::NAME);
            UNABLE
        }
    }
}

fn serve<D: Deployed>() -> Result<(), String> {
    let mut place = Place::open(D::NAME, D::heap_bytes)?;
    let mut deployed = D::open(&place.configuration)?;
    let parts = match place.configuration.cores {
        1 => Vec::new(),
        _ => deployed.parts(&place.configuration, &place.team, &mut place.home)?,
    };
    let application = deployed.application(&place.configuration, &mut place.home)?;
    place.serve(application, parts, |application, home| deployed.turn(application, home))
}
