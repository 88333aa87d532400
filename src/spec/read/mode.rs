//! Which metrics a sweep can be asked for: a run that is trained and one whose steps are timed have
//! not the same.

use crate::spec::config::Setting;
use crate::spec::diagnostics::Diagnostics;
use crate::spec::metric::MetricName;
use crate::spec::mode::Mode;
use crate::spec::node::Span;

/// How the runs of a sweep are executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Modes {
    /// May any be trained?
    trains: bool,
    /// May the steps of any be timed?
    times: bool,
}

impl Modes {
    /// Of the values that `mode` takes; `None` where they are not known.
    pub(super) fn of(values: Option<Vec<Setting>>) -> Self {
        let Some(values) = values else { return Self { trains: true, times: true } };
        let trained = |value: &Setting| matches!(value, Setting::Mode(Mode::Train));
        Self { trains: values.iter().any(trained), times: !values.iter().all(trained) }
    }

    /// What is ranked by where nothing is said.
    pub(super) fn default_metric(self) -> MetricName {
        if self.trains { MetricName::ValAccuracy } else { MetricName::ImagesPerS }
    }

    /// Notes a metric that no run of the sweep has.
    pub(super) fn refuse_unmeasured(
        self,
        name: MetricName,
        span: Span,
        diagnostics: &mut Diagnostics,
    ) {
        let metric = name.as_str();
        let (message, help) = if name.is_of_training() && !self.trains {
            let message = format!(
                "no run of the sweep has `{metric}`: mode = \"throughput\" times steps, and nothing is \
                 validated or tested"
            );
            (message, "take `images_per_s` or `step_s`, or mode = \"train\"")
        } else if name.is_of_throughput() && !self.times {
            let message = format!(
                "no run of the sweep has `{metric}`, which is measured with mode = \"throughput\""
            );
            (message, "add mode = \"throughput\" to [base]")
        } else {
            return;
        };
        diagnostics.error_with_help(span, message, "not measured", help);
    }
}

#[cfg(test)]
mod tests {
    use crate::spec::SweepSpec;
    use crate::spec::metric::{Goal, MetricName};

    fn parsed(text: &str) -> Result<SweepSpec, String> {
        let text = format!("schema = 1\nname = \"x\"\n{text}");
        SweepSpec::parse("x.toml", &text, &[])
            .map(|(spec, _)| spec)
            .map_err(|error| format!("{:?}", miette::Report::new(error)))
    }

    #[test]
    fn a_metric_that_no_run_has_is_refused_with_advice() {
        let timed = "[base]\nmode = \"throughput\"\n";
        let error = parsed(&format!("{timed}[metric]\nname = \"val_accuracy\"")).unwrap_err();
        assert!(error.contains("no run of the sweep has `val_accuracy`"), "{error}");
        assert!(error.contains("take `images_per_s` or `step_s`"), "{error}");
        let error = parsed("[metric]\nname = \"forward_s\"").unwrap_err();
        assert!(error.contains("add mode = \"throughput\" to [base]"), "{error}");
        let claim = "[grid]\nlr = [0.1, 0.2]\n[[claim]]\ntext = \"x\"\ncompare = { metric = \
                     \"speed_up\", larger = { lr = 0.1 }, than = { lr = 0.2 } }";
        let error = parsed(claim).unwrap_err();
        assert!(error.contains("no run of the sweep has `speed_up`"), "{error}");
        parsed(&format!("{timed}{claim}")).unwrap();
    }

    #[test]
    fn a_sweep_of_both_may_ask_for_either_and_times_are_ranked_by_images_unless_said() {
        let both = "[grid]\nmode = [\"train\", \"throughput\"]\n[metric]\nname = ";
        for metric in ["\"val_accuracy\"", "\"step_s\""] {
            parsed(&format!("{both}{metric}")).unwrap();
        }
        let spec = parsed("[base]\nmode = \"throughput\"").unwrap();
        assert_eq!((spec.metric.name, spec.metric.goal), (MetricName::ImagesPerS, Goal::Maximize));
        assert_eq!(parsed("").unwrap().metric.name, MetricName::ValAccuracy);
    }
}
