//! Plots of a sweep as SVG, for slides, papers and mail.
//!
//! In: courses, effects, claims, timings. Out: SVG texts, each readable on its own: title, axes with
//! units, a legend, colours that everybody can tell apart.

mod axis;
mod canvas;
mod curves;
mod evidence;
mod forest;
mod heat_map;
mod lines;
#[cfg(test)]
mod tests;
mod timing;

use super::page::Inputs;

/// A plot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plot {
    /// Its name, without the ending.
    pub name: String,
    /// The SVG.
    pub svg: String,
}

/// Every plot that there is anything to draw for: curves of the best configurations, gradient norms by
/// layer, effects, claims, throughput and scaling.
pub fn plots(inputs: &Inputs<'_>) -> Vec<Plot> {
    let Inputs { table, board, claims, effects, timings, scaling, courses } = *inputs;
    let axes = table.axes();
    let mut plots = curves::curve_plots(board, courses);
    plots.extend(curves::gradient_plots(board, courses));
    plots.extend(evidence::effects_plot(axes, table.metric(), effects));
    plots.extend(evidence::claims_plot(claims));
    plots.extend(timing::throughput_plot(axes, timings));
    plots.extend(timing::scaling_plot(axes, scaling));
    plots
}
