//! `evaluation`: what of an image the network is shown when it is measured.

use super::config::{Key, RunConfig};
use super::validate::Misfit;
use super::value::Interval;
use super::word::words;

const PADDING: Interval = Interval::closed(0.0, 4096.0);

words! {
    /// What of an image the network is shown when it is measured. From several views of an image the
    /// probabilities are averaged (Krizhevsky et al., 2012, section 4.1): the accuracy is that of the
    /// average, the loss -log of its probability of the right class.
    Views, "an evaluation" {
        /// The middle of the image, once.
        SingleCrop = "single_crop",
        /// The four corners and the middle.
        FiveCrop = "five_crop" {
            /// Black pixels added on each side first, where images are no larger than what the
            /// network takes.
            padding: u32 = 0, PADDING;
            /// What is measured so; the rest by single_crop.
            on: On = On::Test, ();
        },
        /// The four corners and the middle, each also left for right.
        TenCrop = "ten_crop" {
            /// Black pixels added on each side first, where images are no larger than what the
            /// network takes.
            padding: u32 = 0, PADDING;
            /// What is measured so; the rest by single_crop.
            on: On = On::Test, ();
        },
    }
}

words! {
    /// Which parts of a data set are measured by several views.
    On, "a choice of parts" {
        /// The test part, once at the end.
        Test = "test",
        /// Validation too, after every epoch: five or ten times the time that it takes otherwise.
        Both = "both",
    }
}

impl Views {
    /// Padding, and the parts that are measured by several views; `None` for a single one.
    pub fn several(&self) -> Option<(u32, &On)> {
        match self {
            Self::SingleCrop => None,
            Self::FiveCrop { padding, on } | Self::TenCrop { padding, on } => Some((*padding, on)),
        }
    }
}

/// Five times the same view would cost five times as much and change nothing.
pub fn misfit(config: &RunConfig) -> Option<Misfit> {
    let (padding, _) = config.evaluation.several()?;
    let [_, height, width] = config.dataset.image_shape();
    let [_, input_height, input_width] = config.input_shape();
    let room = 2 * padding as usize;
    if height + room > input_height || width + room > input_width {
        return None;
    }
    let kind = config.evaluation.kind();
    Some(Misfit {
        keys: vec![Key::Evaluation, Key::Augmentation, Key::Dataset],
        message: format!(
            "{kind}: the corners and the middle of {height} x {width} px are one and the same \
             where the network takes {input_height} x {input_width} px"
        ),
        help: Some(format!(
            "write evaluation = {{ kind = \"{kind}\", padding = 4 }}, or cut out less in the \
             augmentation, such as {{ kind = \"random_crop\", padding = 0, size = {} }}",
            (input_height.min(input_width) * 7 / 8).max(1)
        )),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::augmentation::Augmentation;
    use crate::spec::operation::{Operation, Side};
    use crate::spec::validate::misfits;

    #[test]
    fn views_that_are_all_the_same_are_refused_with_advice() {
        let ten = |padding| Views::TenCrop { padding, on: On::Test };
        let found = misfits(&RunConfig { evaluation: ten(0), ..RunConfig::default() });
        assert_eq!(found.len(), 1);
        insta::assert_snapshot!(
            format!("{}\n{}", found[0].message, found[0].help.as_deref().unwrap()), @r#"
        ten_crop: the corners and the middle of 28 x 28 px are one and the same where the network takes 28 x 28 px
        write evaluation = { kind = "ten_crop", padding = 4 }, or cut out less in the augmentation, such as { kind = "random_crop", padding = 0, size = 24 }
        "#
        );
        let crop = Operation::RandomCrop { padding: 0, size: Side::Pixels(24) };
        let augmentation = Augmentation::of(vec![crop]);
        for config in [
            RunConfig { evaluation: ten(1), ..RunConfig::default() },
            RunConfig { evaluation: ten(0), augmentation, ..RunConfig::default() },
        ] {
            assert_eq!(misfits(&config), []);
        }
    }
}
