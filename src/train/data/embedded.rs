//! The small data sets inside the program, so that a fresh install trains without a network.
//!
//! The bytes are the files in `data/embedded/`; licences and notices stand beside them there.

macro_rules! embedded {
    ($($name:literal),+ $(,)?) => {
        /// The bytes of an embedded file, by its name in the catalogue.
        pub fn bytes(name: &str) -> &'static [u8] {
            match name {
                $($name => include_bytes!(concat!(
                    env!("CARGO_MANIFEST_DIR"), "/data/embedded/", $name
                )),)+
                _ => unreachable!("invariant: every embedded file of the catalogue is listed here"),
            }
        }
    };
}

embedded!(
    "mnist-train-images-idx3-ubyte.gz",
    "mnist-train-labels-idx1-ubyte.gz",
    "mnist-t10k-images-idx3-ubyte.gz",
    "mnist-t10k-labels-idx1-ubyte.gz",
    "fashion-mnist-train-images-idx3-ubyte.gz",
    "fashion-mnist-train-labels-idx1-ubyte.gz",
    "fashion-mnist-t10k-images-idx3-ubyte.gz",
    "fashion-mnist-t10k-labels-idx1-ubyte.gz",
);

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::spec::dataset::Dataset;

    #[test]
    fn embedded_files_are_those_of_the_catalogue() {
        for dataset in [Dataset::Mnist10k, Dataset::FashionMnist5k] {
            for file in dataset.files() {
                let bytes = bytes(file.name);
                let digest = Sha256::digest(bytes);
                let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
                assert_eq!((bytes.len() as u64, hex.as_str()), (file.bytes, file.sha256));
            }
        }
    }
}
