//! Lines over a common axis, each with a band and an entry in the legend below.

use plotters::element::DashedPathElement;
use plotters::prelude::*;

use super::axis::Axis;
use super::canvas::{
    Anchor, Area, Drawn, FAINT, FINE, HEIGHT, INK, PALETTE, SMALL, WIDTH, fine, letters, sheet,
    shorten, width_of, write,
};

/// How a line looks, beside its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// A line.
    Line,
    /// A line with a mark at every point.
    Marked,
    /// A dashed line: a model, a forecast, an ideal.
    Dashed,
}

/// One line.
#[derive(Debug, Clone)]
pub struct Line {
    /// Its entry in the legend.
    pub name: String,
    /// How it looks.
    pub look: Look,
    /// Which colour, by its place in [`PALETTE`]; lines that belong together may share one.
    pub colour: usize,
    /// x and y, in the order of x.
    pub points: Vec<[f64; 2]>,
    /// x, low and high of a band around it, in the order of x.
    pub band: Vec<[f64; 3]>,
}

/// A plot of lines.
#[derive(Debug, Clone)]
pub struct Lines {
    /// What it shows.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// The lines; the first are drawn on top.
    pub lines: Vec<Line>,
    /// A height with a meaning, and what it means.
    pub level: Option<(f64, String)>,
}

/// Pixels of a row of the legend.
const ROW: i32 = 18;

/// Pixels of a legend's sample of a line.
const SAMPLE: i32 = 30;

/// The plot as an SVG.
pub fn draw_lines(plot: &Lines) -> String {
    let columns = legend_columns(&plot.lines);
    let rows = (plot.lines.len() as i32 + columns - 1) / columns;
    sheet(&plot.title, HEIGHT, |area| {
        let height = area.dim_in_pixel().1 as i32 / FINE;
        let (chart, below) = area.split_vertically((height - rows * ROW - 16) * FINE);
        draw_chart(&chart, plot)?;
        draw_legend(&below, &plot.lines, columns)
    })
}

fn draw_chart(area: &Area<'_>, plot: &Lines) -> Drawn {
    let (x, y) = (&plot.x, &plot.y);
    let mut chart = ChartBuilder::on(area)
        .margin_left(10 * FINE)
        .margin_right(24 * FINE)
        .margin_top(4 * FINE)
        .x_label_area_size(44 * FINE)
        .y_label_area_size(72 * FINE)
        .build_cartesian_2d(x.clone(), y.clone())?;
    chart
        .configure_mesh()
        .x_desc(x.label.as_str())
        .y_desc(y.label.as_str())
        .label_style(letters(SMALL).color(&INK))
        .axis_desc_style(letters(SMALL).color(&INK))
        .axis_style(INK.stroke_width(FINE as u32))
        .bold_line_style(FAINT.stroke_width(FINE as u32))
        .light_line_style(TRANSPARENT)
        .set_all_tick_mark_size(4 * FINE)
        .draw()?;
    if let Some((level, _)) = &plot.level {
        let ends = [x.range().start, x.range().end].map(|end| (end, *level));
        chart.draw_series(DashedLineSeries::new(ends, 12, 8, INK.stroke_width(FINE as u32)))?;
    }
    for line in plot.lines.iter().rev().filter(|line| line.band.len() > 1) {
        let edge = |[at, low, high]: [f64; 3]| ((at, low), (at, high));
        let (lower, upper): (Vec<_>, Vec<_>) = line.band.iter().copied().map(edge).unzip();
        let outline: Vec<_> = lower.into_iter().chain(upper.into_iter().rev()).collect();
        chart.draw_series([Polygon::new(outline, colour(line).mix(0.15))])?;
    }
    for line in plot.lines.iter().rev() {
        let points: Vec<_> = line.points.iter().map(|[x, y]| (*x, *y)).collect();
        let style = colour(line).stroke_width(2 * FINE as u32);
        match line.look {
            Look::Line | Look::Marked => {
                chart.draw_series([PathElement::new(points.clone(), style)])?;
            }
            Look::Dashed => {
                chart.draw_series(DashedLineSeries::new(points.clone(), 14, 8, style))?;
            }
        }
        // A line of one point would not be seen.
        if line.look == Look::Marked || points.len() == 1 {
            let marks = points.iter().map(|point| mark(*point, line.colour, colour(line)));
            chart.draw_series(marks.collect::<Vec<_>>())?;
        }
    }
    let Some((level, meaning)) = &plot.level else { return Ok(()) };
    let (left, height) = chart.backend_coord(&(x.range().start, *level));
    let (left, height) = (left / FINE + 6, (height - area.get_base_pixel().1) / FINE - 8);
    write(area, meaning, (left, height), Anchor::Left, SMALL - 1)
}

fn colour(line: &Line) -> RGBColor {
    PALETTE[line.colour % PALETTE.len()]
}

/// A mark of another shape for every other colour.
fn mark<'a, C>(at: C, number: usize, colour: RGBColor) -> DynElement<'static, SVGBackend<'a>, C>
where
    C: Clone + 'static,
{
    let size = 4 * FINE;
    match number % 3 {
        0 => Circle::new(at, size, colour.filled()).into_dyn(),
        1 => TriangleMarker::new(at, size + 2, colour.filled()).into_dyn(),
        _ => Cross::new(at, size, colour.stroke_width(2 * FINE as u32)).into_dyn(),
    }
}

/// Two where all names are short.
fn legend_columns(lines: &[Line]) -> i32 {
    let room = WIDTH / 2 - SAMPLE - 40;
    if lines.len() > 3 && lines.iter().all(|line| width_of(&line.name, SMALL) < room) {
        2
    } else {
        1
    }
}

fn draw_legend(area: &Area<'_>, lines: &[Line], columns: i32) -> Drawn {
    let rows = (lines.len() as i32 + columns - 1) / columns;
    for (place, line) in lines.iter().enumerate() {
        let (column, row) = (place as i32 / rows.max(1), place as i32 % rows.max(1));
        let (x, y) = (24 + column * (WIDTH / 2), 8 + row * ROW + ROW / 2);
        let ends = [fine(x, y), fine(x + SAMPLE, y)];
        let style = colour(line).stroke_width(2 * FINE as u32);
        match line.look {
            Look::Line | Look::Marked => area.draw(&PathElement::new(ends, style))?,
            Look::Dashed => area.draw(&DashedPathElement::new(ends, 14, 8, style))?,
        }
        if line.look == Look::Marked {
            area.draw(&mark(fine(x + SAMPLE / 2, y), line.colour, colour(line)))?;
        }
        let room = if columns == 2 { 52 } else { 100 };
        write(area, &shorten(&line.name, room), (x + SAMPLE + 8, y), Anchor::Left, SMALL)?;
    }
    Ok(())
}
