//! What others do: IX's rule, hill climbing, a bandit.

use super::days::Now;
use super::random::Random;
use super::run::{Earned, Scene, WINDOW_S};
use super::surface::DELAYS_US;
use std::cell::RefCell;

/// Windows after which the climber judges a step, and what the bandit forgets by.
const STEP: usize = 3;
const FORGET: f64 = 0.98;
const CURIOSITY: f64 = 0.5;

/// Batch only what is queued: nothing is ever waited for, and where more arrives than is served one by one, so much
/// gathers that it is served.
pub fn ix(scene: &Scene<'_>) -> Earned {
    let enough = |window: usize, now: &Now| {
        let second = window as f64 * WINDOW_S;
        let serves = |place: &usize| {
            scene.surface.truth(*place, now.arrival_per_s, second).capacity_per_s >= now.arrival_per_s
        };
        (0..DELAYS_US.len()).find(serves).or(Some(DELAYS_US.len() - 1))
    };
    scene.play(enough, |_| {})
}

/// One step, and back when it earned less.
pub fn climber(scene: &Scene<'_>) -> Earned {
    struct State {
        place: usize,
        up: bool,
        sum: f64,
        count: usize,
        before: f64,
    }
    let state = RefCell::new(State { place: 0, up: true, sum: 0.0, count: 0, before: f64::NEG_INFINITY });
    let choose = |_: usize, _: &Now| Some(state.borrow().place);
    scene.play(choose, |profit| {
        let mut state = state.borrow_mut();
        state.sum += profit;
        state.count += 1;
        if state.count < STEP {
            return;
        }
        let mean = state.sum / STEP as f64;
        if mean < state.before {
            state.up = !state.up;
        }
        state.before = mean;
        (state.sum, state.count) = (0.0, 0);
        let last = DELAYS_US.len() - 1;
        if state.place == 0 {
            state.up = true;
        }
        if state.place == last {
            state.up = false;
        }
        state.place = if state.up { (state.place + 1).min(last) } else { state.place.saturating_sub(1) };
    })
}

/// Upper confidence bounds that forget, without any idea of prices or load.
pub fn bandit(scene: &Scene<'_>) -> Earned {
    let arms = RefCell::new(([(0.0f64, 0.0f64); DELAYS_US.len()], 0usize, 0.0f64));
    let random = RefCell::new(Random::new(scene.seed ^ 0xba));
    let choose = |_: usize, _: &Now| {
        let mut all = arms.borrow_mut();
        let total: f64 = all.0.iter().map(|(count, _)| count).sum();
        let scale = all.2;
        let bound = |(count, sum): (f64, f64)| match count < 0.5 {
            true => f64::INFINITY,
            false => sum / count + CURIOSITY * scale * ((total + 1.0).ln() / count).sqrt() * 0.2,
        };
        let ties = random.borrow_mut().below(DELAYS_US.len());
        let best = (0..DELAYS_US.len())
            .map(|place| (place + ties) % DELAYS_US.len())
            .max_by(|a, b| bound(all.0[*a]).total_cmp(&bound(all.0[*b])))
            .unwrap_or(0);
        all.1 = best;
        Some(best)
    };
    scene.play(choose, |profit| {
        let mut all = arms.borrow_mut();
        let arm = all.1;
        all.0.iter_mut().for_each(|(count, sum)| {
            *count *= FORGET;
            *sum *= FORGET;
        });
        all.0[arm].0 += 1.0;
        all.0[arm].1 += profit;
        all.2 = all.2.max(profit.abs());
    })
}
