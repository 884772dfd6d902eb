//! Loads: a light one that stays, and arrivals that step between two rates.

use super::listening::Listener;
use super::prices::{Prices, unix_ns};
use super::terms;
use crate::homes::{Home, Linux};
use nom_load::random::Random;
use nom_load::recording::{Arrival, Recording};
use nom_load::{LoadError, Mix, Pace, Plan, Report, Stop, replay_from};
use nom_machine::trouble::{Context, Outcome, Trouble};
use nom_service::management::KnobChange;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Requests a second of the light load.
const LIGHT_PER_S: f64 = 500.0;
/// The two rates, and the connections that they arrive on.
const RATES_PER_S: [f64; 2] = [400.0, 4_000.0];
const CONNECTIONS: u64 = 8;
/// A rate lasts so long: longer than the tuner stays with a setting that another load brought it to, and of no rhythm.
const STEP_MS: (u64, u64) = (2_400, 2_700);
/// How long answers are waited for after the last request.
const GRACE: Duration = Duration::from_secs(10);

/// A load that runs.
pub struct Light {
    stop: Stop,
    thread: JoinHandle<Result<Report, LoadError>>,
}

/// Starts the light load.
pub fn light(port: u16) -> Light {
    let plan = Plan {
        connections: 4,
        pace: Pace::Poisson { per_s: LIGHT_PER_S },
        mix: Mix { preload: true, ..Mix::default() },
        duration: Duration::from_secs(nom_load::bounds::DURATION_MAX_S),
        ..Plan::new(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    };
    let stop = Stop::default();
    let heard = stop.clone();
    Light { stop, thread: std::thread::spawn(move || nom_load::run(&plan, &heard, |_| {})) }
}

impl Light {
    /// Ends it.
    pub fn finish(self) -> Outcome<()> {
        self.stop.stop();
        let report = self.thread.join().map_err(|_| Trouble::new("the load panicked"))?;
        match report.context(|| "the load failed".into())?.tally.wrong {
            0 => Ok(()),
            wrong => Err(Trouble::new(format!("{wrong} answers were wrong"))),
        }
    }
}

/// Steps the load so often; the milliseconds from each step to the knob.
pub fn follow(count: usize) -> Outcome<Vec<f64>> {
    let (recording, steps_us) = steps(count);
    let prices = Prices::new(&terms::CORE[..1]);
    let mut home = Linux::start(terms::LOADS, prices)?;
    let mut listener = Listener::new(&mut home)?;
    let target = SocketAddr::from((Ipv4Addr::LOCALHOST, home.port()));
    let began_unix_ns = AtomicU64::new(0);
    let mut times = Vec::with_capacity(count);
    std::thread::scope(|scope| {
        let player = scope.spawn(|| {
            replay_from(&recording, target, GRACE, || began_unix_ns.store(unix_ns(), Ordering::SeqCst))
        });
        let mut followed = Ok(());
        for (number, step_us) in steps_us.iter().enumerate() {
            let wanted = if number % 2 == 0 { "batch=50us" } else { "batch=0" };
            let after = |change: &KnobChange| {
                let began = began_unix_ns.load(Ordering::SeqCst);
                began > 0
                    && change.in_force_unix_ns >= began + step_us * 1000
                    && change.after.ends_with(wanted)
            };
            followed = listener.until(&mut home, "follow the load", |heard| {
                heard.change.as_ref().is_some_and(|(change, _)| after(change))
            });
            let Some((change, _)) = listener.change.as_ref().filter(|_| followed.is_ok()) else { break };
            let stepped_unix_ns = began_unix_ns.load(Ordering::SeqCst) + step_us * 1000;
            times.push((change.in_force_unix_ns - stepped_unix_ns) as f64 / 1e6);
        }
        let played = player.join().map_err(|_| Trouble::new("the player of the load panicked"))?;
        followed?;
        played.context(|| "the load cannot be played".into())
    })?;
    listener.drain(&mut home)?;
    Ok(times)
}

/// Arrivals whose rate steps so often, and when; the first rate lasts one stretch before.
fn steps(count: usize) -> (Recording, Vec<u64>) {
    let mut random = Random::new(5);
    let (mut arrivals, mut steps_us) = (Vec::new(), Vec::new());
    let mut begin_us = 0.0;
    for stretch in 0..=count {
        if stretch > 0 {
            steps_us.push(begin_us as u64);
        }
        let (least, most) = STEP_MS;
        let end_us = begin_us + 1e3 * (least + random.below(most - least)) as f64;
        let per_s = RATES_PER_S[stretch % 2];
        let mut time_us = begin_us + random.exponential(1e6 / per_s);
        while time_us < end_us {
            let connection = random.below(CONNECTIONS) as u32;
            let request = b"get reaction\r\n".to_vec();
            arrivals.push(Arrival { time_us: time_us as u64, connection, request });
            time_us += random.exponential(1e6 / per_s);
        }
        begin_us = end_us;
    }
    (Recording::new(arrivals), steps_us)
}
