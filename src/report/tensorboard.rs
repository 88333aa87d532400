//! A run as a file of events that TensorBoard shows: curves, measurements in layers, the varied keys.
//!
//! The file is a sequence of records (TFRecord: length, checksum, bytes, checksum), each an `Event` in
//! Protocol Buffers. What TensorBoard reads of an `Event` is a dozen fields; they are declared here by
//! the numbers of its `event.proto`, `summary.proto` and, for the keys, the `hparams` plugin.

use std::collections::BTreeMap;
use std::io;

use prost::{Message, Oneof};

use crate::aggregate::curves::RunHistory;
use crate::aggregate::row::{AxisValue, RowStatus, RunRow};
use crate::spec::metric::MetricName;
use crate::spec::run_policy::CurveDetail;

/// First event of every file; TensorBoard reads no other version.
const VERSION: &str = "brain.Event:2";

/// Constant of the masked checksums, from the format's definition.
const MASK: u32 = 0xa282_ead8;

/// Writes the events of one run. `axes` are the varied keys; `begun` says when the run began, in
/// seconds since 1970: times of events count from there.
///
/// # Errors
/// When `out` cannot be written.
pub fn run_events(
    out: &mut dyn io::Write,
    axes: &[String],
    row: &RunRow,
    history: &RunHistory,
    begun: f64,
) -> io::Result<()> {
    let clock = Clock { begun, history };
    record(
        out,
        &Event { wall_time: begun, step: 0, what: Some(What::FileVersion(VERSION.into())) },
    )?;
    hparams(out, "_hparams_/session_start_info", begun, start(axes, row, begun))?;
    for point in history.points(CurveDetail::Step) {
        let at = (clock.at(point.step), point.step);
        scalar(out, at, point.metric.as_str().to_owned(), point.value)?;
    }
    for point in history.layer_points(CurveDetail::Step) {
        let tag = format!("{}{}/{}", point.measurement, point.suffix, point.layer);
        scalar(out, (clock.at(point.step), point.step), tag, point.value)?;
    }
    let end = history.epochs.last().map_or(0, |epoch| epoch.step);
    for name in [MetricName::TestAccuracy, MetricName::TestLoss] {
        if let Some(value) = row.metrics.get(name) {
            scalar(out, (clock.at(end), end), name.as_str().to_owned(), value)?;
        }
    }
    let ended = clock.at(end);
    // 1 is success, 2 failure.
    let status = if row.status == RowStatus::Finished { 1 } else { 2 };
    let end = Session::End(SessionEndInfo { status, end_time_secs: ended });
    hparams(out, "_hparams_/session_end_info", ended, end)
}

/// When a step was done.
struct Clock<'a> {
    begun: f64,
    history: &'a RunHistory,
}

impl Clock<'_> {
    /// Seconds since 1970 at the end of `step`, the steps of an epoch taken to be equally long.
    fn at(&self, step: u64) -> f64 {
        let epochs = &self.history.epochs;
        let place = epochs.partition_point(|epoch| epoch.step < step);
        let before = place
            .checked_sub(1)
            .map_or((0, 0.0), |place| (epochs[place].step, epochs[place].elapsed_s));
        let elapsed = match epochs.get(place) {
            Some(epoch) if epoch.step > before.0 => {
                let share = (step - before.0) as f64 / (epoch.step - before.0) as f64;
                before.1 + share * (epoch.elapsed_s - before.1)
            }
            _ => before.1,
        };
        self.begun + if elapsed.is_finite() { elapsed } else { 0.0 }
    }
}

fn start(axes: &[String], row: &RunRow, begun: f64) -> Session {
    let value = |value: &AxisValue| match (value.number, value.label.as_str()) {
        (Some(number), _) => Kind::Number(number),
        (None, "true") => Kind::Bool(true),
        (None, "false") => Kind::Bool(false),
        (None, label) => Kind::String(label.to_owned()),
    };
    let values = axes.iter().cloned().zip(&row.run.axes);
    let hparams = values.map(|(key, axis)| (key, HparamValue { kind: Some(value(axis)) }));
    Session::Start(SessionStartInfo {
        hparams: hparams.collect(),
        // Runs of one group are averaged: the seeds of a configuration.
        group_name: row.run.configuration.clone(),
        start_time_secs: begun,
    })
}

