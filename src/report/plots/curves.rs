//! Curves of the best configurations and of those that claims are about, over their seeds, and what was
//! measured in their layers.

use std::collections::BTreeSet;

use super::Plot;
use super::axis::{Axis, Ticks};
use super::heat_map::{HeatMaps, Map, draw_heat_maps};
use super::lines::{Line, Lines, Look, draw_lines};
use crate::aggregate::bands::Band;
use crate::aggregate::courses::Courses;
use crate::aggregate::curves::CurveMetric;
use crate::aggregate::leaderboard::{Entry, Leaderboard};
use crate::report::number::plain;
use crate::report::page::labels;

/// Configurations in a plot: as many as there are colours.
const MOST: usize = 8;

/// The curves that are drawn.
const CURVES: [CurveMetric; 4] =
    [CurveMetric::ValAccuracy, CurveMetric::TrainLoss, CurveMetric::ValLoss, CurveMetric::Lr];

/// Norms of gradients that are drawn: the measurement, the plot's name and its title.
const GRADIENTS: [[&str; 3]; 2] = [
    [
        "gradient_norm_mean",
        "gradient_norm",
        "Norm of the gradient by layer and epoch, mean over the seeds",
    ],
    [
        "gradient_norm_min",
        "gradient_norm_min",
        "Smallest norm of the gradient in each epoch, by layer, mean over the seeds",
    ],
];

/// Maps in a plot.
const MOST_MAPS: usize = 6;

/// Epochs of a map.
const MOST_EPOCHS: usize = 50;

/// The layer that stands for all of them.
const NETWORK: &str = "network";

/// A plot for each curve that is known.
pub fn curve_plots(board: &Leaderboard, courses: &Courses) -> Vec<Plot> {
    CURVES.iter().filter_map(|metric| curve_plot(board, courses, *metric)).collect()
}

fn curve_plot(board: &Leaderboard, courses: &Courses, metric: CurveMetric) -> Option<Plot> {
    // Runs whose steps are timed have no curves, and may lead the board.
    let places = courses.foremost(MOST, |place| courses.bands.band(place, metric).is_some());
    let known = places.iter().filter_map(|place| {
        let entry = board.entries().get(*place)?;
        Some((entry.configuration.as_str(), courses.bands.band(*place, metric)?))
    });
    let bands: Vec<(&str, Band)> = known.collect();
    if bands.is_empty() {
        return None;
    }
    let (label, unit) = labels::of_curve(metric);
    let all = || bands.iter().map(|(_, band)| band);
    let seeds = all().flat_map(|band| &band.n).max().copied().unwrap_or(1);
    let over = if seeds > 1 { ": mean and range over the seeds" } else { "" };
    let more = match board.entries().len() {
        more if more > bands.len() => format!(", {} of {more} configurations", bands.len()),
        _ => String::new(),
    };
    let level = target(board, metric);
    let values = all().flat_map(|band| band.low.iter().chain(&band.high)).copied();
    let values: Vec<f64> = values.chain(level).collect();
    let line = |(number, (name, band)): (usize, &(&str, Band))| line(number, name, band);
    let plot = Lines {
        title: format!("{}{over}{more}", capital(&label)),
        x: Axis::new("epoch", Ticks::Whole, all().flat_map(|band| &band.x).map(|x| *x as f64)),
        y: Axis::fitting(&labels::with_unit((label, unit)), &values),
        lines: bands.iter().enumerate().map(line).collect(),
        level: level.map(|level| (level, format!("target {}", plain(level, 4)))),
    };
    Some(Plot { name: format!("curves_{}", metric.as_str()), svg: draw_lines(&plot) })
}

/// The target, on the curve that it is about.
fn target(board: &Leaderboard, metric: CurveMetric) -> Option<f64> {
    let of = board.metric().target_of()?;
    board.metric().target.filter(|target| of.as_str() == metric.as_str() && target.is_finite())
}

fn line(number: usize, name: &str, band: &Band) -> Line {
    let x = || band.x.iter().map(|x| *x as f64);
    Line {
        name: name.to_owned(),
        // Every other one dashed: told apart also in print, without colours.
        look: if number.is_multiple_of(2) { Look::Line } else { Look::Dashed },
        colour: number,
        points: x().zip(&band.mean).map(|(x, y)| [x, *y]).collect(),
        band: match band.n.iter().any(|n| *n > 1) {
            true => {
                x().zip(band.low.iter().zip(&band.high)).map(|(x, (l, h))| [x, *l, *h]).collect()
            }
            false => Vec::new(),
        },
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().collect::<String>());
    first.unwrap_or_default() + letters.as_str()
}

