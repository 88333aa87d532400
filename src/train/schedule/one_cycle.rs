//! The one-cycle schedule (Smith and Topin, 2018), as PyTorch's `OneCycleLR` with two phases
//! computes it: up over the first part of the steps, down over the rest, the last step at the end.

use crate::spec::schedule::Anneal;

/// A cycle, in factors on the highest rate.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cycle<'a> {
    /// Part of the steps that the rate rises.
    pub(super) rise: f64,
    /// The factor of the first step.
    pub(super) first: f64,
    /// The factor of the last step.
    pub(super) last: f64,
    /// The way from one to the next.
    pub(super) anneal: &'a Anneal,
}

impl Cycle<'_> {
    /// The factor of step `step` (from 0) of `total`. The top is at step `rise` times `total` less
    /// 1, which need not be whole; a cycle too short to rise begins at the top.
    pub(super) fn factor(&self, step: u64, total: u64) -> f64 {
        let step = step as f64;
        let end = (total - 1) as f64;
        let top = (self.rise * total as f64 - 1.0).max(0.0);
        if step < top {
            self.between(self.first, 1.0, step / top)
        } else if step > top {
            self.between(1.0, self.last, (step - top) / (end - top))
        } else {
            1.0
        }
    }

    fn between(&self, from: f64, to: f64, progress: f64) -> f64 {
        match self.anneal {
            Anneal::Cosine => {
                to + (from - to) * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
            }
            Anneal::Linear => from + (to - from) * progress,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cycles_of_any_length_stay_between_their_ends() {
        for anneal in [Anneal::Cosine, Anneal::Linear] {
            for rise in [0.0, 0.3, 1.0] {
                let cycle = Cycle { rise, first: 0.1, last: 0.01, anneal: &anneal };
                for total in 1..12 {
                    let factors: Vec<f64> = (0..total).map(|s| cycle.factor(s, total)).collect();
                    let inside = |f: &f64| (0.01 - 1e-15..=1.0).contains(f);
                    assert!(factors.iter().all(inside), "{rise} {total} {factors:?}");
                }
            }
        }
        let cycle = Cycle { rise: 0.5, first: 0.2, last: 0.0, anneal: &Anneal::Linear };
        let expected = [0.2, 1.0, 0.5, 0.0];
        for (step, expected) in expected.into_iter().enumerate() {
            assert!((cycle.factor(step as u64, 4) - expected).abs() < 1e-15, "{step}");
        }
    }
}
