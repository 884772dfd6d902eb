//! One figure of all settings of a family, learnt together.
//!
//! A figure is a sum of few terms that all settings share (what a request takes, what a wake takes) and of how far each
//! setting is off that, in general and under each load class by itself. All are estimated together by a Kalman filter, with
//! their covariance: what is seen of one setting says something about the others, and how little is known of a setting
//! that was not seen for long is a number too. What is off returns to nothing as it is forgotten, or to what a profile
//! said, so a setting that is never looked at is again taken to follow the shared terms, with the doubt that it began with.

use alloc::vec;
use alloc::vec::Vec;

/// What is believed before anything is seen, as parts of the first figure (or in its own unit, where that is a logarithm).
#[derive(Debug, Clone, Copy)]
pub(super) struct Prior<const SHARED: usize> {
    /// The shared terms, and their deviations.
    pub terms: [(f64, f64); SHARED],
    /// Deviation of a setting, and of a setting under one class.
    pub member: f64,
    pub cell: f64,
    /// What settings are off by stays in part: this part of the variance moves as time goes on.
    pub drifting: f64,
}

/// Where a figure belongs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct At {
    pub member: usize,
    pub class: usize,
    /// How far a setting is off under this class counts so much more: where the shared terms are known to be rough.
    pub rough: f64,
}

impl At {
    pub fn new(member: usize, class: usize) -> Self {
        Self { member, class, rough: 0.0 }
    }

    pub fn rough(self, rough: f64) -> Self {
        Self { rough, ..self }
    }
}

/// What is expected.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Expected {
    pub value: f64,
    pub variance: f64,
}

/// The filter.
#[derive(Debug, Clone)]
pub(super) struct Regression<const SHARED: usize> {
    prior: Prior<SHARED>,
    members: usize,
    mean: Vec<f64>,
    /// What each row returns to as it is forgotten, and its variance then.
    anchor: Vec<(f64, f64)>,
    /// Row by row.
    covariance: Vec<f64>,
    /// How surprising what was seen lately was, on average: 1 when it is as doubtful as it is taken to be.
    strain: f64,
    /// How surprising what was seen first after a change of setting was: above 1 when settings follow the shared terms less
    /// than was believed, and then all of them are as much more doubtful.
    misfit: f64,
    last: Option<(usize, usize)>,
    at_ns: u64,
}

/// The shared terms drift too, but slower: their variance grows by this part of the prior's in the time of forgetting.
const SHARED_DRIFT: f64 = 0.01;

/// When figures are so many times further off than they should be (in squares), something has changed.
const STRAIN_MOST: f64 = 4.0;
/// One surprise counts for no more.
const MISFIT_MOST: f64 = 10.0;
/// Changes of setting that the misfit remembers.
const MISFIT_CHANGES: f64 = 8.0;
/// Over about so many windows.
const STRAIN_WINDOWS: f64 = 3.0;

impl<const SHARED: usize> Regression<SHARED> {
    /// Believes the prior.
    pub fn new(prior: Prior<SHARED>, members: usize, classes: usize) -> Self {
        let size = SHARED + members + members * classes;
        let mut this = Self {
            prior,
            members,
            mean: vec![0.0; size],
            anchor: vec![(0.0, 0.0); size],
            covariance: vec![0.0; size * size],
            strain: 1.0,
            misfit: 1.0,
            last: None,
            at_ns: 0,
        };
        for row in 0..size {
            this.mean[row] = if row < SHARED { prior.terms[row].0 } else { 0.0 };
            let variance = this.variance_of(row);
            this.covariance[row * size + row] = variance;
            this.anchor[row] = (this.mean[row], variance * prior.drifting);
        }
        this
    }

    /// The variance that the prior gives a row.
    fn variance_of(&self, row: usize) -> f64 {
        let deviation = if row < SHARED {
            self.prior.terms[row].1
        } else if row < SHARED + self.members {
            self.prior.member
        } else {
            self.prior.cell
        };
        deviation * deviation
    }

    /// What is believed now is what is returned to: how far settings are off by a profile says more about later than that
    /// they are not off at all.
    pub fn anchor(&mut self) {
        for (anchor, mean) in self.anchor.iter_mut().zip(&self.mean) {
            anchor.0 = *mean;
        }
    }

    /// The shared terms as they are believed.
    pub fn terms(&self) -> &[f64] {
        &self.mean[..SHARED]
    }

