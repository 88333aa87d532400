//! Reads `[slurm]`.

use serde_json::{Value as Json, json};

use super::settings::{Field, Settings, field};
use crate::spec::diagnostics::Diagnostics;
use crate::spec::node::{Node, Raw};
use crate::spec::slurm::{MOST_PILOTS, SlurmSection};
use crate::spec::value::{Interval, Value};

const DEVICES: Interval = Interval::closed(0.0, 1024.0);
const CORES: Interval = Interval::closed(1.0, 4096.0);
const PILOTS: Interval = Interval::closed(1.0, MOST_PILOTS as f64);

fn text() -> Json {
    json!({ "type": "string" })
}

/// The settings of `[slurm]`.
pub(super) const FIELDS: &[Field] = &[
    field("partition", "The partition. By default the cluster's own.", "", text),
    field("account", "The account that pays.", "", text),
    field("qos", "The quality of service.", "", text),
    field(
        "time",
        "Time limit of a job, as Slurm writes it: `\"4:00:00\"`, `\"2-00:00:00\"`. Runs that it ends go on from their checkpoint in another job.",
        "",
        text,
    ),
    field("gpus", "GPUs of a job.", "0", || <u32 as Value>::schema(&DEVICES)),
    field("cpus", "Cores of a job.", "1", || <u32 as Value>::schema(&CORES)),
    field("mem", "Memory of a job, as Slurm writes it: `\"16G\"`.", "", text),
    field("pilots", "Jobs at a time, each of which trains one run after the other.", "4", || {
        <u32 as Value>::schema(&PILOTS)
    }),
    field(
        "sbatch",
        "Further options of `sbatch`, word for word: `[\"--constraint=a100\", \"--exclusive\"]`.",
        "",
        || json!({ "type": "array", "items": { "type": "string" }, "minItems": 1, "maxItems": 64 }),
    ),
];

/// Reads `[slurm]`.
pub(super) fn slurm(node: Option<&Node>, diagnostics: &mut Diagnostics) -> SlurmSection {
    let names: Vec<&str> = FIELDS.iter().map(|field| field.name).collect();
    let Some(settings) = node.and_then(|node| Settings::open(node, "slurm", &names, diagnostics))
    else {
        return SlurmSection::default();
    };
    let mut word = |name: &str| {
        let node = settings.get(name)?;
        line(name, node, diagnostics)
    };
    let [partition, account, qos] = ["partition", "account", "qos"].map(&mut word);
    let [time, mem] = ["time", "mem"].map(&mut word);
    let mut number = |name: &str, limits: &Interval| {
        let before = diagnostics.count();
        let read = settings.get(name).and_then(|node| u32::read(node, limits, diagnostics));
        diagnostics.attribute(before, name);
        read
    };
    let (gpus, cpus) = (number("gpus", &DEVICES), number("cpus", &CORES));
    let pilots = number("pilots", &PILOTS);
    let sbatch = settings.get("sbatch").map(|node| options(node, diagnostics)).unwrap_or_default();
    SlurmSection { partition, account, qos, time, gpus, cpus, mem, pilots, sbatch }
}

/// A text of one line.
fn line(name: &str, node: &Node, diagnostics: &mut Diagnostics) -> Option<String> {
    match &node.raw {
        Raw::Text(text) if !text.trim().is_empty() && !text.contains(['\n', '\r']) => {
            return Some(text.clone());
        }
        _ => {}
    }
    let message = format!("`{name}` is a text of one line, found {}", node.describe());
    let help = "write it in quotes, as Slurm has it: time = \"4:00:00\", mem = \"16G\"";
    diagnostics.error_with_help(node.span, message, "expected a string", help);
    None
}

fn options(node: &Node, diagnostics: &mut Diagnostics) -> Vec<String> {
    let Raw::List(items) = &node.raw else {
        let message = format!("`sbatch` is a list of options, found {}", node.describe());
        let help = "write sbatch = [\"--constraint=a100\"]";
        diagnostics.error_with_help(node.span, message, "expected a list", help);
        return Vec::new();
    };
    items.iter().filter_map(|item| line("sbatch", item, diagnostics)).collect()
}

#[cfg(test)]
mod tests {
    use crate::spec::SweepSpec;
    use crate::spec::slurm::SlurmSection;

    #[test]
    fn what_a_job_asks_for_is_read_and_can_be_overridden() {
        let text = "schema = 1\nname = \"x\"\n[slurm]\npartition = \"gpu\"\ntime = \"4:00:00\"\n\
                    gpus = 2\nsbatch = [\"--exclusive\"]";
        let read = |overrides: &[&str]| {
            let overrides: Vec<String> = overrides.iter().map(ToString::to_string).collect();
            SweepSpec::parse("x.toml", text, &overrides).unwrap().0.slurm
        };
        let expected = SlurmSection {
            partition: Some("gpu".to_owned()),
            time: Some("4:00:00".to_owned()),
            gpus: Some(2),
            sbatch: vec!["--exclusive".to_owned()],
            ..SlurmSection::default()
        };
        assert_eq!(read(&[]), expected);
        assert_eq!(read(&["slurm.gpus=1"]).gpus, Some(1));
    }
}
