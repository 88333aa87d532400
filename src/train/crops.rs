//! Evaluation by several views of an image: the corners and the middle, perhaps mirrored, whose
//! probabilities are averaged (Krizhevsky et al., 2012, section 4.1).
//!
//! Every lane passes over its own list of (image, view), image by image. A batch takes as many of
//! them as the network has room for, so the views of one image may lie in two batches. In: a network and its batches. Out: every lane's loss and number
//! right over a part.

use std::collections::BTreeSet;
use std::ops::Range;

use super::augment::{Place, View};
use super::batches::Batches;
use super::error::TrainError;
use super::kernel::Real;
use super::layer::{Mode, Pass};
use super::loss::BatchLoss;
use super::model::Network;
use super::report::Part;
use crate::spec::evaluation::{On, Views};

/// The views that one lane sees of every image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneViews {
    /// At least one.
    pub views: Vec<View>,
    /// Black pixels on each side of the image.
    pub padding: usize,
}

impl LaneViews {
    /// What `evaluation` says of a part.
    pub fn of(evaluation: &Views, part: Part) -> Self {
        let single = Self { views: vec![View::CENTRE], padding: 0 };
        let Some((padding, on)) = evaluation.several() else { return single };
        if part == Part::Validation && *on == On::Test {
            return single;
        }
        let mirrors: &[bool] = match evaluation {
            Views::TenCrop { .. } => &[false, true],
            _ => &[false],
        };
        // The order of torchvision's `five_crop` and `ten_crop`.
        let places =
            [Place::TopLeft, Place::TopRight, Place::BottomLeft, Place::BottomRight, Place::Centre];
        let views =
            mirrors.iter().flat_map(|&mirrored| places.map(|place| View { place, mirrored }));
        Self { views: views.collect(), padding: padding as usize }
    }

    /// Is it the middle only?
    pub fn is_single(&self) -> bool {
        self.views.len() == 1
    }
}

/// Sums the loss and the number right over some images of a part that has `labels`, for every lane
/// that sees several views; a lane with a single one is left at 0.
///
/// # Errors
/// When the tensor library fails.
pub fn evaluate<T: Real>(
    network: &mut Network<T>,
    batches: &mut Batches,
    part: Part,
    lanes: &[LaneViews],
    (labels, images): (&[u16], Range<usize>),
) -> Result<Vec<BatchLoss>, TrainError> {
    let (capacity, classes) = (network.capacity(), network.classes());
    let mut averages: Vec<Average> = lanes.iter().map(|_| Average::new(classes)).collect();
    // Lanes with five views and lanes with ten take turns: each sees the batches that it would see
    // alone, and so comes to the same bits.
    let counts: BTreeSet<usize> =
        lanes.iter().filter(|lane| !lane.is_single()).map(|lane| lane.views.len()).collect();
    for views in counts {
        let end = views * images.end;
        for start in (views * images.start..end).step_by(capacity) {
            let places = start..(start + capacity).min(end);
            let samples = places.len();
            batches.fill_views(network.input_mut(), part, places.clone(), lanes)?;
            network.forward(&Pass { mode: Mode::Evaluate, samples, first_sample: 0 })?;
            let logits = network.logits().read()?;
            let turn = averages.iter_mut().zip(lanes).enumerate();
            for (lane, (average, _)) in turn.filter(|(_, (_, lane))| lane.views.len() == views) {
                let rows = logits.lane(lane, samples * classes).chunks_exact(classes);
                for (row, place) in rows.zip(places.clone()) {
                    average.add(row, usize::from(labels[place / views]), views);
                }
            }
        }
    }
    Ok(averages.into_iter().map(|average| average.total).collect())
}

/// The average over the views of one image at a time.
struct Average {
    /// Sum of the views' probabilities so far, a class each.
    probabilities: Vec<f64>,
    /// Logarithm of each view's probability of the right class.
    logarithms: Vec<f64>,
    total: BatchLoss,
}

impl Average {
    fn new(classes: usize) -> Self {
        Self {
            probabilities: vec![0.0; classes],
            logarithms: Vec::new(),
            total: BatchLoss::default(),
        }
    }

    /// Takes the logits of an image's next view, of `views`.
    fn add<T: Real>(&mut self, logits: &[T], label: usize, views: usize) {
        let largest = logits.iter().map(|logit| logit.wide()).fold(f64::NEG_INFINITY, f64::max);
        let shifted = |&logit: &T| logit.wide() - largest;
        let sum: f64 = logits.iter().map(|logit| shifted(logit).exp()).sum();
        for (total, logit) in self.probabilities.iter_mut().zip(logits) {
            *total += shifted(logit).exp() / sum;
        }
        self.logarithms.push(shifted(&logits[label]) - sum.ln());
        if self.logarithms.len() == views {
            self.finish(label);
        }
    }

    /// Counts the image. The loss is put together from logarithms, since a probability below 1e-308
    /// is 0 and its loss would be infinite, which the loss of a single view never is.
    fn finish(&mut self, label: usize) {
        let largest = self.logarithms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = self.logarithms.iter().map(|logarithm| (logarithm - largest).exp()).sum();
        self.total.sum += (self.logarithms.len() as f64).ln() - largest - sum.ln();
        // The first of equal ones counts, and NaN is never larger, as in the loss of a single view.
        let found = self.probabilities.iter().enumerate().fold(0, |best, (class, probability)| {
            if *probability > self.probabilities[best] { class } else { best }
        });
        self.total.right += u64::from(found == label);
        self.probabilities.fill(0.0);
        self.logarithms.clear();
    }
}

#[cfg(test)]
#[path = "crops_tests.rs"]
mod tests;
