//! Where a step's time goes, by phase and by layer, and how near its arithmetic comes to what one core
//! can do.

use std::time::Instant;

use crate::train::error::TrainError;
use crate::train::kernel::gemm::{Matrix, Output, product};
use crate::train::trainer::Trainer;

/// Rows and columns of the product that shows what a core can do.
const SIDE: usize = 1024;

/// So often it is done; the fastest counts.
const PRODUCTS: usize = 7;

/// Mean seconds of the parts of a step.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// `data`, `forward` (with the loss), `backward`, `update`.
    pub phases: Vec<(String, f64)>,
    /// Layers in their order, each forward and backward.
    pub layers: Vec<(String, [f64; 2])>,
}

impl Profile {
    /// Winds the clocks.
    pub(super) fn begin(trainer: &mut Trainer) {
        let clock = || {
            let start = Instant::now();
            Box::new(move || start.elapsed().as_secs_f64())
        };
        trainer.wind_clock(clock());
        trainer.wind_layer_clock(clock());
    }

    /// Reads them after `steps` steps.
    pub(super) fn end(trainer: &mut Trainer, steps: usize) -> Result<Self, TrainError> {
        let each = |seconds: f64| seconds / steps as f64;
        let phases = trainer.measure()?;
        let layers = trainer.take_layer_seconds().into_iter();
        Ok(Self {
            phases: phases
                .iter()
                .filter_map(|phase| Some((phase.measurement, phase.lanes[0].as_ref()?.values[0])))
                .filter(|(name, _)| *name != "evaluation_s")
                .map(|(name, seconds)| (name.trim_end_matches("_s").to_owned(), each(seconds)))
                .collect(),
            layers: layers.map(|(label, s)| (label.name.clone(), s.map(each))).collect(),
        })
    }
}

/// Floating-point operations a second of one core in a large matrix product of f32: the peak that
/// everything else is a fraction of.
pub fn gemm_peak_flops() -> f64 {
    let numbers: Vec<f32> = (0..SIDE * SIDE).map(|i| (i % 97) as f32 * 0.01).collect();
    let mut out = vec![0.0_f32; SIDE * SIDE];
    let matrix = Matrix::new(&numbers, SIDE, SIDE);
    let mut least = f64::INFINITY;
    for _ in 0..PRODUCTS {
        let begun = Instant::now();
        product(&mut out, matrix, matrix, Output::Replace);
        least = least.min(begun.elapsed().as_secs_f64());
    }
    2.0 * (SIDE as f64).powi(3) / least
}