fn scalar(
    out: &mut dyn io::Write,
    (wall_time, step): (f64, u64),
    tag: String,
    value: f64,
) -> io::Result<()> {
    let simple_value = Some(value as f32);
    let value = Value { tag, simple_value, ..Value::default() };
    let step = i64::try_from(step).unwrap_or(i64::MAX);
    record(
        out,
        &Event { wall_time, step, what: Some(What::Summary(Summary { value: vec![value] })) },
    )
}

/// What the `hparams` plugin wants: a summary without a number, the content in its metadata.
fn hparams(out: &mut dyn io::Write, tag: &str, wall_time: f64, data: Session) -> io::Result<()> {
    let content = HparamsPluginData { version: 0, data: Some(data) }.encode_to_vec();
    let plugin_data = PluginData { plugin_name: "hparams".into(), content };
    // A tensor of floats without any.
    let tensor = Tensor { dtype: 1, tensor_shape: Some(Shape { dim: vec![Dim { size: 0 }] }) };
    let value = Value {
        tag: tag.to_owned(),
        tensor: Some(tensor),
        metadata: Some(Metadata { plugin_data: Some(plugin_data) }),
        ..Value::default()
    };
    record(
        out,
        &Event { wall_time, step: 0, what: Some(What::Summary(Summary { value: vec![value] })) },
    )
}

/// One record: its length, the length's checksum, its bytes, theirs.
fn record(out: &mut dyn io::Write, event: &Event) -> io::Result<()> {
    let bytes = event.encode_to_vec();
    let length = (bytes.len() as u64).to_le_bytes();
    out.write_all(&length)?;
    out.write_all(&masked_crc(&length).to_le_bytes())?;
    out.write_all(&bytes)?;
    out.write_all(&masked_crc(&bytes).to_le_bytes())
}

fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(MASK)
}

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(oneof = "What", tags = "3, 5")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, Oneof)]
enum What {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
    #[prost(message, optional, tag = "8")]
    tensor: Option<Tensor>,
    #[prost(message, optional, tag = "9")]
    metadata: Option<Metadata>,
}

#[derive(Clone, PartialEq, Message)]
struct Tensor {
    #[prost(int32, tag = "1")]
    dtype: i32,
    #[prost(message, optional, tag = "2")]
    tensor_shape: Option<Shape>,
}

#[derive(Clone, PartialEq, Message)]
struct Shape {
    #[prost(message, repeated, tag = "2")]
    dim: Vec<Dim>,
}

#[derive(Clone, PartialEq, Message)]
struct Dim {
    #[prost(int64, tag = "1")]
    size: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(message, optional, tag = "1")]
    plugin_data: Option<PluginData>,
}

