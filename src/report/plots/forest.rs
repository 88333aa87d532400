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

/// Half an interval that is shown whole, in median intervals.
const WIDEST: f64 = 2.0;

/// Columns of a line.
const COLUMNS: usize = 42;

/// Pixels of a panel beside its rows.
const AROUND: i32 = 58;

/// Pixels that labels have at the left, notes at the right.
const SIDES: [i32; 2] = [300, 130];

/// The plot as an SVG, as high as its rows want; `caption` says below, in one or more lines, what the
/// marks mean.
pub fn draw_forest(title: &str, panels: &[Panel], caption: &str) -> String {
    let rows: i32 = panels.iter().map(height).sum();
    let lines = caption.lines().count() as i32;
    sheet(title, 38 + rows + 28 + LINE * (lines - 1), |area| {
        let mut top = 0;
        for panel in panels {
            let high = height(panel);
            let (_, below) = area.split_vertically(top * FINE);
            let (own, _) = below.split_vertically(high * FINE);
            draw_panel(&own, panel)?;
            top += high;
        }
        let bottom = area.dim_in_pixel().1 as i32 / FINE - 14;
        for (line, above) in caption.lines().zip((0..lines).rev()) {
            write(area, line, (16, bottom - LINE * above), Anchor::Left, SMALL - 1)?;
        }
        Ok(())
    })
}

/// Where the axis begins and ends, in pixels.
fn limits() -> (i32, i32) {
    (SIDES[0], WIDTH - SIDES[1])
}

/// Pixels of a panel.
fn height(panel: &Panel) -> i32 {
    panel.rows.iter().map(row_height).sum::<i32>() + AROUND
}

fn row_height(row: &Row) -> i32 {
    ROW + LINE * (wrapped(&row.label, COLUMNS).len() as i32 - 1)
}

/// The axis on which every effect in the panel is visible, and its interval but for one that is much
/// wider than the others: with two seeds t is 12.7, and such a row would flatten all others.
fn axis(panel: &Panel) -> Axis {
    let widths = panel.rows.iter().filter_map(|row| row.interval.map(|[low, high]| high - low));
    let mut widths: Vec<f64> = widths.collect();
    widths.sort_by(f64::total_cmp);
    let most = WIDEST * widths.get(widths.len() / 2).copied().unwrap_or_default();
    let of_row = |row: &Row| {
        let interval = row.interval.map(|[low, high]| match panel.ratio {
            true => [low, high],
            false => [low.max(row.effect - most), high.min(row.effect + most)],
        });
        let margins = row.null.zip(row.margin).map(|(null, margin)| [null - margin, null + margin]);
        let ends = [interval, margins].into_iter().flatten().flatten();
        ends.chain([row.effect]).chain(row.null).collect::<Vec<f64>>()
    };
    let values: Vec<f64> = panel.rows.iter().flat_map(of_row).collect();
    let logarithmic = panel.ratio && values.iter().all(|value| *value > 0.0);
    Axis::new(&panel.label, if logarithmic { Ticks::Logarithmic } else { Ticks::Even }, values)
}

fn draw_panel(area: &Area<'_>, panel: &Panel) -> Drawn {
    let axis = axis(panel);
    let bottom = height(panel) - AROUND + 4;
    let limits = limits();
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
        draw_row(area, row, &axis, height)?;
        let lines = wrapped(&row.label, COLUMNS);
        let first = height - LINE * (lines.len() as i32 - 1) / 2;
        for (line, y) in lines.iter().zip((first..).step_by(LINE as usize)) {
            write(area, line, (SIDES[0] - 12, y), Anchor::Right, SMALL)?;
        }
        write(area, &shorten(&row.note, 24), (WIDTH - SIDES[1] + 10, height), Anchor::Left, SMALL)?;
    }
    Ok(())
}

fn draw_row(area: &Area<'_>, row: &Row, axis: &Axis, height: i32) -> Drawn {
    let at = |value: f64| axis.map(&value, limits());
    let colour = match row.mark {
        Mark::Yes => PALETTE[0],
        Mark::No => PALETTE[1],
        Mark::Open => PALETTE[7],
    };
    if let Some([low, high]) = row.interval {
        let ends = [fine(at(low), height), fine(at(high), height)];
        area.draw(&PathElement::new(ends, colour.stroke_width(2 * FINE as u32)))?;
        for (end, inwards) in [(low, 1), (high, -1)] {
            let (x, cut) = (at(end), !axis.range().contains(&end));
            // An arrow where it goes on.
            let back = if cut { 6 * inwards } else { 0 };
            for side in [-4, 4] {
                rule(area, (x, height), (x + back, height + side), colour)?;
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn row(effect: f64, half: f64) -> Row {
        Row {
            label: "x".to_owned(),
            effect,
            interval: Some([effect - half, effect + half]),
            null: Some(0.0),
            margin: None,
            note: String::new(),
            mark: Mark::Open,
        }
    }

    #[test]
    fn one_interval_that_is_far_wider_than_the_others_does_not_flatten_them() {
        let rows = vec![row(1.0, 0.5), row(1.5, 0.5), row(-1.0, 100.0)];
        let panel = Panel { label: "difference".to_owned(), ratio: false, rows };
        let range = axis(&panel).range();
        assert!(range.start < -1.0 && range.start > -5.0 && range.end < 5.0, "{range:?}");
        let narrow = Panel { rows: vec![row(0.5, 1.0), row(0.0, 0.5)], ..panel };
        let range = axis(&narrow).range();
        assert!(range.start < -0.5 && range.end > 1.5, "{range:?}");
    }
}
