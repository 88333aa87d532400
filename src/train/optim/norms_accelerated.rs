//! Norms of gradients on an accelerator: squares are summed by many threads, each every so many
//! numbers on, then these sums by fewer and fewer; which numbers meet where depends on lengths alone.

use super::GradientNorms;
use crate::train::device::{Accelerator, Address, Memory, arguments};
use crate::train::error::TrainError;
use crate::train::kernel::Real;
use crate::train::lane_set::LaneSet;
use crate::train::layer::Parameter;

/// Fewest squares that one thread sums.
const FEWEST: usize = 32;

/// Most threads of a lane.
const MOST: usize = 1 << 15;

/// Sums that one thread joins.
const FOLD: usize = 64;

/// What is kept on the accelerator from step to step.
#[derive(Debug, Default)]
pub struct Kept {
    /// The sum of squares of every parameter in every lane.
    sums: Option<Memory>,
    copy: Vec<f64>,
    /// For every parameter the lanes that have it.
    present: Vec<LaneSet>,
}

/// Queues the sums of squares of `len` numbers in each of `lanes`, into `to`.
fn queue(
    accelerator: &Accelerator,
    numbers: Address,
    [len, lanes]: [usize; 2],
    to: Address,
) -> Result<(), TrainError> {
    let mut count = len.div_ceil(FEWEST).clamp(1, MOST);
    // One half for what is read, one for what is written, in turn.
    let half = count * lanes;
    let scratch = accelerator.scratch(2 * half * size_of::<f64>())?;
    let halves = [scratch, scratch.after::<f64>(half)];
    let given = arguments![numbers, halves[0], len as u32, count as u32];
    accelerator.launch("square_parts", [count, lanes], given)?;
    for turn in 0.. {
        let (from, next) = (halves[turn % 2], count.div_ceil(FOLD));
        let out = if next == 1 { to } else { halves[(turn + 1) % 2] };
        let given = arguments![from, out, count as u32, next as u32, count as u32, FOLD as u32];
        accelerator.launch("fold_parts", [next, lanes], given)?;
        if next == 1 {
            break;
        }
        count = next;
    }
    Ok(())
}

impl GradientNorms {
    /// Adds the squares of all gradients, which are on an accelerator, to the norms of `lanes`.
    pub(super) fn add_squares_on<'a, T: Real>(
        &mut self,
        accelerator: &Accelerator,
        parameters: impl Iterator<Item = &'a Parameter<T>>,
        lanes: &LaneSet,
    ) -> Result<(), TrainError> {
        let group = lanes.group();
        let Kept { sums, copy, present } = &mut self.kept;
        present.clear();
        let mut gradients = Vec::new();
        for parameter in parameters {
            present.push(parameter.lanes.clone());
            gradients.push((parameter.gradient.address(), parameter.len()));
        }
        copy.resize(gradients.len() * group, 0.0);
        let sums = match sums {
            Some(sums) if sums.bytes() >= size_of_val(&copy[..]) => sums,
            none => none.insert(accelerator.zeros::<f64>(copy.len())?),
        };
        for (at, (gradient, len)) in gradients.into_iter().enumerate() {
            let to = sums.address().after::<f64>(at * group);
            queue(accelerator, gradient, [len, group], to)?;
        }
        sums.download(0, copy)?;
        for (present, sums) in present.iter().zip(copy.chunks_exact(group)) {
            for lane in present.iter().filter(|lane| lanes.contains(*lane)) {
                self.norms[lane] += sums[lane];
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::device::emulated;
    use crate::train::layer::parameter::{Start, StorageOrder};

    #[test]
    fn norms_are_those_of_main_memory() {
        for accelerator in emulated::accelerators() {
            let lens = [1, 31, 33, 2_049, 70_001, 2_100_000];
            let mut parameters: Vec<Parameter<f32>> = lens
                .iter()
                .enumerate()
                .map(|(at, &len)| {
                    let lanes: LaneSet = [true, at % 2 == 0, true].into_iter().collect();
                    let (order, start) = (StorageOrder::Saved, Start::Constant(0.0));
                    let mut p =
                        Parameter::new("p".to_owned(), lanes, vec![len], order, start).unwrap();
                    let wave = |x: &mut [f32]| {
                        x.iter_mut().enumerate().for_each(|(i, x)| *x = (i as f32 * 0.7).sin());
                    };
                    p.gradient.write(wave).unwrap();
                    p
                })
                .collect();
            let lanes: LaneSet = [true, true, false].into_iter().collect();
            let mut norms = GradientNorms::default();
            let expected = norms.measure(parameters.iter(), &lanes).unwrap().to_vec();
            for parameter in &mut parameters {
                parameter.gradient.move_to(&accelerator).unwrap();
            }
            for _ in 0..2 {
                let found = norms.measure(parameters.iter(), &lanes).unwrap();
                assert_eq!(found[2], 0.0);
                for (found, expected) in found.iter().zip(&expected) {
                    assert!((found - expected).abs() <= 1e-12 * expected, "{found} {expected}");
                }
            }
        }
    }
}