    /// Keeps a shared term within bounds that nature sets. All that is believed together with it moves along, as far as it is
    /// doubtful: a term that is put back by itself would take what was seen of the settings with it.
    pub fn bound(&mut self, term: usize, from: f64, to: f64) {
        let within = self.mean[term].clamp(from, to);
        let size = self.mean.len();
        let line = &self.covariance[term * size..][..size];
        let part = (within - self.mean[term]) / line[term];
        if part != 0.0 && part.is_finite() {
            self.mean.iter_mut().zip(line).for_each(|(mean, covariance)| *mean += part * covariance);
        }
        self.mean[term] = within;
    }

    /// What the shared terms say.
    pub fn shared(&self, features: &[f64; SHARED]) -> f64 {
        features.iter().zip(&self.mean).map(|(feature, term)| feature * term).sum()
    }

    /// The rows that a figure depends on, and how much: how far a setting is off counts in proportion to `scale`.
    fn rows(&self, at: At, features: &[f64; SHARED], scale: f64) -> Rows<SHARED> {
        let cell = SHARED + self.members + at.class * self.members + at.member;
        Rows { features: *features, own: [(SHARED + at.member, scale), (cell, scale + at.rough)] }
    }

    /// What a setting is expected to show. Where figures are parts of themselves off, `scale` is `None` and what the
    /// shared terms say is taken.
    pub fn expected(&self, at: At, features: &[f64; SHARED], scale: Option<f64>) -> Expected {
        let shared = self.shared(features);
        let rows = self.rows(at, features, scale.unwrap_or(shared));
        let value = rows.each().map(|(row, weight)| self.mean[row] * weight).sum();
        Expected { value, variance: self.between(&rows, &rows).max(0.0) * self.misfit.max(1.0) }
    }

    /// Variance of the difference of two settings' figures.
    pub fn difference(
        &self,
        (a, a_features): (At, &[f64; SHARED]),
        (b, b_features): (At, &[f64; SHARED]),
        scale: Option<f64>,
    ) -> f64 {
        let a = self.rows(a, a_features, scale.unwrap_or(self.shared(a_features)));
        let b = self.rows(b, b_features, scale.unwrap_or(self.shared(b_features)));
        let variance = self.between(&a, &a) + self.between(&b, &b) - 2.0 * self.between(&a, &b);
        variance.max(0.0) * self.misfit.max(1.0)
    }

    fn between(&self, a: &Rows<SHARED>, b: &Rows<SHARED>) -> f64 {
        let size = self.mean.len();
        a.each()
            .map(|(row, weight)| {
                weight
                    * b.each()
                        .map(|(column, other)| other * self.covariance[row * size + column])
                        .sum::<f64>()
            })
            .sum()
    }

    /// A figure was seen, with a variance of its own.
    pub fn saw(
        &mut self,
        at: At,
        features: &[f64; SHARED],
        scale: Option<f64>,
        (figure, variance): (f64, f64),
    ) {
        let size = self.mean.len();
        let rows = self.rows(at, features, scale.unwrap_or(self.shared(features)));
        let mut toward = vec![0.0; size];
        for (row, weight) in rows.each() {
            for (sum, covariance) in toward.iter_mut().zip(&self.covariance[row * size..][..size]) {
                *sum += weight * covariance;
            }
        }
        let expected: f64 = rows.each().map(|(row, weight)| self.mean[row] * weight).sum();
        let off = figure - expected;
        if self.strain > STRAIN_MOST {
            // It is something else now: how far this setting is off is as doubtful as what is seen.
            let (own, scale) = rows.own[0];
            let grown = off * off / (scale * scale).max(f64::MIN_POSITIVE);
            self.covariance[own * size + own] += grown;
            toward[own] += grown * scale;
        }
        let all = variance + rows.each().map(|(row, weight)| toward[row] * weight).sum::<f64>();
        if all <= 0.0 || !all.is_finite() || !figure.is_finite() {
            return;
        }
        let surprise = off / all;
        if self.last.replace((at.member, at.class)).is_some_and(|last| last != (at.member, at.class)) {
            self.misfit += ((off * surprise).min(MISFIT_MOST) - self.misfit) / MISFIT_CHANGES;
        }
        self.strain += (off * surprise - self.strain) / STRAIN_WINDOWS;
        for (row, gain) in toward.iter().enumerate() {
            self.mean[row] += gain * surprise;
            let part = gain / all;
            let line = &mut self.covariance[row * size..][..size];
            line.iter_mut().zip(&toward).for_each(|(covariance, other)| *covariance -= part * other);
        }
    }