/// Names of configurations that stand beside each other and have little room: the keys in which they differ.
fn told_apart(board: &Leaderboard, places: &[usize]) -> Vec<String> {
    let entries: Vec<&Entry> =
        places.iter().filter_map(|place| board.entries().get(*place)).collect();
    let differs = |axis: usize| {
        let mut labels = entries.iter().filter_map(|entry| entry.axes.get(axis)).map(|a| &a.label);
        let first = labels.next();
        labels.any(|label| Some(label) != first)
    };
    let axes: Vec<usize> = (0..board.axes().len()).filter(|axis| differs(*axis)).collect();
    let name = |entry: &&Entry| {
        let named =
            axes.iter().map(|axis| format!("{}={}", board.axes()[*axis], entry.axes[*axis].label));
        let name = named.collect::<Vec<_>>().join(" ");
        if name.is_empty() { entry.configuration.clone() } else { name }
    };
    entries.iter().map(name).collect()
}

/// The norm of the gradient by layer and epoch; where it was measured. A gradient that vanishes at first
/// and comes back within the epoch is hidden in the mean, and is seen in the smallest.
pub fn gradient_plots(board: &Leaderboard, courses: &Courses) -> Vec<Plot> {
    GRADIENTS.iter().filter_map(|which| gradient_plot(board, courses, which)).collect()
}

fn gradient_plot(
    board: &Leaderboard,
    courses: &Courses,
    [measurement, name, title]: &[&str; 3],
) -> Option<Plot> {
    let mut measured = courses.maps.measurements().iter();
    let measured = measured.find(|measured| measured.name == *measurement)?;
    let epochs = measured.epochs(MOST_EPOCHS);
    // Gradients of what diverged are beyond all others by orders of magnitude, and would leave one colour
    // to these.
    let finished = |place: &usize| board.entries().get(*place).is_some_and(|entry| entry.n > 0);
    let measured_in: BTreeSet<usize> = measured.configurations().collect();
    let known = courses.foremost(MOST_MAPS, |place| measured_in.contains(&place));
    let some: Vec<usize> = known.iter().copied().filter(finished).collect();
    let shown = if some.is_empty() { known } else { some };
    let titles = told_apart(board, &shown);
    let maps = shown.iter().zip(titles);
    let maps = maps.map(|(place, title)| Map { title, values: measured.map(*place, &epochs) });
    let mut maps: Vec<Map> = maps.collect();
    // Layers that only networks of other configurations have would be empty rows.
    let known = |layer: usize| {
        let mut rows = maps.iter().filter_map(|map| map.values.get(layer));
        rows.any(|row| row.iter().any(Option::is_some))
    };
    let layers = measured.layers.iter().enumerate();
    let layers: Vec<(usize, String)> = layers
        .filter(|(place, layer)| *layer != NETWORK && known(*place))
        .map(|(place, layer)| (place, layer.clone()))
        .collect();
    if layers.is_empty() {
        return None;
    }
    for map in &mut maps {
        map.values = layers.iter().map(|(place, _)| map.values[*place].clone()).collect();
    }
    let plot = HeatMaps {
        title: (*title).to_owned(),
        label: "L2 norm".to_owned(),
        layers: layers.into_iter().map(|(_, layer)| layer).collect(),
        epochs,
        maps,
    };
    Some(Plot { name: (*name).to_owned(), svg: draw_heat_maps(&plot) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::sample;

    #[test]
    fn maps_are_named_by_what_tells_them_apart() {
        let table = sample::timed_table(&[
            ("cpu", 1, 32, 0, Some(100.0)),
            ("cpu", 2, 32, 0, Some(190.0)),
            ("cpu", 2, 64, 0, Some(200.0)),
        ]);
        let board = Leaderboard::of(&table);
        let names =
            ["devices=2 batch_size=64", "devices=2 batch_size=32", "devices=1 batch_size=32"];
        assert_eq!(told_apart(&board, &[0, 1, 2]), names);
        assert_eq!(told_apart(&board, &[0, 1]), ["batch_size=64", "batch_size=32"]);
        assert_eq!(told_apart(&board, &[2]), ["device=cpu devices=1 batch_size=32"]);
    }
}
