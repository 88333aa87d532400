//! Where a step's time goes, by phase and by layer, and how near its arithmetic comes to what one core
//! can do.

use std::time::Instant;

use super::course::StepSeconds;
use crate::train::kernel::gemm::{Matrix, Output, product};
use crate::train::measure::PhaseSeconds;
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
    /// Winds the clock of the layers.
    pub(super) fn begin(trainer: &mut Trainer) {
        let start = Instant::now();
        trainer.wind_layer_clock(Box::new(move || start.elapsed().as_secs_f64()));
    }

    /// Of the steps since then.
    pub(super) fn of(trainer: &mut Trainer, steps: &[StepSeconds]) -> Self {
        let each = |seconds: f64| seconds / steps.len() as f64;
        let phase = |name: &str, of: fn(&PhaseSeconds) -> f64| {
            (name.to_owned(), each(steps.iter().map(|step| of(&step.phases)).sum()))
        };
        let layers = trainer.take_layer_seconds().into_iter();
        Self {
            phases: vec![
                phase("data", |phases| phases.data),
                phase("forward", |phases| phases.forward),
                phase("backward", |phases| phases.backward),
                phase("update", |phases| phases.update),
            ],
            layers: layers.map(|(label, s)| (label.name.clone(), s.map(each))).collect(),
        }
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
