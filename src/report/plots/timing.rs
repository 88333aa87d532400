//! How fast training is over batches and devices.

use std::collections::BTreeSet;

use super::Plot;
use super::axis::{Axis, Ticks};
use super::lines::{Line, Lines, Look, draw_lines};
use crate::aggregate::link::Scaling;
use crate::aggregate::row::AxisValue;
use crate::aggregate::scaling::{Baseline, ScalingRow, ScalingTable};
use crate::aggregate::timings::Timing;

/// Lines of a plot that have a colour of their own.
const MOST: usize = 7;

/// The colour of what is no measurement.
const GREY: usize = 7;

/// Images a second over the images of a step, a line for all that differs in nothing but the batch.
pub fn throughput_plot(axes: &[String], timings: &[Timing]) -> Option<Plot> {
    let mut lines: Vec<Line> = Vec::new();
    let mut left_out = BTreeSet::new();
    for timing in timings {
        let Some(found) = &timing.found else { continue };
        let Some(rate) = found.images_per_s.mean.filter(|rate| *rate > 0.0) else { continue };
        let name = name(axes, &timing.axes, &["batch_size"]);
        let point = [f64::from(found.steps.batch_size), rate];
        let known = lines.len();
        match lines.iter_mut().find(|line| line.name == name) {
            Some(line) => line.points.push(point),
            None if known == MOST => {
                left_out.insert(name);
            }
            None => lines.push(Line {
                colour: known,
                look: Look::Marked,
                name,
                points: vec![point],
                band: Vec::new(),
            }),
        }
    }
    if lines.is_empty() {
        return None;
    }
    lines.iter_mut().for_each(|line| line.points.sort_by(|a, b| a[0].total_cmp(&b[0])));
    let points = || lines.iter().flat_map(|line| &line.points);
    let rates: Vec<f64> = points().map(|point| point[1]).collect();
    let title = match left_out.len() {
        0 => "Throughput by batch".to_owned(),
        more => format!("Throughput by batch, the first {MOST} of {}", MOST + more),
    };
    let plot = Lines {
        title,
        x: Axis::new("images of a step", Ticks::AtValues, points().map(|point| point[0])),
        y: Axis::fitting("throughput (images/s)", &rates),
        lines,
        level: None,
    };
    Some(Plot { name: "throughput".to_owned(), svg: draw_lines(&plot) })
}

/// Speed-ups over the devices, measured and as the link's model has them, beside the ideal.
pub fn scaling_plot(axes: &[String], scaling: &ScalingTable) -> Option<Plot> {
    let mut lines: Vec<Line> = Vec::new();
    for row in scaling.rows.iter().filter(|row| row.forecast.is_none()) {
        let (Some(kind), true) = (row.scaling, row.speed_up > 0.0) else { continue };
        let name = of_row(axes, row, kind);
        let point = [f64::from(row.ranks), row.speed_up];
        let known = lines.len();
        match lines.iter_mut().find(|line| line.name == name) {
            Some(line) => line.points.push(point),
            None if known == MOST / 2 + 1 => {}
            None => lines.push(Line {
                colour: known,
                look: Look::Marked,
                name,
                points: vec![[1.0, 1.0], point],
                band: Vec::new(),
            }),
        }
    }
    lines.iter_mut().for_each(|line| line.points.sort_by(|a, b| a[0].total_cmp(&b[0])));
    let most = lines.iter().flat_map(|line| &line.points).map(|point| point[0]).reduce(f64::max)?;
    let mut models: Vec<Line> = Vec::new();
    for baseline in &scaling.baselines {
        let name = of_baseline(axes, baseline);
        let Some(measured) = lines.iter().find(|line| line.name == name) else { continue };
        let name = format!("{name}: fit to {}", baseline.fit.scope.as_str());
        if models.iter().all(|line| line.name != name) {
            models.push(model(baseline, name, measured.colour, most as u32));
        }
    }
    lines.extend(models);
    lines.push(Line {
        name: "ideal".to_owned(),
        look: Look::Dashed,
        colour: GREY,
        points: vec![[1.0, 1.0], [most, most]],
        band: Vec::new(),
    });
    let points = || lines.iter().flat_map(|line| &line.points);
    let marked = lines.iter().filter(|line| line.look == Look::Marked);
    let ranks = marked.flat_map(|line| &line.points).map(|point| point[0]);
    let plot = Lines {
        title: "Speed-up over devices".to_owned(),
        x: Axis::new("devices", Ticks::AtValues, ranks),
        y: Axis::new("speed-up against one device", Ticks::Logarithmic, points().map(|p| p[1])),
        lines,
        level: None,
    };
    Some(Plot { name: "scaling".to_owned(), svg: draw_lines(&plot) })
}

fn model(baseline: &Baseline, name: String, colour: usize, most: u32) -> Line {
    let point = |ranks: u32| [f64::from(ranks), baseline.outlook.speed_up(ranks)];
    let points = (1..=most).map(point).filter(|[_, speed_up]| *speed_up > 0.0);
    Line { name, look: Look::Dashed, colour, points: points.collect(), band: Vec::new() }
}

/// `strong, 64 images a step, width=0.25`.
fn of_row(axes: &[String], row: &ScalingRow, kind: Scaling) -> String {
    let images = match kind {
        Scaling::Strong => row.step_images,
        Scaling::Weak => row.step_images / row.ranks.max(1),
    };
    scaled(axes, &row.axes, kind, images)
}

fn of_baseline(axes: &[String], baseline: &Baseline) -> String {
    scaled(axes, &baseline.axes, baseline.outlook.scaling, baseline.step_images)
}

fn scaled(axes: &[String], values: &[AxisValue], kind: Scaling, images: u32) -> String {
    let each = match kind {
        Scaling::Strong => "images a step",
        Scaling::Weak => "images a device",
    };
    let others = name(axes, values, &["batch_size", "devices"]);
    let others = if others.is_empty() { others } else { format!(", {others}") };
    format!("{}, {images} {each}{others}", kind.as_str())
}

/// The values of all axes but some: `device=cpu, width=0.25`.
fn name(axes: &[String], values: &[AxisValue], left_out: &[&str]) -> String {
    let told = axes.iter().zip(values).filter(|(axis, _)| !left_out.contains(&axis.as_str()));
    told.map(|(axis, value)| format!("{axis}={}", value.label)).collect::<Vec<_>>().join(", ")
}
