//! What each data set consists of: files, sizes, checksums, mirrors, licence, fingerprint.
//!
//! Pure data: the engine reads the files, `fetch` gets them, the planner puts the fingerprint into
//! every run's identity, and all of them look here. Sizes and sha256 sums are those of the files as
//! their authors publish them, so that a copy from any source can stand in if its bytes are right.

use std::path::{Path, PathBuf};

use super::dataset::Dataset;

/// One file of a data set, as its authors publish it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CanonicalFile {
    /// Name of the file, in the cache folder and on the mirrors.
    pub name: &'static str,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 in lower-case hexadecimal digits.
    pub sha256: &'static str,
    /// Which published part it belongs to.
    pub part: Part,
    /// What is inside.
    pub content: Content,
    /// How many images (or labels) are inside.
    pub images: usize,
}

/// A published part of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The training images; a validation part is split off from them.
    Train,
    /// The test images.
    Test,
}

/// The format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Pixels as a gzipped IDX file of three dimensions (count, rows, columns).
    IdxImages,
    /// Classes as a gzipped IDX file of one dimension.
    IdxLabels,
    /// Records of a label byte and 3072 pixel bytes (red, green, blue plane).
    CifarRecords,
}

/// Where a data set's images come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Supply {
    /// From the program itself.
    Embedded,
    /// From files in the cache, that have to be fetched once.
    Cached(&'static Download),
    /// From a generator.
    Generated,
    /// From a folder of the user's.
    Folder,
}

/// How the files of a data set get onto the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Download {
    /// Name of the data set's folder in the cache.
    pub folder: &'static str,
    /// What the mirrors hold.
    pub origin: Origin,
    /// Mirrors in the order in which they are tried.
    pub mirrors: &'static [&'static str],
}

/// What a data set's mirrors hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Each file for itself; a mirror is the address of their folder, with a slash at its end.
    Files,
    /// One gzipped tar archive with all files; a mirror is the address of the archive.
    Archive {
        /// Size in bytes.
        bytes: u64,
        /// SHA-256 in lower-case hexadecimal digits.
        sha256: &'static str,
        /// The folder inside the archive that the files are in.
        folder: &'static str,
    },
}

impl Download {
    /// The data set's folder.
    pub fn folder(&self, data_dir: &Path) -> PathBuf {
        data_dir.join("cache").join(self.folder)
    }

    /// Where a file may be, the best place first: in the data set's folder, or in the folder that
    /// its archive unpacks to.
    pub fn places(&self, data_dir: &Path, file: &CanonicalFile) -> Vec<PathBuf> {
        let folder = self.folder(data_dir);
        let mut places = vec![folder.join(file.name)];
        if let Origin::Archive { folder: inner, .. } = self.origin {
            places.push(folder.join(inner).join(file.name));
        }
        places
    }
}

impl Dataset {
    /// Names the bytes that the data set consists of, for the identity of runs: short, safe in a
    /// file name, and different whenever a single byte of an image or a label is.
    ///
    /// For generated images it names the generator; its number is raised when the generator changes.
    /// For a folder it is what was found there, and `image-folder` as long as nobody has looked.
    pub fn fingerprint(&self) -> String {
        if self.supply() == Supply::Folder {
            return self.facts().map_or(self.kind(), |facts| &facts.fingerprint).to_owned();
        }
        if self.supply() == Supply::Generated {
            return "synthetic-1".to_owned();
        }
        let mut hasher = blake3::Hasher::new();
        for file in self.files() {
            hasher.update(file.sha256.as_bytes());
        }
        format!("{}-{}", self.kind(), &hasher.finalize().to_hex()[..12])
    }

