//! One axis of a plot: its range, its ticks and how they are labelled.
//!
//! In: the values that must be visible. Out: a range around them and round ticks within it. A logarithmic
//! axis is drawn as a linear one of decimal logarithms, so that every plot has the same coordinates.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

use crate::report::number::plain;

/// Ticks are at most this many, and labels do not touch.
const MOST_TICKS: f64 = 7.0;

/// Values beyond which a range of positive numbers is shown on a logarithmic axis: largest over smallest.
const WIDE: f64 = 50.0;

/// Which ticks an axis has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ticks {
    /// Round numbers, evenly spaced.
    Even,
    /// Round whole numbers: epochs, steps.
    Whole,
    /// Powers, evenly spaced logarithms.
    Logarithmic,
    /// As `Logarithmic`, at the values themselves: devices, batches.
    AtValues,
}

/// The range and the ticks of one axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// What it shows, with the unit.
    pub label: String,
    low: f64,
    high: f64,
    ticks: Vec<f64>,
    logarithmic: bool,
}

impl Axis {
    /// The axis on which all of `values` are visible that are finite, and positive where it is
    /// logarithmic; from 0 to 1, or 1 to 10, without any.
    pub fn new(label: &str, ticks: Ticks, values: impl IntoIterator<Item = f64>) -> Self {
        let logarithmic = matches!(ticks, Ticks::Logarithmic | Ticks::AtValues);
        let visible = |x: &f64| x.is_finite() && (!logarithmic || *x > 0.0);
        let values: Vec<f64> = values.into_iter().filter(visible).collect();
        let place = |x: f64| if logarithmic { x.log10() } else { x };
        let least = values.iter().copied().reduce(f64::min).map_or(0.0, place);
        let most = values.iter().copied().reduce(f64::max).map_or(1.0, place);
        let (low, high) = widened(least, most);
        let ticks = match ticks {
            Ticks::Even => even(low, high, 0.0),
            Ticks::Whole => even(low, high, 1.0),
            Ticks::Logarithmic => powers(low, high),
            Ticks::AtValues => at_values(values.iter().map(|x| x.log10()), low, high),
        };
        Self { label: label.to_owned(), low, high, ticks, logarithmic }
    }

    /// Even or logarithmic ticks, whichever shows `values` better.
    pub fn fitting(label: &str, values: &[f64]) -> Self {
        let known = || values.iter().copied().filter(|x| x.is_finite());
        let least = known().fold(f64::INFINITY, f64::min);
        let most = known().fold(f64::NEG_INFINITY, f64::max);
        let wide = least > 0.0 && most / least > WIDE;
        let ticks = if wide { Ticks::Logarithmic } else { Ticks::Even };
        Self::new(label, ticks, known())
    }

    /// Where `value` is, from 0 to 1; one that the axis cannot show is at its end.
    pub fn share(&self, value: f64) -> f64 {
        let place = if self.logarithmic { value.max(f64::MIN_POSITIVE).log10() } else { value };
        let share = place / (self.high - self.low) - self.low / (self.high - self.low);
        if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) }
    }

    /// The values that have ticks.
    pub fn ticks(&self) -> Vec<f64> {
        self.ticks.iter().map(|place| self.value(*place)).collect()
    }

    fn value(&self, place: f64) -> f64 {
        if self.logarithmic { 10_f64.powf(place) } else { place }
    }

    /// A value as the label of a tick.
    pub fn show(&self, place: f64) -> String {
        if self.logarithmic {
            return plain(place, 3);
        }
        let step = self.ticks.windows(2).map(|two| two[1] - two[0]).fold(f64::INFINITY, f64::min);
        if !step.is_finite() {
            return plain(place, 3);
        }
        let size = place.abs().max(step);
        let digits = (size.log10().floor() - step.log10().floor()).max(0.0) as usize + 1;
        plain(if place.abs() < step * 1e-6 { 0.0 } else { place }, digits.min(12))
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        limit.0 + (f64::from(limit.1 - limit.0) * self.share(*value)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        match hint.weight().allow_light_points() {
            true => Vec::new(),
            false => self.ticks(),
        }
    }

    fn range(&self) -> Range<f64> {
        self.value(self.low)..self.value(self.high)
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        self.show(*value)
    }
}

/// A range with some air, of a width that is not 0.
fn widened(low: f64, high: f64) -> (f64, f64) {
    let width = high - low;
    let width = if width > 1e-9 * low.abs().max(high.abs()) { width } else { 0.0 };
    let air = match width {
        0.0 => (0.1 * low.abs()).max(1e-3),
        // The halves of the largest numbers there are.
        width if width.is_infinite() => 0.0,
        width => 0.04 * width,
    };
    (low - air, high + air)
}

