//! Can a data set be trained on at all? What else a configuration says is then of no account.

use super::config::{Key, RunConfig};
use super::dataset::Dataset;
use super::validate::Misfit;

/// What is wrong with the data set of `config` by itself.
pub fn misfit(config: &RunConfig) -> Option<Misfit> {
    let Dataset::ImageFolder { path, resize, crop, channels, .. } = &config.dataset else {
        return None;
    };
    let misfit = |message: String, help: &str| {
        Some(Misfit { keys: vec![Key::Dataset], message, help: Some(help.to_owned()) })
    };
    if *channels == 2 {
        return misfit(
            "an image folder is read with 1 channel or with 3, found channels = 2".to_owned(),
            "take channels = 3 for colours, channels = 1 for grey",
        );
    }
    if crop > resize {
        return misfit(
            format!("crop = {crop} cannot be cut out of images of {resize} x {resize} px"),
            "take a smaller `crop` or a larger `resize`",
        );
    }
    if path.facts().is_none() {
        return misfit(
            format!("nobody has looked into the image folder `{}`", path.path()),
            "plan the sweep with `gridlane plan`, which does",
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::spec::folder::{Folder, FolderFacts};
    use crate::spec::validate::misfits;

    fn folder(resize: u32, crop: u32, channels: u32, facts: Option<[usize; 3]>) -> RunConfig {
        let mut path = Folder::new("photos");
        if let Some([train, val, test]) = facts {
            let fingerprint = "image-folder-1".to_owned();
            path.found(Arc::new(FolderFacts { fingerprint, classes: 3, train, val, test }));
        }
        let test_fraction = 0.1;
        let dataset = Dataset::ImageFolder { path, resize, crop, channels, test_fraction };
        RunConfig { dataset, ..RunConfig::default() }
    }

    #[test]
    fn a_folder_that_cannot_be_trained_on_is_refused_with_advice() {
        let found: Vec<String> = [
            folder(256, 224, 2, Some([100, 0, 0])),
            folder(28, 32, 3, Some([100, 0, 0])),
            folder(256, 224, 3, None),
            folder(256, 224, 3, Some([100, 0, 0])),
            folder(256, 224, 3, Some([3, 0, 0])),
        ]
        .iter()
        .flat_map(misfits)
        .map(|misfit| format!("{} | {}", misfit.message, misfit.help.unwrap_or_default()))
        .collect();
        insta::assert_snapshot!(found.join("\n"), @r#"
        an image folder is read with 1 channel or with 3, found channels = 2 | take channels = 3 for colours, channels = 1 for grey
        crop = 32 cannot be cut out of images of 28 x 28 px | take a smaller `crop` or a larger `resize`
        nobody has looked into the image folder `photos` | plan the sweep with `gridlane plan`, which does
        validation_fraction = 0.1 of 3 images leaves no validation image | take a fraction that leaves images in both parts, such as 0.1
        "#);
    }

    #[test]
    fn what_the_folder_has_decides_what_is_cut_from_the_training_images() {
        let cases = [([100, 0, 0], 90, false), ([100, 20, 0], 90, true), ([100, 0, 7], 100, false)];
        for (facts, train, has_validation) in cases {
            let dataset = folder(256, 224, 3, Some(facts)).dataset;
            assert_eq!(dataset.training_images(), train);
            assert_eq!(dataset.has_validation(), has_validation);
            assert_eq!((dataset.classes(), dataset.fingerprint().as_str()), (3, "image-folder-1"));
        }
    }
}
