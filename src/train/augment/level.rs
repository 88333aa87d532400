//! The four levels of augmentation, as numbers.

use crate::spec::augmentation::Augmentation;

use super::jitter::Jitter;

/// What is done to an image, in the order of the fields.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    /// Black pixels added on each side before an image of the old size is cut out.
    pub crop_padding: usize,
    /// Is every second image mirrored?
    pub flip: bool,
    /// Largest rotation in degrees.
    pub degrees: f32,
    /// Largest translation as a part of height and width.
    pub translation: f32,
    /// Changes of brightness, contrast and saturation.
    pub jitter: Jitter,
    /// Is PCA colour noise added to colour images?
    pub colour_noise: bool,
}

impl Level {
    const NONE: Self = Self {
        crop_padding: 0,
        flip: false,
        degrees: 0.0,
        translation: 0.0,
        jitter: Jitter { brightness: 0.0, contrast: 0.0, saturation: 0.0 },
        colour_noise: false,
    };

    /// The numbers of a word of the sweep file.
    pub fn of(augmentation: &Augmentation) -> Self {
        match augmentation {
            Augmentation::None => Self::NONE,
            Augmentation::Basic => Self { flip: true, ..Self::NONE },
            Augmentation::Strong => Self {
                flip: true,
                degrees: 10.0,
                jitter: Jitter { brightness: 0.2, contrast: 0.2, saturation: 0.0 },
                ..Self::NONE
            },
            Augmentation::AlexnetStyle => Self {
                crop_padding: 4,
                flip: true,
                degrees: 15.0,
                translation: 0.1,
                jitter: Jitter { brightness: 0.3, contrast: 0.3, saturation: 0.2 },
                colour_noise: true,
            },
        }
    }

    /// Is nothing done?
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }
}
