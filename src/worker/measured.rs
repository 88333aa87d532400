//! Measurements that are taken but not yet written: several steps go into one line of the events.

use crate::event::{LayersRecord, RunEvent};
use crate::train::measure::{Label, Measured};

/// Measurements that are not yet written.
#[derive(Default)]
pub(super) struct PendingLayers {
    records: Vec<LayersRecord>,
}

impl PendingLayers {
    /// Takes note of what was measured in one lane of the group when so many steps were done.
    pub(super) fn push(
        &mut self,
        lane: usize,
        (epoch, steps_done): (u32, u64),
        measured: &[Measured],
    ) {
        for measured in measured {
            let same = |record: &&mut LayersRecord| {
                record.epoch == epoch && record.measurement == measured.measurement
            };
            let Some(own) = &measured.lanes[lane] else { continue };
            let values = own.values.clone();
            if let Some(record) = self.records.iter_mut().find(same) {
                record.steps.push(steps_done);
                record.values.push(values);
                continue;
            }
            let names = |name: fn(&Label) -> &str| {
                own.layers.iter().map(|label| name(label).to_owned()).collect()
            };
            self.records.push(LayersRecord {
                epoch,
                measurement: measured.measurement.to_owned(),
                layers: names(|label| &label.name),
                kinds: names(Label::kind),
                steps: vec![steps_done],
                values: vec![values],
            });
        }
    }

    /// What there is, as events.
    pub(super) fn take(&mut self) -> impl Iterator<Item = RunEvent> + use<> {
        std::mem::take(&mut self.records).into_iter().map(RunEvent::Layers)
    }
}