#[derive(Clone, PartialEq, Message)]
struct PluginData {
    #[prost(string, tag = "1")]
    plugin_name: String,
    #[prost(bytes = "vec", tag = "2")]
    content: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct HparamsPluginData {
    #[prost(int32, tag = "1")]
    version: i32,
    #[prost(oneof = "Session", tags = "3, 4")]
    data: Option<Session>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Session {
    #[prost(message, tag = "3")]
    Start(SessionStartInfo),
    #[prost(message, tag = "4")]
    End(SessionEndInfo),
}

#[derive(Clone, PartialEq, Message)]
struct SessionStartInfo {
    #[prost(btree_map = "string, message", tag = "1")]
    hparams: BTreeMap<String, HparamValue>,
    #[prost(string, tag = "4")]
    group_name: String,
    #[prost(double, tag = "5")]
    start_time_secs: f64,
}

#[derive(Clone, PartialEq, Message)]
struct SessionEndInfo {
    #[prost(int32, tag = "1")]
    status: i32,
    #[prost(double, tag = "2")]
    end_time_secs: f64,
}

#[derive(Clone, PartialEq, Message)]
struct HparamValue {
    #[prost(oneof = "Kind", tags = "2, 3, 4")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Kind {
    #[prost(double, tag = "2")]
    Number(f64),
    #[prost(string, tag = "3")]
    String(String),
    #[prost(bool, tag = "4")]
    Bool(bool),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::sample;
    use crate::event::{LayersRecord, RunEvent};

    /// The events of a file; fails where a checksum does.
    fn read(mut bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        while !bytes.is_empty() {
            let (head, rest) = bytes.split_at(8);
            let (head_crc, rest) = rest.split_at(4);
            assert_eq!(head_crc, masked_crc(head).to_le_bytes());
            let length = u64::from_le_bytes(head.try_into().unwrap()) as usize;
            let (body, rest) = rest.split_at(length);
            let (body_crc, rest) = rest.split_at(4);
            assert_eq!(body_crc, masked_crc(body).to_le_bytes());
            events.push(Event::decode(body).unwrap());
            bytes = rest;
        }
        events
    }

    fn scalars(events: &[Event]) -> Vec<(String, i64, f64, f32)> {
        let summary = |event: &Event| match &event.what {
            Some(What::Summary(summary)) => {
                let value = &summary.value[0];
                Some((value.tag.clone(), event.step, event.wall_time, value.simple_value?))
            }
            _ => None,
        };
        events.iter().filter_map(summary).collect()
    }

    #[test]
    fn checksums_are_those_of_the_format() {
        // Of RFC 3720, appendix B.4: 32 bytes of zeros.
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(masked_crc(&[0; 32]), 0x8a91_36aa_u32.rotate_right(15).wrapping_add(MASK));
    }

    #[test]
    fn a_run_becomes_scalars_by_step_and_layer() {
        let table = sample::table(&[("relu", 7, Some(0.5))]);
        let epochs = sample::result(&[0.25, 0.5]).epochs;
        let history = RunHistory {
            epochs,
            ..RunHistory::of_events([
                RunEvent::Steps { first_step: 149, epoch: 2, loss: vec![2.5], lr: vec![0.1] },
                RunEvent::Layers(LayersRecord {
                    epoch: 2,
                    measurement: "update_ratio".into(),
                    layers: vec!["fc1".into(), "fc2".into()],
                    kinds: vec!["linear".into(), "linear".into()],
                    steps: vec![200],
                    values: vec![vec![0.125, f64::NAN]],
                }),
            ])
        };
        let mut bytes = Vec::new();
        run_events(&mut bytes, table.axes(), &table.rows()[0], &history, 1000.0).unwrap();
        let events = read(&bytes);
        assert_eq!(events[0].what, Some(What::FileVersion(VERSION.into())));
        let scalars = scalars(&events);
        let of = |tag: &str| {
            let rows = scalars.iter().filter(|row| row.0 == tag);
            rows.map(|(_, step, wall, value)| (*step, *wall, *value)).collect::<Vec<_>>()
        };
        assert_eq!(of("val_accuracy"), [(100, 1010.0, 0.25), (200, 1020.0, 0.5)]);
        assert_eq!(of("step_loss"), [(150, 1015.0, 2.5)]);
        assert_eq!(of("update_ratio/fc1"), [(200, 1020.0, 0.125)]);
        assert_eq!(of("update_ratio/fc2"), [], "what is not finite has no event");
        assert_eq!(of("test_accuracy"), [(200, 1020.0, 0.4375)]);
    }

    #[test]
    fn the_varied_keys_and_the_end_are_told() {
        let table = sample::table(&[("relu", 7, None)]);
        let mut bytes = Vec::new();
        run_events(&mut bytes, table.axes(), &table.rows()[0], &RunHistory::default(), 0.0)
            .unwrap();
        let sessions: Vec<Session> = read(&bytes)
            .into_iter()
            .filter_map(|event| match event.what {
                Some(What::Summary(mut summary)) => {
                    let data = summary.value.remove(0).metadata?.plugin_data?;
                    assert_eq!(data.plugin_name, "hparams");
                    HparamsPluginData::decode(data.content.as_slice()).unwrap().data
                }
                _ => None,
            })
            .collect();
        let value = HparamValue { kind: Some(Kind::String("relu".into())) };
        assert_eq!(
            sessions,
            [
                Session::Start(SessionStartInfo {
                    hparams: BTreeMap::from([("activation".to_owned(), value)]),
                    group_name: "relu".into(),
                    start_time_secs: 0.0,
                }),
                Session::End(SessionEndInfo { status: 2, end_time_secs: 0.0 }),
            ]
        );
    }
}