    /// The files; none for generated images and folders. Within a part, images and labels stand in the same
    /// order.
    pub fn files(&self) -> &'static [CanonicalFile] {
        match self {
            Self::Mnist10k => &MNIST_10K,
            Self::FashionMnist5k => &FASHION_MNIST_5K,
            Self::Mnist => &MNIST,
            Self::FashionMnist => &FASHION_MNIST,
            Self::Cifar10 => &CIFAR10,
            Self::Synthetic { .. } | Self::ImageFolder { .. } => &[],
        }
    }

    /// Where the images come from.
    pub fn supply(&self) -> Supply {
        match self {
            Self::Mnist10k | Self::FashionMnist5k => Supply::Embedded,
            Self::Mnist => Supply::Cached(&MNIST_DOWNLOAD),
            Self::FashionMnist => Supply::Cached(&FASHION_MNIST_DOWNLOAD),
            Self::Cifar10 => Supply::Cached(&CIFAR10_DOWNLOAD),
            Self::Synthetic { .. } => Supply::Generated,
            Self::ImageFolder { .. } => Supply::Folder,
        }
    }

    /// Authors and licence of the images, in one line.
    pub fn licence(&self) -> &'static str {
        match self {
            Self::Mnist10k => {
                "MNIST by Yann LeCun and Corinna Cortes, CC BY-SA 3.0; the first 1000 training and \
                 200 test images of each class"
            }
            Self::Mnist => "MNIST by Yann LeCun and Corinna Cortes, CC BY-SA 3.0",
            Self::FashionMnist5k => {
                "Fashion-MNIST by Zalando SE, MIT; the first 500 training and 100 test images of \
                 each class"
            }
            Self::FashionMnist => "Fashion-MNIST by Zalando SE, MIT",
            Self::Cifar10 => {
                "CIFAR-10 by Alex Krizhevsky, Vinod Nair and Geoffrey Hinton; its authors state no \
                 licence"
            }
            Self::ImageFolder { .. } => "your own images: the rights are yours to know",
            Self::Synthetic { .. } => "generated by gridlane; no rights attached",
        }
    }
}

const fn idx(
    name: &'static str,
    bytes: u64,
    sha256: &'static str,
    part: Part,
    images: usize,
) -> CanonicalFile {
    // `train-images…` and `t10k-images…` differ from `…-labels…` in the dimension: idx3 and idx1.
    let text = name.as_bytes();
    let content = match text[text.len() - b"3-ubyte.gz".len()] {
        b'3' => Content::IdxImages,
        _ => Content::IdxLabels,
    };
    CanonicalFile { name, bytes, sha256, part, content, images }
}

const fn cifar(name: &'static str, sha256: &'static str, part: Part) -> CanonicalFile {
    let content = Content::CifarRecords;
    CanonicalFile { name, bytes: 30_730_000, sha256, part, content, images: 10_000 }
}

static MNIST_10K: [CanonicalFile; 4] = [
    idx(
        "mnist-train-images-idx3-ubyte.gz",
        1_621_355,
        "26caff5ba6f746326c6d53a178f1e53b728f8a72f041746bd77f97880c8960b0",
        Part::Train,
        10_000,
    ),
    idx(
        "mnist-train-labels-idx1-ubyte.gz",
        4_950,
        "2c86dff031253db103804c4362d483d164f8981eb0add3f982af362ced9eba3b",
        Part::Train,
        10_000,
    ),
    idx(
        "mnist-t10k-images-idx3-ubyte.gz",
        316_060,
        "0672517f4c21a98175ad118a80fc961593cf475a4061088929fab03b700ddfd7",
        Part::Test,
        2_000,
    ),
    idx(
        "mnist-t10k-labels-idx1-ubyte.gz",
        1_025,
        "e71da99257d6dc30ba93b565eb63ae764b2c6ceb13e18903d25bc836bb1ffcb0",
        Part::Test,
        2_000,
    ),
];

static FASHION_MNIST_5K: [CanonicalFile; 4] = [
    idx(
        "fashion-mnist-train-images-idx3-ubyte.gz",
        2_177_716,
        "b240910d2f9a3dad10993db98ccd0cce3dd9149f4e70b24a0b03b57d41908dae",
        Part::Train,
        5_000,
    ),
    idx(
        "fashion-mnist-train-labels-idx1-ubyte.gz",
        2_557,
        "ae0d767c2f6dbbdea3abe9cbf56dacf5c2069a5513b4a9e0ff10b1923bc33661",
        Part::Train,
        5_000,
    ),
    idx(
        "fashion-mnist-t10k-images-idx3-ubyte.gz",
        436_247,
        "04516f9d284037ea6cce7310aafaed77e8f8c1547f1127ef4aa754c46f47f8f5",
        Part::Test,
        1_000,
    ),
    idx(
        "fashion-mnist-t10k-labels-idx1-ubyte.gz",
        519,
        "540f63e62544edb8406d1292429a47e6cdb42e4fa2eaa233f072b34e1f6bc46c",
        Part::Test,
        1_000,
    ),
];

