//! The loss on an accelerator: one thread a sample, or sixteen where there are many classes. In
//! training the losses of a batch are summed there too, in parts and then the parts in their order; in
//! an evaluation the losses of the samples come back and are added here, in their order. Nobody waits
//! for either before the next pass is queued.

use super::{BatchLoss, Targets};
use crate::train::device::{Accelerator, Address, Arrival, Memory, Table, arguments};
use crate::train::error::TrainError;
use crate::train::kernel::{Buffer, Real};
use crate::train::layer::Lives;

/// Classes from which on a sample is looked at by several threads; the bits are the same.
const MANY: usize = 64;

/// Those threads, and the numbers that they keep of a sample (`FOUND` in `kernels/loss.cu`).
const PARTS: usize = 16;
const FOUND: usize = 66;

/// Fewest samples whose losses one thread sums: of no more, the sum is that of main memory.
const FEWEST: usize = 32;

/// Most sums of losses, which one thread joins.
const MOST_PARTS: usize = 128;

/// How the samples of a batch are cut into parts to sum their losses: samples of a part, and parts.
fn parts_of(samples: usize) -> [usize; 2] {
    let of_part = samples.div_ceil(MOST_PARTS).max(FEWEST);
    [of_part, samples.div_ceil(of_part)]
}

/// Targets on the accelerator, and memory for what comes back; kept from batch to batch.
#[derive(Debug, Default)]
pub struct Kept {
    labels: Table<u32>,
    seconds: Table<u32>,
    shares: Table<f32>,
    smoothing: Table<f64>,
    losses: Option<Memory>,
    right: Option<Memory>,
    /// Loss and number right of every lane.
    sums: Option<Memory>,
}

/// What is to be computed beside the losses.
#[derive(Debug)]
pub struct Wanted<'a, T> {
    /// The gradient of the mean over so many samples.
    pub gradient: Option<(&'a mut Buffer<T>, usize)>,
    /// Label smoothing of every lane; none without.
    pub smoothing: &'a [f64],
}

/// Losses of the lanes of a batch on their way from an accelerator.
#[derive(Debug)]
pub struct Coming {
    sums: Arrival<f64>,
    lanes: usize,
}

impl Coming {
    /// Waits for them; whatever was queued after their batch goes on.
    ///
    /// # Errors
    /// When the accelerator fails.
    pub fn collect(self, results: &mut [BatchLoss]) -> Result<(), TrainError> {
        let mut sums = vec![0.0; 2 * self.lanes];
        self.sums.collect(&mut sums)?;
        for (result, sums) in results.iter_mut().zip(sums.chunks_exact(2)) {
            // Counts are exact up to 2^53.
            *result = BatchLoss { sum: sums[0], right: sums[1] as u64 };
        }
        Ok(())
    }
}

/// Losses of the samples of a batch on their way from an accelerator.
#[derive(Debug)]
pub struct ComingSamples {
    losses: Arrival<f64>,
    right: Arrival<u32>,
    /// Of a lane.
    samples: usize,
    /// Of all lanes.
    all: usize,
}

impl ComingSamples {
    /// Waits for them, and adds loss and number right of every sample of every lane to `results`.
    ///
    /// # Errors
    /// When the accelerator fails.
    pub fn add_to(self, results: &mut [BatchLoss]) -> Result<(), TrainError> {
        let (mut losses, mut right) = (vec![0.0; self.all], vec![0; self.all]);
        self.losses.collect(&mut losses)?;
        self.right.collect(&mut right)?;
        let lanes = losses.chunks_exact(self.samples).zip(right.chunks_exact(self.samples));
        for (result, (losses, right)) in results.iter_mut().zip(lanes) {
            losses.iter().for_each(|loss| result.sum += loss);
            right.iter().for_each(|&right| result.right += u64::from(right));
        }
        Ok(())
    }
}

/// Memory for `len` numbers.
fn room<T: bytemuck::Pod>(
    kept: &mut Option<Memory>,
    len: usize,
    accelerator: &Accelerator,
) -> Result<Address, TrainError> {
    match kept {
        Some(memory) if memory.bytes() >= len * size_of::<T>() => Ok(memory.address()),
        none => Ok(none.insert(accelerator.zeros::<T>(len)?).address()),
    }
}