    /// Time goes on: how far each setting is off is forgotten, by half in so long a time.
    pub fn age(&mut self, now_ns: u64, forget_ns: u64) {
        let part = now_ns.saturating_sub(self.at_ns) as f64 / forget_ns.max(1) as f64;
        self.at_ns = now_ns;
        if part <= 0.0 {
            return;
        }
        let kept = 1.0 / (1.0 + part);
        let size = self.mean.len();
        for row in 0..size {
            let of_row = if row < SHARED { 1.0 } else { kept };
            self.mean[row] = self.anchor[row].0 + (self.mean[row] - self.anchor[row].0) * of_row;
            let line = &mut self.covariance[row * size..][..size];
            for (column, covariance) in line.iter_mut().enumerate() {
                *covariance *= of_row * if column < SHARED { 1.0 } else { kept };
            }
        }
        for row in 0..size {
            let grown = if row < SHARED { SHARED_DRIFT * part.min(1.0) } else { 1.0 - kept * kept };
            self.covariance[row * size + row] += grown * self.anchor[row].1;
        }
    }
}

/// The few rows that a figure depends on.
struct Rows<const SHARED: usize> {
    features: [f64; SHARED],
    own: [(usize, f64); 2],
}

impl<const SHARED: usize> Rows<SHARED> {
    fn each(&self) -> impl Iterator<Item = (usize, f64)> {
        self.features.iter().copied().enumerate().chain(self.own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIOR: Prior<2> = Prior { terms: [(0.5, 0.5), (0.5, 0.5)], member: 0.1, cell: 0.05, drifting: 1.0 };

    fn at(member: usize) -> At {
        At::new(member, 0)
    }

    #[test]
    fn two_settings_say_what_the_third_gives() {
        let mut learnt = Regression::new(PRIOR, 3, 2);
        let features = |place: usize| [1.0, 1.0 / (1.0 + place as f64)];
        let truth = |place: usize| 0.7 + 0.3 / (1.0 + place as f64);
        let before = learnt.expected(at(2), &features(2), None);
        for turn in 0..40 {
            learnt.saw(at(turn % 2), &features(turn % 2), None, (truth(turn % 2), 1e-4));
        }
        let after = learnt.expected(at(2), &features(2), None);
        assert!((after.value - truth(2)).abs() < 0.05, "{after:?}");
        assert!(after.variance < before.variance / 10.0, "{before:?} {after:?}");
        // The third was never seen, so it stays doubtful by what settings may be off.
        assert!(after.variance > 0.1 * 0.1 * 0.5, "{after:?}");
        let seen = learnt.expected(at(0), &features(0), None);
        assert!(seen.variance < after.variance / 10.0, "{seen:?}");
    }

    #[test]
    fn a_term_that_is_put_back_leaves_what_was_seen() {
        let mut learnt = Regression::new(PRIOR, 2, 1);
        // Nature says that the second term is not negative; by these two settings it is.
        let seen = [([1.0, 0.2], 0.5), ([1.0, 0.8], 0.1)];
        for turn in 0..200 {
            let (features, figure) = seen[turn % 2];
            learnt.saw(at(turn % 2), &features, None, (figure, 1e-4));
            learnt.bound(1, 0.0, f64::INFINITY);
        }
        assert_eq!(learnt.terms()[1], 0.0);
        for (member, (features, figure)) in seen.into_iter().enumerate() {
            let expected = learnt.expected(at(member), &features, None).value;
            assert!((expected - figure).abs() < 0.02, "{member}: {expected} and not {figure}");
        }
        // What is within its bounds stays as it is.
        let before = learnt.mean.clone();
        learnt.bound(0, 0.0, f64::INFINITY);
        assert_eq!(learnt.mean, before);
    }

    #[test]
    fn what_was_not_seen_for_long_is_doubtful_again() {
        let mut learnt = Regression::new(PRIOR, 2, 1);
        for _ in 0..20 {
            learnt.saw(at(0), &[1.0, 0.0], None, (0.6, 1e-4));
            learnt.saw(at(1), &[1.0, 0.0], None, (0.5, 1e-4));
        }
        let fresh = learnt.expected(at(0), &[1.0, 0.0], None);
        assert!((fresh.value - 0.6).abs() < 0.01, "{fresh:?}");
        learnt.age(1_000, 1_000);
        let old = learnt.expected(at(0), &[1.0, 0.0], None);
        assert!(old.variance > fresh.variance * 5.0, "{fresh:?} {old:?}");
        assert!(old.value < 0.59, "it returns towards what the settings share: {old:?}");
        let difference = learnt.difference((at(0), &[1.0, 0.0]), (at(1), &[1.0, 0.0]), None);
        assert!(difference < 2.0 * old.variance, "what they share is no difference: {difference}");
    }
}
