//! Norms of gradients on an accelerator: squares are summed by many threads, each every so many
//! numbers on, then these sums by fewer and fewer; which numbers meet where depends on lengths alone.

use super::{EPS, GradientNorms};
use crate::train::device::{Accelerator, Address, Arrival, Memory, Table, arguments};
use crate::train::error::TrainError;
use crate::train::kernel::Real;
use crate::train::lane_set::LaneSet;
use crate::train::layer::{Lives, Parameter};

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
    /// The same for the kernel: 1 or 0 for every parameter and lane.
    members: Table<u32>,
    limits: Table<f64>,
    /// The norm of every lane, and what clips its gradients.
    norms: Option<[Memory; 2]>,
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
    /// Queues the sums of squares of all gradients, which are on an accelerator: for every parameter
    /// those of every lane.
    fn queue_squares<'a, T: Real>(
        &mut self,
        accelerator: &Accelerator,
        parameters: impl Iterator<Item = &'a Parameter<T>>,
        group: usize,
    ) -> Result<(), TrainError> {
        let Kept { sums, copy, present, .. } = &mut self.kept;
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
        Ok(())
    }

    /// Adds the squares of all gradients, which are on an accelerator, to the norms of `lanes`.
    pub(super) fn add_squares_on<'a, T: Real>(
        &mut self,
        accelerator: &Accelerator,
        parameters: impl Iterator<Item = &'a Parameter<T>>,
        lanes: &LaneSet,
    ) -> Result<(), TrainError> {
        let group = lanes.group();
        self.queue_squares(accelerator, parameters, group)?;
        let Kept { sums, copy, present, .. } = &mut self.kept;
        let sums = sums.as_ref().expect("invariant: the squares were summed there");
        sums.download(0, copy)?;
        for (present, sums) in present.iter().zip(copy.chunks_exact(group)) {
            for lane in present.iter().filter(|lane| lanes.contains(*lane)) {
                self.norms[lane] += sums[lane];
            }
        }
        Ok(())
    }

    /// Queues the norms of the lanes that have a limit, and what clips them to it (nothing, where it is
    /// 0), and takes the life of a lane whose norm is not finite. Says where the factors will be, for
    /// the update; the norms are to be [fetched](Self::fetch).
    ///
    /// # Errors
    /// When the accelerator fails.
    pub fn queue_on<'a, T: Real>(
        &mut self,
        accelerator: &Accelerator,
        parameters: impl Iterator<Item = &'a Parameter<T>>,
        limits: impl ExactSizeIterator<Item = Option<f64>>,
        lives: Option<&Lives>,
    ) -> Result<Address, TrainError> {
        let group = limits.len();
        self.queue_squares(accelerator, parameters, group)?;
        let Kept { sums, present, members, limits: table, norms, .. } = &mut self.kept;
        let sums = sums.as_ref().expect("invariant: the squares are summed there");
        let count = present.len() as u32;
        let present = members.once(accelerator, |table| {
            let all = present.iter().flat_map(|p| (0..group).map(|lane| p.contains(lane)));
            table.extend(all.map(u32::from));
        })?;
        table.refill(|table| table.extend(limits.map(|limit| limit.unwrap_or(-1.0))));
        let limits = table.place(accelerator)?;
        let [norms, scales] = match norms {
            Some(places) => places,
            none => {
                let places = [accelerator.zeros::<f64>(group)?, accelerator.zeros::<f32>(group)?];
                none.insert(places)
            }
        };
        let (sums, lives, scales) = (sums.address(), Lives::address(lives), scales.address());
        let (norms, group) = (norms.address(), group as u32);
        let given = arguments![sums, norms, scales, present, limits, lives, count, group, EPS];
        accelerator.launch("norm_join", [1, group as usize], given)?;
        Ok(scales)
    }

    /// The norms that were queued last, on their way.
    ///
    /// # Errors
    /// When the accelerator fails.
    pub fn fetch(&self) -> Result<Option<Arrival<f64>>, TrainError> {
        let Some([norms, _]) = &self.kept.norms else { return Ok(None) };
        Ok(Some(norms.fetch(0, norms.bytes() / size_of::<f64>())?))
    }

    /// Waits for norms that were fetched: they are the last ones from here on.
    ///
    /// # Errors
    /// When the accelerator fails.
    pub fn collect(&mut self, norms: Arrival<f64>, lanes: usize) -> Result<(), TrainError> {
        self.norms.resize(lanes, 0.0);
        Ok(norms.collect(&mut self.norms)?)
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
            let waited = norms.last().to_vec();
            let lives = Lives::new(&accelerator, 3).unwrap();
            let limits = [Some(0.0), Some(2.5), None].into_iter();
            let scales =
                norms.queue_on(&accelerator, parameters.iter(), limits, Some(&lives)).unwrap();
            let arrival = norms.fetch().unwrap().unwrap();
            norms.collect(arrival, 3).unwrap();
            assert_eq!(norms.last(), waited, "the same bits");
            let [_, kept] = norms.kept.norms.as_ref().unwrap();
            assert_eq!(kept.address(), scales);
            let mut found = [0.0_f32; 3];
            kept.download(0, &mut found).unwrap();
            let expected = crate::train::optim::clip::scale(waited[1], 2.5) as f32;
            assert_eq!(found, [1.0, expected, 1.0]);
            assert_eq!(lives.flags().unwrap(), [1; 3]);
            // Infinite in a lane that is measured, in one that is not, and where the lane has none.
            let len = lens[1];
            let spoil = |x: &mut [f32]| (0..3).for_each(|lane| x[lane * len] = f32::INFINITY);
            parameters[1].gradient.write(spoil).unwrap();
            let limits = [Some(0.0), Some(2.5), None].into_iter();
            norms.queue_on(&accelerator, parameters.iter(), limits, Some(&lives)).unwrap();
            assert_eq!(lives.flags().unwrap(), [0, 1, 1]);
        }
    }
}
