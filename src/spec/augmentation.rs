//! `augmentation`: what is done to training images before the network sees them.

use super::word::words;

words! {
    /// What is done to training images, anew in every epoch.
    Augmentation, "an augmentation" {
        /// Images as they are.
        None = "none",
        /// A horizontal flip with probability 1/2.
        Basic = "basic",
        /// Flip, rotation by up to 10 degrees, brightness and contrast by up to 20 %.
        Strong = "strong",
        /// Crop with 4 px of padding, flip, rotation by up to 15 degrees, brightness and contrast
        /// by up to 30 %, saturation by up to 20 %, translation by up to 10 %, and on colour images
        /// PCA colour noise (Krizhevsky et al., 2012, section 4.1).
        AlexnetStyle = "alexnet_style",
    }
}
