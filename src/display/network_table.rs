//! What `gridlane model` prints: the networks of a plan in, plain text out, one table for each.

use std::fmt::Write;

use super::columns::columns;
use crate::plan::Plan;
use crate::plan::networks::PlannedNetwork;
use crate::spec::architecture::{Architecture, Layer, Operation};
use crate::spec::value::Value;
use crate::spec::{Key, RunConfig};
use crate::units::{show_bytes, show_count};

/// Networks that are shown.
const MAX_NETWORKS: usize = 10;

/// Bytes of a number.
const NUMBER: u64 = 4;

/// A row of a table: the first three cells are text, the others numbers.
type Row = [String; 6];

/// Renders the networks of `plan`.
pub fn network_tables(plan: &Plan, networks: &[PlannedNetwork]) -> String {
    let shown = networks.iter().take(MAX_NETWORKS).map(|network| network_table(plan, network));
    let mut text = shown.collect::<Vec<_>>().join("\n");
    if networks.len() > MAX_NETWORKS {
        let rest = show_count((networks.len() - MAX_NETWORKS) as u128);
        let _ = writeln!(text, "\n… and {rest} more networks: fix a key to see them");
    }
    text
}

fn network_table(plan: &Plan, network: &PlannedNetwork) -> String {
    let config = plan.points.config(network.example);
    let architecture = &network.architecture;
    let mut text = format!(
        "{} on images of {}, {} classes",
        config.setting(Key::Model).label(),
        architecture.input,
        architecture.classes
    );
    let _ = match (network.configurations, plan.points.len()) {
        (_, 1) => writeln!(text),
        (some, all) => writeln!(
            text,
            " ({} of {} configurations, such as {})",
            show_count(some as u128),
            show_count(all as u128),
            plan.points.name(network.example)
        ),
    };
    let mut rows: Vec<Row> = vec![
        ["layer", "operation", "output", "parameters", "MFLOPs", "activations"].map(str::to_owned),
    ];
    rows.extend(architecture.working_layers().map(row));
    let activations: u64 = architecture.working_layers().map(activation_bytes).sum();
    rows.push([
        "total".to_owned(),
        String::new(),
        String::new(),
        show_count(architecture.parameter_count().into()),
        mega(2 * architecture.forward_multiply_adds()),
        show_bytes(activations),
    ]);
    for line in columns(&rows, |column| column > 2).lines() {
        let _ = writeln!(text, "  {line}");
    }
    let batch = u128::from(config.batch_size);
    let step = 2 * architecture.training_multiply_adds() * batch;
    let _ = writeln!(
        text,
        "MFLOPs and activations are of one image on its way forward; a training step of {} images \
         takes {:.2} GFLOPs",
        show_count(batch),
        step as f64 / 1e9
    );
    text.push_str(&memory_table(architecture, &config));
    text
}

/// What a run of the example needs.
fn memory_table(architecture: &Architecture, config: &RunConfig) -> String {
    let memory = architecture.memory(config);
    let parts = config.parts();
    let evaluated = architecture.images_at_once(config, parts);
    let mut rows: Vec<[String; 2]> = memory
        .kinds()
        .into_iter()
        .filter(|(_, bytes)| *bytes > 0)
        .map(|(kind, bytes)| [kind.to_owned(), show_bytes(bytes)])
        .collect();
    rows.push(["total".to_owned(), show_bytes(memory.total())]);
    rows.push(["resumed".to_owned(), show_bytes(memory.resumed())]);
    let width = rows.iter().map(|[_, bytes]| bytes.len()).max().unwrap_or(0);
    let mut text = format!(
        "memory of a run, with {} in batches of {}, evaluated {} at once\n",
        config.optimizer.label(),
        show_count(config.batch_size.into()),
        show_count(evaluated as u128),
    );
    for [kind, bytes] in rows {
        let _ = writeln!(text, "  {kind:<12}  {bytes:>width$}");
    }
    text
}

fn row(layer: &Layer) -> Row {
    let output = match layer.output.area() {
        1 => layer.output.channels.to_string(),
        _ => layer.output.to_string(),
    };
    let learnt = match layer.parameters() {
        0 => String::new(),
        count => show_count(count.into()),
    };
    let flops = match layer.multiply_adds() {
        0 => String::new(),
        count => mega(2 * count),
    };
    [
        layer.name.to_string(),
        layer.operation.to_string(),
        output,
        learnt,
        flops,
        show_bytes(activation_bytes(layer)),
    ]
}

fn activation_bytes(layer: &Layer) -> u64 {
    // A dropout keeps its factors as well.
    let copies = if matches!(layer.operation, Operation::Dropout { .. }) { 2 } else { 1 };
    copies * layer.output.units() as u64 * NUMBER
}

/// Millions with two decimals.
fn mega(count: u128) -> String {
    format!("{:.2}", count as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::networks::networks;
    use crate::plan::sample::{grid, planned};

    fn shown(axes: &[&str]) -> String {
        let plan = planned(&grid(axes), None);
        network_tables(&plan, &networks(&plan.points).unwrap())
    }

    #[test]
    fn the_networks_of_a_sweep() {
        insta::assert_snapshot!(shown(&[
            "model=\"alexnet32\" {\"layers\":[{\"kind\":\"conv2d\",\"channels\":8,\"kernel\":5,\"dilation\":2},\"flatten\",{\"kind\":\"dropout\",\"p\":0.5},\"logits\"]}",
            "lr=0.1 0.01",
            "batch_norm=false",
        ]));
    }

    #[test]
    fn a_single_network() {
        insta::assert_snapshot!(shown(&[
            "model={\"kind\":\"alexnet\",\"lrn\":true}",
            "dataset={\"kind\":\"synthetic\",\"shape\":[3,224,224],\"classes\":200}",
            "dropout=0.5",
        ]));
    }

    #[test]
    fn many_networks_are_cut_short() {
        let widths: Vec<String> = (1..=12).map(|n| n.to_string()).collect();
        let text = shown(&[&format!("width={}", widths.join(" "))]);
        let last: Vec<&str> = text.lines().rev().take(1).collect();
        insta::assert_snapshot!(last.concat(), @"… and 2 more networks: fix a key to see them");
    }
}