/// Multiples of 1, 2 or 5 times a power of ten, and of `least`.
fn even(low: f64, high: f64, least: f64) -> Vec<f64> {
    let rough = (high - low) / MOST_TICKS;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|times| times * power);
    let step = step.into_iter().find(|step| *step >= rough).unwrap_or(rough).max(least);
    let (first, last) = ((low / step).ceil(), (high / step).floor());
    // Steps that are lost in the rounding of their multiples are none.
    let few = (0.0..100.0).contains(&(last - first));
    let count = if few { (last - first) as usize + 1 } else { 0 };
    (0..count).map(|n| (first + n as f64) * step).collect()
}

/// Decades, and 2 and 5 times them where there are few.
fn powers(low: f64, high: f64) -> Vec<f64> {
    let decades = (high - low).ceil().max(1.0);
    let within = |place: &f64| (low..=high).contains(place);
    if decades <= 3.0 {
        let all = (low.floor() as i32..=high.ceil() as i32)
            .flat_map(|power| [1.0_f64, 2.0, 5.0].map(|times| f64::from(power) + times.log10()));
        let ticks: Vec<f64> = all.filter(within).collect();
        // Less than a third of a decade.
        return if ticks.len() > 1 { ticks } else { at_values([low, high].into_iter(), low, high) };
    }
    let step = (decades / MOST_TICKS).ceil() as i32;
    let first = (low / f64::from(step)).ceil() as i32;
    (first..).map(|n| f64::from(n * step)).take_while(|place| *place <= high).collect()
}

/// The distinct values, as many as have room.
fn at_values(places: impl Iterator<Item = f64>, low: f64, high: f64) -> Vec<f64> {
    let mut places: Vec<f64> = places.collect();
    places.sort_by(f64::total_cmp);
    let apart = (high - low) / 16.0;
    let mut kept: Vec<f64> = Vec::new();
    for place in places {
        if kept.last().is_none_or(|last| place - last >= apart) {
            kept.push(place);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(axis: &Axis) -> Vec<String> {
        axis.ticks().into_iter().map(|tick| axis.show(tick)).collect()
    }

    #[test]
    fn ticks_are_round() {
        let even = Axis::new("", Ticks::Even, [0.12, 0.98]);
        assert_eq!(shown(&even), ["0.2", "0.4", "0.6", "0.8", "1"]);
        let whole = Axis::new("epoch", Ticks::Whole, [1.0, 3.0]);
        assert_eq!(shown(&whole), ["1", "2", "3"]);
        let close = Axis::new("", Ticks::Even, [0.9512, 0.9523]);
        assert_eq!(shown(&close), ["0.9512", "0.9514", "0.9516", "0.9518", "0.952", "0.9522"]);
        let wide = Axis::new("", Ticks::Logarithmic, [1e-9, 10.0]);
        assert_eq!(shown(&wide), ["1e-8", "1e-6", "0.0001", "0.01", "1"]);
        let batches = Axis::new("", Ticks::AtValues, [32.0, 64.0, 128.0, 256.0]);
        assert_eq!(shown(&batches), ["32", "64", "128", "256"]);
    }

    #[test]
    fn a_range_is_never_empty_and_always_finite() {
        let odd = [
            vec![],
            vec![0.0],
            vec![0.5, 0.5],
            vec![f64::NAN, f64::INFINITY],
            vec![-1e300, 1e300],
            vec![5e-324],
            vec![1e17, 1e17 + 2.0],
        ];
        for values in odd {
            for ticks in [Ticks::Even, Ticks::Whole, Ticks::Logarithmic, Ticks::AtValues] {
                let axis = Axis::new("", ticks, values.clone());
                assert!(axis.low < axis.high && axis.high.is_finite(), "{values:?} {axis:?}");
                assert!(axis.ticks.len() < 100 && !shown(&axis).iter().any(|x| x.contains("NaN")));
                for value in values.iter().chain(&[f64::NAN, f64::NEG_INFINITY]) {
                    assert!((10..=90).contains(&axis.map(value, (90, 10))), "{value}");
                }
            }
        }
        assert!(Axis::fitting("", &[1e-6, 1.0]).logarithmic);
        assert!(!Axis::fitting("", &[0.0, 1.0]).logarithmic);
    }
}
