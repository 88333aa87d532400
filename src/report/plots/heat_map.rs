//! Heat maps: layers by epochs, a panel a configuration, with one scale of colours for all.

use plotters::prelude::*;

use super::axis::{Axis, Ticks};
use super::canvas::{
    Anchor, Area, Drawn, FINE, HEIGHT, INK, SMALL, WIDTH, fine, sheet, shorten, wrapped, write,
};
use crate::report::number::plain;

/// One map.
#[derive(Debug, Clone)]
pub struct Map {
    /// Of what.
    pub title: String,
    /// For each of the layers, from the nearest to the images on, a number for each of the epochs.
    pub values: Vec<Vec<Option<f64>>>,
}

/// Maps with the same layers and epochs.
#[derive(Debug, Clone)]
pub struct HeatMaps {
    /// What they show.
    pub title: String,
    /// What the colours mean, with the unit.
    pub label: String,
    /// The layers' names.
    pub layers: Vec<String>,
    /// The epochs.
    pub epochs: Vec<u32>,
    /// The maps.
    pub maps: Vec<Map>,
}

/// Matplotlib's viridis, at ninths: dark to light, even in brightness, for every colour vision.
const VIRIDIS: [[u8; 3]; 10] = [
    [68, 1, 84],
    [72, 40, 120],
    [62, 73, 137],
    [49, 104, 142],
    [38, 130, 142],
    [31, 158, 137],
    [53, 183, 121],
    [110, 206, 88],
    [181, 222, 43],
    [253, 231, 37],
];

/// Unknown.
const BLANK: RGBColor = RGBColor(0xee, 0xee, 0xee);

/// Pixels of the layers' names and of the scale.
const SIDES: [i32; 2] = [90, 100];

/// Pixels of a map's title, two lines.
const TITLE: i32 = 34;

/// The colour of a share from 0 to 1.
fn viridis(share: f64) -> RGBColor {
    let place = share.clamp(0.0, 1.0) * (VIRIDIS.len() - 1) as f64;
    let below = (place as usize).min(VIRIDIS.len() - 2);
    let part = place - below as f64;
    let mix = |channel: usize| {
        let [low, high] = [below, below + 1].map(|n| f64::from(VIRIDIS[n][channel]));
        (low + part * (high - low)).round() as u8
    };
    RGBColor(mix(0), mix(1), mix(2))
}

/// The maps as an SVG, two beside each other.
pub fn draw_heat_maps(plot: &HeatMaps) -> String {
    let columns = if plot.maps.len() > 1 { 2 } else { 1 };
    let rows = (plot.maps.len() as i32 + columns - 1) / columns;
    let values: Vec<f64> =
        plot.maps.iter().flat_map(|m| m.values.iter().flatten().flatten().copied()).collect();
    // Zeros have the colour of the smallest: what vanishes altogether in one layer is no reason to show
    // orders of magnitude in the others as one colour.
    let positive =
        values.iter().all(|value| *value >= 0.0) && values.iter().any(|value| *value > 0.0);
    let scale =
        Axis::new(&plot.label, if positive { Ticks::Logarithmic } else { Ticks::Even }, values);
    let least = plot.layers.len() as i32 * 14 + TITLE + 48;
    let height = HEIGHT.max(rows * least + 60);
    sheet(&plot.title, height, |area| {
        let high = area.dim_in_pixel().1 as i32 / FINE;
        let (width, tall) = ((WIDTH - SIDES[1]) / columns, high / rows.max(1));
        for (number, map) in plot.maps.iter().enumerate() {
            let corner = (number as i32 % columns * width, number as i32 / columns * tall);
            draw_map(area, plot, map, &scale, (corner, (width, tall)))?;
        }
        draw_scale(area, &scale, high)
    })
}

type Place = ((i32, i32), (i32, i32));

fn draw_map(area: &Area<'_>, plot: &HeatMaps, map: &Map, scale: &Axis, place: Place) -> Drawn {
    let ((left, top), (width, tall)) = place;
    let (x0, y0) = (left + SIDES[0], top + TITLE);
    let (across, down) = (width - SIDES[0] - 10, tall - TITLE - 44);
    let columns = usize::try_from(across / 7).unwrap_or(1);
    let lines = wrapped(&map.title, columns);
    let first = top + TITLE - 12 - 14 * (lines.len() as i32 - 1);
    for (line, y) in lines.iter().zip((first..).step_by(14)) {
        write(area, line, (x0, y), Anchor::Left, SMALL - 1)?;
    }
    let [layers, epochs] = [plot.layers.len(), plot.epochs.len()].map(|n| n.max(1) as i32);
    for (layer, values) in map.values.iter().enumerate() {
        let [y, below] = [0, 1].map(|next| y0 + down * (layer as i32 + next) / layers);
        for (epoch, value) in values.iter().enumerate() {
            let [x, right] = [0, 1].map(|next| x0 + across * (epoch as i32 + next) / epochs);
            let colour = value.map_or(BLANK, |value| viridis(scale.share(value)));
            area.draw(&Rectangle::new([fine(x, y), fine(right, below)], colour.filled()))?;
        }
        let name = plot.layers.get(layer).map_or("", String::as_str);
        write(area, &shorten(name, 12), (x0 - 6, (y + below) / 2), Anchor::Right, SMALL - 1)?;
    }
    let apart = (epochs * 34 / across.max(1)).max(1);
    for (place, epoch) in plot.epochs.iter().enumerate().step_by(apart as usize) {
        let x = x0 + across * (2 * place as i32 + 1) / (2 * epochs);
        write(area, &epoch.to_string(), (x, y0 + down + 10), Anchor::Middle, SMALL - 1)?;
    }
    write(area, "epoch", (x0 + across / 2, y0 + down + 28), Anchor::Middle, SMALL)
}

fn draw_scale(area: &Area<'_>, scale: &Axis, high: i32) -> Drawn {
    let (x, top, bottom) = (WIDTH - SIDES[1] + 18, 46, high - 44);
    const STEPS: i32 = 60;
    for step in 0..STEPS {
        let [y, below] = [0, 1].map(|next| bottom - (bottom - top) * (step + next) / STEPS);
        let colour = viridis(f64::from(step) / f64::from(STEPS - 1));
        area.draw(&Rectangle::new([fine(x, below), fine(x + 16, y)], colour.filled()))?;
    }
    for tick in scale.ticks() {
        let y = bottom - (f64::from(bottom - top) * scale.share(tick)).round() as i32;
        area.draw(&PathElement::new(
            [fine(x + 16, y), fine(x + 20, y)],
            INK.stroke_width(FINE as u32),
        ))?;
        write(area, &plain(tick, 3), (x + 24, y), Anchor::Left, SMALL - 1)?;
    }
    write(area, &scale.label, (WIDTH - 12, 22), Anchor::Right, SMALL - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_of_colours_is_that_of_viridis() {
        assert_eq!(viridis(-1.0), RGBColor(68, 1, 84));
        assert_eq!(viridis(1.0), RGBColor(253, 231, 37));
        assert_eq!(viridis(1.0 / 9.0), RGBColor(72, 40, 120));
    }
}
