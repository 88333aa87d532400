//! A forest plot: an effect a row, with its interval, beside the value that would mean no effect.
//!
//! Effects in different units stand in panels of their own, each with its axis.

use plotters::coord::ranged1d::Ranged;
use plotters::prelude::*;

use super::axis::{Axis, Ticks};
use super::canvas::{
    Anchor, Area, Drawn, FAINT, FINE, INK, PALETTE, SMALL, WIDTH, fine, rule, sheet, shorten,
    wrapped, write,
};

/// One effect.
#[derive(Debug, Clone)]
pub struct Row {
    /// What has the effect.
    pub label: String,
    /// How large it is.
    pub effect: f64,
    /// Its 95 % interval.
    pub interval: Option<[f64; 2]>,
    /// Where it would be none, if there is such a value.
    pub null: Option<f64>,
    /// How far from there still counts as equal.
    pub margin: Option<f64>,
    /// A few words at the right.
    pub note: String,
    /// Its shape and colour.
    pub mark: Mark,
}

/// What a row's mark says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Significant, as was expected: a filled circle.
    Yes,
    /// Significant the other way: a cross.
    No,
    /// Neither: an open circle.
    Open,
}

/// Effects in one unit.
#[derive(Debug, Clone)]
pub struct Panel {
    /// What the axis shows, with the unit.
    pub label: String,
    /// Are they ratios?
    pub ratio: bool,
    /// The effects, from above.
    pub rows: Vec<Row>,
}

/// Pixels of a row whose label is one line.
const ROW: i32 = 26;

/// Pixels of a further line.
const LINE: i32 = 15;

/// Columns of a line.
const COLUMNS: usize = 42;

/// Pixels of a panel beside its rows.
const AROUND: i32 = 58;

/// Pixels that labels have at the left, notes at the right.
const SIDES: [i32; 2] = [300, 130];

/// The plot as an SVG, as high as its rows want; `caption` says below what the marks mean.
pub fn draw_forest(title: &str, panels: &[Panel], caption: &str) -> String {
    let rows: i32 = panels.iter().map(height).sum();
    sheet(title, 38 + rows + 28, |area| {
        let mut top = 0;
        for panel in panels {
            let high = height(panel);
            let (_, below) = area.split_vertically(top * FINE);
            let (own, _) = below.split_vertically(high * FINE);
            draw_panel(&own, panel)?;
            top += high;
        }
        let bottom = area.dim_in_pixel().1 as i32 / FINE - 14;
        write(area, caption, (16, bottom), Anchor::Left, SMALL - 1)
    })
}

/// Pixels of a panel.
fn height(panel: &Panel) -> i32 {
    panel.rows.iter().map(row_height).sum::<i32>() + AROUND
}

fn row_height(row: &Row) -> i32 {
    ROW + LINE * (wrapped(&row.label, COLUMNS).len() as i32 - 1)
}

/// The axis on which everything in the panel is visible.
fn axis(panel: &Panel) -> Axis {
    let of_row = |row: &Row| {
        let margins = row.null.zip(row.margin).map(|(null, margin)| [null - margin, null + margin]);
        let ends = [row.interval, margins].into_iter().flatten().flatten();
        ends.chain([row.effect]).chain(row.null).collect::<Vec<f64>>()
    };
    let values: Vec<f64> = panel.rows.iter().flat_map(of_row).collect();
    let logarithmic = panel.ratio && values.iter().all(|value| *value > 0.0);
    Axis::new(&panel.label, if logarithmic { Ticks::Logarithmic } else { Ticks::Even }, values)
}

fn draw_panel(area: &Area<'_>, panel: &Panel) -> Drawn {
    let axis = axis(panel);
    let bottom = height(panel) - AROUND + 4;
    let limits = (SIDES[0], WIDTH - SIDES[1]);
    let at = |value: f64| axis.map(&value, limits);
    for tick in axis.ticks() {
        rule(area, (at(tick), 0), (at(tick), bottom + 4), FAINT)?;
        write(area, &axis.show(tick), (at(tick), bottom + 14), Anchor::Middle, SMALL)?;
    }
    rule(area, (limits.0, bottom), (limits.1, bottom), INK)?;
    let middle = (limits.0 + limits.1) / 2;
    write(area, &panel.label, (middle, bottom + 33), Anchor::Middle, SMALL)?;
    let mut top = 0;
    for row in &panel.rows {
        let (above, height) = (top, top + row_height(row) / 2);
        top += row_height(row);
        if let Some((null, margin)) = row.null.zip(row.margin) {
            let corners = [(null - margin, above), (null + margin, top)];
            let corners = corners.map(|(value, y)| fine(at(value), y));
            area.draw(&Rectangle::new(corners, FAINT.mix(0.6).filled()))?;
        }
        if let Some(null) = row.null {
            rule(area, (at(null), above), (at(null), top), INK)?;
        }
        draw_row(area, row, &at, height)?;
        let lines = wrapped(&row.label, COLUMNS);
        let first = height - LINE * (lines.len() as i32 - 1) / 2;
        for (line, y) in lines.iter().zip((first..).step_by(LINE as usize)) {
            write(area, line, (SIDES[0] - 12, y), Anchor::Right, SMALL)?;
        }
        write(area, &shorten(&row.note, 24), (WIDTH - SIDES[1] + 10, height), Anchor::Left, SMALL)?;
    }
    Ok(())
}

fn draw_row(area: &Area<'_>, row: &Row, at: &dyn Fn(f64) -> i32, height: i32) -> Drawn {
    let colour = match row.mark {
        Mark::Yes => PALETTE[0],
        Mark::No => PALETTE[1],
        Mark::Open => PALETTE[7],
    };
    if let Some([low, high]) = row.interval {
        let ends = [fine(at(low), height), fine(at(high), height)];
        area.draw(&PathElement::new(ends, colour.stroke_width(2 * FINE as u32)))?;
        for end in [low, high] {
            rule(area, (at(end), height - 4), (at(end), height + 4), colour)?;
        }
    }
    let (place, size) = (fine(at(row.effect), height), 5 * FINE);
    match row.mark {
        Mark::Yes => area.draw(&Circle::new(place, size, colour.filled())),
        Mark::No => area.draw(&Cross::new(place, size, colour.stroke_width(3 * FINE as u32))),
        Mark::Open => {
            area.draw(&Circle::new(place, size, WHITE.filled()))?;
            area.draw(&Circle::new(place, size, colour.stroke_width(2 * FINE as u32)))
        }
    }
}
