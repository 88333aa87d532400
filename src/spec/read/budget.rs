//! Reads `[budget]`.

use std::time::Duration;

use serde_json::json;

use super::settings::{Field, Settings, duration_schema, field};
use crate::spec::budget::Budget;
use crate::spec::diagnostics::Diagnostics;
use crate::spec::node::{Node, Raw};
use crate::units::parse_bytes;

/// The settings of `[budget]`.
pub(super) const FIELDS: &[Field] = &[
    field(
        "wall",
        "Time that what is missing of the sweep may take, from start to end. By default there is no limit.",
        "",
        duration_schema,
    ),
    field(
        "disk",
        "Room that what is missing of the sweep may take in the folder of its runs: `\"20GiB\"`, `\"500MB\"`. Nearly all of it is checkpoints. By default what is free.",
        "",
        || json!({ "title": "size", "type": "string", "pattern": "^\\s*[0-9]*\\.?[0-9]+\\s*([kKmMgGtT][iI]?)?[bB]\\s*$", "examples": ["20GiB", "500MB"] }),
    ),
];

/// Reads `[budget]`.
pub(super) fn budget(node: Option<&Node>, diagnostics: &mut Diagnostics) -> Budget {
    let names: Vec<&str> = FIELDS.iter().map(|field| field.name).collect();
    let Some(settings) = node.and_then(|node| Settings::open(node, "budget", &names, diagnostics))
    else {
        return Budget::default();
    };
    let wall = settings.duration("wall", diagnostics);
    let disk = settings.get("disk").and_then(|node| size("disk", node, diagnostics));
    if let (Some(Duration::ZERO), Some(node)) = (wall, settings.get("wall")) {
        let help = "leave `wall` out for no limit";
        diagnostics.error_with_help(node.span, "a budget of 0 allows no run", "zero", help);
    }
    Budget { wall, disk }
}

fn size(name: &str, node: &Node, diagnostics: &mut Diagnostics) -> Option<u64> {
    let read = match &node.raw {
        Raw::Text(text) => parse_bytes(text),
        _ => None,
    };
    if read.is_none() {
        let message = format!("`{name}`: expected a size with its unit, found {}", node.describe());
        let help = "write \"20GiB\" or \"500MB\"; units: B, kB, MB, GB, TB, KiB, MiB, GiB, TiB";
        diagnostics.error_with_help(node.span, message, "expected a size", help);
    }
    read
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::spec::SweepSpec;
    use crate::spec::budget::Budget;

    fn read(section: &str, overrides: &[&str]) -> Result<Budget, String> {
        let text = format!("schema = 1\nname = \"x\"\n{section}");
        let overrides: Vec<String> = overrides.iter().map(ToString::to_string).collect();
        let read = SweepSpec::parse("x.toml", &text, &overrides);
        read.map(|(spec, _)| spec.budget).map_err(|error| error.to_string())
    }

    #[test]
    fn what_a_sweep_may_cost_is_read_and_can_be_overridden() {
        assert_eq!(read("", &[]).unwrap(), Budget::default());
        let night = "[budget]\nwall = \"8h\"\ndisk = \"20 GiB\"";
        let expected = Budget { wall: Some(Duration::from_secs(8 * 3600)), disk: Some(20 << 30) };
        assert_eq!(read(night, &[]).unwrap(), expected);
        let longer = read(night, &["budget.wall=1d"]).unwrap();
        assert_eq!(longer.wall, Some(Duration::from_secs(86_400)));
    }

    #[test]
    fn what_is_no_budget_is_refused() {
        for bad in ["wall = 8", "wall = \"0s\"", "disk = \"20\"", "disk = 20", "time = \"8h\""] {
            assert!(read(&format!("[budget]\n{bad}"), &[]).is_err(), "{bad}");
        }
    }
}
