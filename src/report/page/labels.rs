//! What columns and metrics are called in words, and their units.
//!
//! In: the keys of the CSVs, `val_accuracy_ci95_low`. Out: a label without the unit, `validation
//! accuracy, 95 % interval, low`, and the unit.

use crate::aggregate::curves::CurveMetric;
use crate::spec::metric::MetricName;
use crate::spec::quantity::Quantity;

/// Endings of keys, longest first, and what they say.
const ENDINGS: [(&str, &str); 6] = [
    ("_ci95_low", ", 95 % interval, low"),
    ("_ci95_high", ", 95 % interval, high"),
    ("_mean", ", mean"),
    ("_std", ", standard deviation"),
    ("_p10", ", 10th percentile"),
    ("_p90", ", 90th percentile"),
];

/// Units at the end of keys, longest first.
const UNITS: [(&str, &str); 4] =
    [("_bytes_per_s", "bytes/s"), ("_per_s", "1/s"), ("_bytes", "bytes"), ("_s", "s")];

/// Words that keys shorten.
const WORDS: [(&str, &str); 4] =
    [("val", "validation"), ("train", "training"), ("lr", "learning rate"), ("holm", "(Holm)")];

/// Label and unit of a column.
pub fn of_column(key: &str) -> (String, &'static str) {
    let ending = ENDINGS.iter().find_map(|(ending, says)| Some((key.strip_suffix(ending)?, *says)));
    let (stem, says) = ending.unwrap_or((key, ""));
    if stem == MetricName::ImagesPerS.as_str() {
        return (format!("throughput{says}"), "images/s");
    }
    let unit = UNITS.iter().find_map(|(end, unit)| Some((stem.strip_suffix(end)?, *unit)));
    let (stem, unit) = unit.unwrap_or((stem, ""));
    let word = |word: &str| {
        let known = WORDS.iter().find(|(short, _)| *short == word);
        known.map_or_else(|| word.to_owned(), |(_, long)| (*long).to_owned())
    };
    let words: Vec<String> = stem.split('_').map(word).collect();
    (format!("{}{says}", words.join(" ")), unit)
}

/// Label and unit of a metric.
pub fn of_metric(name: MetricName) -> (String, &'static str) {
    let (label, unit) = of_column(name.as_str());
    match name {
        MetricName::EpochsToTarget => (label, "epochs"),
        MetricName::SecondsToTarget => (label, "s"),
        _ => (label, unit),
    }
}

/// Label and unit of a curve.
pub fn of_curve(metric: CurveMetric) -> (String, &'static str) {
    match metric {
        CurveMetric::StepLoss => ("training loss of a step".to_owned(), "nats"),
        CurveMetric::StepLr => ("learning rate of a step".to_owned(), ""),
        CurveMetric::TrainLoss | CurveMetric::ValLoss => (of_column(metric.as_str()).0, "nats"),
        _ => of_column(metric.as_str()),
    }
}

/// What a number of `layers.csv` is called, with its unit.
pub fn of_measurement(name: &str) -> String {
    let stepwise = [("_mean", "mean"), ("_min", "smallest"), ("_max", "largest")];
    let of_epoch = stepwise.iter().find_map(|(end, says)| {
        Some((name.strip_suffix(end).filter(|stem| *stem == "gradient_norm")?, says))
    });
    match of_epoch {
        Some((stem, says)) => format!("{}, {says} of the epoch", of_column(stem).0),
        None => with_unit(of_column(name)),
    }
}

/// Label and unit of what a claim compares.
pub fn of_quantity(quantity: &Quantity) -> (String, &'static str) {
    match quantity {
        Quantity::Result(name) => of_metric(*name),
        other => (other.label(), ""),
    }
}

/// A label with its unit in brackets.
pub fn with_unit((label, unit): (String, &str)) -> String {
    if unit.is_empty() || label.ends_with(unit) { label } else { format!("{label} ({unit})") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_said_in_words() {
        for (key, label, unit) in [
            ("val_accuracy_mean", "validation accuracy, mean", ""),
            ("wall_s_ci95_low", "wall, 95 % interval, low", "s"),
            ("peak_memory_bytes", "peak memory", "bytes"),
            ("images_per_s_std", "throughput, standard deviation", "images/s"),
            ("bandwidth_bytes_per_s", "bandwidth", "bytes/s"),
            ("p_value_holm", "p value (Holm)", ""),
            ("step_s_p10", "step, 10th percentile", "s"),
            ("n", "n", ""),
        ] {
            assert_eq!(of_column(key), (label.to_owned(), unit));
        }
        assert_eq!(of_measurement("gradient_norm_max"), "gradient norm, largest of the epoch");
        assert_eq!(of_measurement("memory_weights_bytes"), "memory weights (bytes)");
        assert_eq!(with_unit(of_metric(MetricName::ImagesPerS)), "throughput (images/s)");
        assert_eq!(with_unit(of_metric(MetricName::EpochsToTarget)), "epochs to target (epochs)");
    }
}