static MNIST: [CanonicalFile; 4] = [
    idx(
        "train-images-idx3-ubyte.gz",
        9_912_422,
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        Part::Train,
        60_000,
    ),
    idx(
        "train-labels-idx1-ubyte.gz",
        28_881,
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        Part::Train,
        60_000,
    ),
    idx(
        "t10k-images-idx3-ubyte.gz",
        1_648_877,
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        Part::Test,
        10_000,
    ),
    idx(
        "t10k-labels-idx1-ubyte.gz",
        4_542,
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        Part::Test,
        10_000,
    ),
];

static FASHION_MNIST: [CanonicalFile; 4] = [
    idx(
        "train-images-idx3-ubyte.gz",
        26_421_880,
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        Part::Train,
        60_000,
    ),
    idx(
        "train-labels-idx1-ubyte.gz",
        29_515,
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        Part::Train,
        60_000,
    ),
    idx(
        "t10k-images-idx3-ubyte.gz",
        4_422_102,
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        Part::Test,
        10_000,
    ),
    idx(
        "t10k-labels-idx1-ubyte.gz",
        5_148,
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        Part::Test,
        10_000,
    ),
];

static CIFAR10: [CanonicalFile; 6] = [
    cifar(
        "data_batch_1.bin",
        "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
        Part::Train,
    ),
    cifar(
        "data_batch_2.bin",
        "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
        Part::Train,
    ),
    cifar(
        "data_batch_3.bin",
        "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
        Part::Train,
    ),
    cifar(
        "data_batch_4.bin",
        "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
        Part::Train,
    ),
    cifar(
        "data_batch_5.bin",
        "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
        Part::Train,
    ),
    cifar(
        "test_batch.bin",
        "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
        Part::Test,
    ),
];

static MNIST_DOWNLOAD: Download = Download {
    folder: "mnist",
    origin: Origin::Files,
    // The authors' own site comes last: it answers 403 or 404 more often than not.
    mirrors: &[
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "http://yann.lecun.com/exdb/mnist/",
    ],
};

static FASHION_MNIST_DOWNLOAD: Download = Download {
    folder: "fashion-mnist",
    origin: Origin::Files,
    mirrors: &[
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ],
};

static CIFAR10_DOWNLOAD: Download = Download {
    folder: "cifar10",
    origin: Origin::Archive {
        bytes: 170_052_171,
        sha256: "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9dddda3db29a59bca1d",
        folder: "cifar-10-batches-bin",
    },
    mirrors: &[
        "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        "https://cave.cs.toronto.edu/kriz/cifar-10-binary.tar.gz",
        "https://storage.googleapis.com/mirror.tensorflow.org/www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    ],
};

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLISHED: [Dataset; 5] = [
        Dataset::Mnist10k,
        Dataset::FashionMnist5k,
        Dataset::Mnist,
        Dataset::FashionMnist,
        Dataset::Cifar10,
    ];

    #[test]
    fn checksums_are_well_formed_and_no_two_files_share_one() {
        let files = PUBLISHED.iter().flat_map(Dataset::files);
        let mut sums: Vec<&str> = files.map(|file| file.sha256).collect();
        let total = sums.len();
        assert!(sums.iter().all(|sum| {
            sum.len() == 64 && sum.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        }));
        sums.sort_unstable();
        sums.dedup();
        assert_eq!(sums.len(), total);
    }

    #[test]
    fn the_training_files_hold_as_many_images_as_the_word_says() {
        for dataset in PUBLISHED {
            let images = dataset
                .files()
                .iter()
                .filter(|file| file.part == Part::Train && file.content != Content::IdxLabels);
            assert_eq!(images.map(|file| file.images).sum::<usize>(), dataset.training_images());
        }
    }

    /// Fingerprints are in the identity of every run on disk: they change only with the bytes.
    #[test]
    fn fingerprints_stay_what_they_are() {
        let prints: Vec<String> = PUBLISHED.iter().map(Dataset::fingerprint).collect();
        assert_eq!(
            prints,
            [
                "mnist-10k-0024f1d56b1d",
                "fashion-mnist-5k-c3e05592938a",
                "mnist-6061394ff7e6",
                "fashion-mnist-26377107f46b",
                "cifar10-08d10948138c",
            ]
        );
    }
}