impl Kept {
    /// Adds loss and number right of every sample of every lane to `results`.
    ///
    /// # Errors
    /// When the accelerator fails.
    pub fn cross_entropy<T: Real>(
        &mut self,
        (accelerator, logits): (&Accelerator, &Buffer<T>),
        (targets, classes): (&Targets<'_>, usize),
        wanted: Wanted<'_, T>,
        results: &mut [BatchLoss],
    ) -> Result<(), TrainError> {
        self.queue_samples((accelerator, logits), (targets, classes), wanted)?;
        match self.fetch_samples(targets.labels.len(), results.len())? {
            Some(coming) => coming.add_to(results),
            None => Ok(()),
        }
    }

    /// Queues the losses of the samples of a batch, to be [fetched](Self::fetch_samples).
    ///
    /// # Errors
    /// When the accelerator fails.
    pub fn queue_samples<T: Real>(
        &mut self,
        (accelerator, logits): (&Accelerator, &Buffer<T>),
        (targets, classes): (&Targets<'_>, usize),
        wanted: Wanted<'_, T>,
    ) -> Result<(), TrainError> {
        // A rank's part of a batch may be empty.
        if targets.labels.is_empty() {
            return Ok(());
        }
        self.of_samples((accelerator, logits), (targets, classes), wanted).map(drop)
    }

    /// The losses of `all` samples of `lanes` that were queued last; none of no samples.
    ///
    /// # Errors
    /// When the accelerator fails.
    pub fn fetch_samples(
        &self,
        all: usize,
        lanes: usize,
    ) -> Result<Option<ComingSamples>, TrainError> {
        let (Some(losses), Some(right), true) = (&self.losses, &self.right, all > 0) else {
            return Ok(None);
        };
        let (losses, right) = (losses.fetch(0, all)?, right.fetch(0, all)?);
        Ok(Some(ComingSamples { losses, right, samples: all / lanes, all }))
    }

    /// Queues the losses of a batch, and takes the life of the lanes in which they are not finite.
    ///
    /// # Errors
    /// When the accelerator fails.
    pub fn queue<T: Real>(
        &mut self,
        (accelerator, logits): (&Accelerator, &Buffer<T>),
        (targets, classes): (&Targets<'_>, usize),
        wanted: Wanted<'_, T>,
        lives: Option<&Lives>,
    ) -> Result<(), TrainError> {
        let lanes = logits.lanes();
        let samples = targets.labels.len() / lanes;
        let [losses, right] = self.of_samples((accelerator, logits), (targets, classes), wanted)?;
        let [of_part, count] = parts_of(samples);
        let parts = accelerator.scratch(2 * lanes * count * size_of::<f64>())?;
        let given = arguments![losses, right, parts, samples as u32, of_part as u32];
        accelerator.launch("loss_parts", [count, lanes], given)?;
        let sums = room::<f64>(&mut self.sums, 2 * lanes, accelerator)?;
        let given = arguments![parts, sums, Lives::address(lives), count as u32];
        accelerator.launch("loss_join", [1, lanes], given)?;
        Ok(())
    }

    /// The losses that were [queued](Self::queue) last; none before.
    ///
    /// # Errors
    /// When the accelerator fails.
    pub fn fetch(&self) -> Result<Option<Coming>, TrainError> {
        let Some(sums) = &self.sums else { return Ok(None) };
        let lanes = sums.bytes() / size_of::<[f64; 2]>();
        Ok(Some(Coming { sums: sums.fetch(0, 2 * lanes)?, lanes }))
    }

    /// Queues losses and numbers right of every sample of every lane; says where they will be.
    fn of_samples<T: Real>(
        &mut self,
        (accelerator, logits): (&Accelerator, &Buffer<T>),
        (targets, classes): (&Targets<'_>, usize),
        wanted: Wanted<'_, T>,
    ) -> Result<[Address; 2], TrainError> {
        let (lanes, all) = (logits.lanes(), targets.labels.len());
        let samples = all / lanes;
        let classes_of = |table: &mut Table<u32>, labels: &[u16]| {
            table.refill(|table| table.extend(labels.iter().map(|&label| u32::from(label))));
            table.place(accelerator)
        };
        let labels = classes_of(&mut self.labels, targets.labels)?;
        let (mut seconds, mut shares) = (Address::NONE, Address::NONE);
        if let Some(mixed) = &targets.mixed {
            seconds = classes_of(&mut self.seconds, mixed.labels)?;
            self.shares.refill(|table| table.extend(mixed.shares));
            shares = self.shares.place(accelerator)?;
        }
        let mut smoothing = Address::NONE;
        if !wanted.smoothing.is_empty() {
            self.smoothing.refill(|table| table.extend(wanted.smoothing));
            smoothing = self.smoothing.place(accelerator)?;
        }
        let losses = room::<f64>(&mut self.losses, all, accelerator)?;
        let right = room::<u32>(&mut self.right, all, accelerator)?;
        let (gradient, pitch, mean_over) = match &wanted.gradient {
            Some((gradient, over)) => (gradient.address(), gradient.pitch(), *over as u32),
            None => (Address::NONE, 0, 1),
        };
        let classes_ = classes as u32;
        if classes < MANY {
            let given = arguments![
                logits,
                gradient,
                losses,
                right,
                logits.pitch(),
                pitch,
                classes_,
                mean_over,
                labels,
                seconds,
                shares,
                smoothing,
            ];
            accelerator.launch("cross_entropy", [samples, lanes], given)?;
            return Ok([losses, right]);
        }
        let found = accelerator.scratch(all * FOUND * size_of::<f32>())?;
        let parts = [samples * PARTS, lanes];
        for kernel in ["logit_maxima", "logit_sums"] {
            let given = arguments![logits, found, logits.pitch(), classes_];
            accelerator.launch(kernel, parts, given)?;
        }
        let given = arguments![
            logits,
            found,
            losses,
            right,
            logits.pitch(),
            classes_,
            labels,
            seconds,
            shares,
            smoothing,
        ];
        accelerator.launch("cross_entropy_join", [samples, lanes], given)?;
        if wanted.gradient.is_some() {
            let given = arguments![
                logits,
                found,
                gradient,
                logits.pitch(),
                pitch,
                classes_,
                mean_over,
                labels,
                seconds,
                shares,
                smoothing,
            ];
            accelerator.launch("cross_entropy_gradient", [samples * classes, lanes], given)?;
        }
        Ok([losses, right])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::device::emulated;
    use crate::train::loss::{Mixed, cross_entropy, cross_entropy_gradient};

    const SAMPLES: usize = 9;

    fn logits(classes: usize) -> Buffer<f32> {
        let mut logits = Buffer::zeros(2, &[SAMPLES + 1, classes]).unwrap();
        let number = |i: usize| ((i * i) as f32 * 0.37).sin() * 4.0;
        logits.write(|x| x.iter_mut().enumerate().for_each(|(i, x)| *x = number(i))).unwrap();
        // The largest logit twice, and one that breaks a sample.
        logits.write(|x| (x[0], x[1], x[3 * classes]) = (9.0, 9.0, f32::NAN)).unwrap();
        logits
    }

    fn same(found: &[BatchLoss], expected: &[BatchLoss]) {
        for (found, expected) in found.iter().zip(expected) {
            let near = (found.sum - expected.sum).abs() <= 1e-13 * expected.sum.abs();
            let broken = found.sum.is_nan() && expected.sum.is_nan();
            assert!((near || broken) && found.right == expected.right, "{found:?} {expected:?}");
        }
    }

    #[test]
    fn losses_rights_and_gradients_are_those_of_main_memory() {
        for accelerator in emulated::accelerators() {
            for classes in [3, 16, 37, 64, 101] {
                let class = |by: usize| move |i: usize| (i * by % classes) as u16;
                let labels: Vec<u16> = (0..2 * SAMPLES).map(class(7)).collect();
                let seconds: Vec<u16> = (0..2 * SAMPLES).map(class(5)).collect();
                let shares: Vec<f32> = (0..2 * SAMPLES).map(|i| (i % 5) as f32 * 0.25).collect();
                let mixed = Some(Mixed { labels: &seconds, shares: &shares });
                let there = logits(classes);
                let mut here = logits(classes);
                here.move_to(&accelerator).unwrap();
                let mut kept = Kept::default();
                for (mixed, smoothing) in [(None, [0.0, 0.2]), (mixed, [0.1, 0.0])] {
                    let targets = Targets { labels: &labels, mixed, whole: None };
                    let [mut expected, mut found] = [[BatchLoss::default(); 2]; 2];
                    let mut gradient = Buffer::zeros(2, &[(SAMPLES + 3) * classes]).unwrap();
                    let out = (&mut gradient, classes);
                    cross_entropy_gradient(&there, &targets, &smoothing, out, &mut expected)
                        .unwrap();
                    let mut gradient_here = Buffer::zeros(2, &[(SAMPLES + 3) * classes]).unwrap();
                    gradient_here.move_to(&accelerator).unwrap();
                    let gradient_wanted = Some((&mut gradient_here, SAMPLES));
                    let wanted = Wanted { gradient: gradient_wanted, smoothing: &smoothing };
                    let (on, aimed) = ((&accelerator, &here), (&targets, classes));
                    kept.cross_entropy(on, aimed, wanted, &mut found).unwrap();
                    same(&found, &expected);
                    let wanted = Wanted { gradient: None, smoothing: &smoothing };
                    let lives = Lives::new(&accelerator, 2).unwrap();
                    kept.queue(on, aimed, wanted, Some(&lives)).unwrap();
                    kept.fetch().unwrap().unwrap().collect(&mut found).unwrap();
                    same(&found, &expected);
                    // The lane with the broken sample lives no more.
                    assert_eq!(lives.flags().unwrap(), [0, 1]);
                    let bits = |buffer: &Buffer<f32>| {
                        let numbers = buffer.read().unwrap().to_vec();
                        numbers.iter().map(|x| if x.is_nan() { 0 } else { x.to_bits() }).collect()
                    };
                    let [expected, found]: [Vec<u32>; 2] = [bits(&gradient), bits(&gradient_here)];
                    assert!(expected == found);
                }
                let [mut expected, mut found] = [[BatchLoss::default(); 2]; 2];
                cross_entropy(&there, &labels, classes, &mut expected).unwrap();
                let wanted = Wanted { gradient: None, smoothing: &[] };
                let targets = Targets::plain(&labels);
                let (on, aimed) = ((&accelerator, &here), (&targets, classes));
                kept.cross_entropy(on, aimed, wanted, &mut found).unwrap();
                same(&found, &expected);
            }
        }
    }
}
