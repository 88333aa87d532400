//! The only source of randomness: Philox 4x32-10, a counter-based generator (Salmon et al., 2011,
//! "Parallel random numbers: as easy as 1, 2, 3").
//!
//! A number is a pure function of (seed, purpose, major, minor, element), so it is the same on
//! every device, for every number of ranks, in any order of batches, fused or alone, resumed or
//! not. Nothing about a generator needs to be saved in a checkpoint.

/// What numbers are for. Streams of different purposes share nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Purpose {
    /// Initial weights: major 0, minor the number of the parameter.
    Init = 1,
    /// Order of the training samples: major the epoch, minor 0.
    Order = 2,
    /// Dropout: major the optimizer step, minor the number of the layer; the element is
    /// (global index of the sample within the batch) * units + unit.
    Dropout = 3,
    /// Augmentation: major the epoch, minor the sample's index in the training part.
    Augment = 4,
    /// Which training samples are set aside: seed 0, major 0, minor 0 for validation, 1 for the test
    /// part of an image folder without one.
    Split = 5,
    /// Generated data: seed 0, major the part (0 train, 1 validation, 2 test, 3 the class
    /// patterns), minor the sample.
    Synthetic = 6,
    /// Shares of mixed images: major the epoch, minor the place in the epoch's order.
    Mixup = 7,
}

/// Elements of a [`Stream::group`].
pub const GROUP: usize = 32;

/// The numbers of one (seed, purpose, major, minor), addressed by element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    key: [u32; 2],
    major: u32,
    minor: u32,
}

impl Stream {
    /// The stream. `seed` is below 2^56; the sweep file allows less.
    pub fn new(seed: u64, purpose: Purpose, major: u32, minor: u32) -> Self {
        debug_assert!(seed < 1 << 56, "invariant: the sweep file bounds seeds");
        let high = (seed >> 32) as u32 | u32::from(purpose as u8) << 24;
        Self { key: [seed as u32, high], major, minor }
    }

    /// Both words of the key, for kernels that draw the same numbers.
    pub fn key(&self) -> [u32; 2] {
        self.key
    }

    /// Elements `4 * block .. 4 * block + 4`, each uniform over all 32-bit numbers.
    #[inline]
    pub fn block(&self, block: u64) -> [u32; 4] {
        let counter = [block as u32, (block >> 32) as u32, self.minor, self.major];
        philox(counter.map(|word| [word]), self.key).map(|[word]| word)
    }

    /// Elements `32 * group .. 32 * group + 32`: the numbers of eight blocks, computed side by side
    /// for loops that [`vectorized`](crate::train::kernel::simd::vectorized) compiles.
    #[inline(always)]
    pub fn group(&self, group: u64) -> [u32; GROUP] {
        const BLOCKS: usize = GROUP / 4;
        let block: [u64; BLOCKS] = std::array::from_fn(|i| group * BLOCKS as u64 + i as u64);
        let low = block.map(|block| block as u32);
        let high = block.map(|block| (block >> 32) as u32);
        let counters = [low, high, [self.minor; BLOCKS], [self.major; BLOCKS]];
        let words = philox(counters, self.key);
        std::array::from_fn(|i| words[i % 4][i / 4])
    }

    /// One element.
    #[inline]
    pub fn element(&self, element: u64) -> u32 {
        self.block(element / 4)[(element % 4) as usize]
    }

    /// A reader that walks through the stream from its start.
    pub fn reader(self) -> Reader {
        Reader { stream: self, next: 0, block: [0; 4] }
    }
}

/// Walks through a [`Stream`].
#[derive(Debug, Clone)]
pub struct Reader {
    stream: Stream,
    next: u64,
    block: [u32; 4],
}

impl Reader {
    /// The next 32 bits.
    #[inline]
    pub fn bits(&mut self) -> u32 {
        let place = (self.next % 4) as usize;
        if place == 0 {
            self.block = self.stream.block(self.next / 4);
        }
        self.next += 1;
        self.block[place]
    }

    /// Uniform in [0, 1).
    #[inline]
    pub fn uniform(&mut self) -> f32 {
        unit(self.bits())
    }

    /// Uniform in [low, high).
    #[inline]
    pub fn uniform_in(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.uniform()
    }

    /// Uniform over 0 .. n, without bias beyond n / 2^32 (Lemire's multiplication, no rejection, so
    /// that every draw takes one element).
    #[inline]
    pub fn below(&mut self, n: u32) -> u32 {
        ((u64::from(self.bits()) * u64::from(n)) >> 32) as u32
    }

    /// Standard normal, by Box and Muller in f64; takes two elements.
    pub fn normal(&mut self) -> f32 {
        // In (0, 1], so that the logarithm is finite.
        let radius = (f64::from(self.bits()) + 1.0) / 4_294_967_296.0;
        let angle = f64::from(self.bits()) / 4_294_967_296.0;
        ((-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()) as f32
    }

    /// A random permutation of 0 .. n (Fisher and Yates).
    pub fn permutation(&mut self, n: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..n as u32).collect();
        for i in (1..n).rev() {
            order.swap(i, self.below(i as u32 + 1) as usize);
        }
        order
    }
}

/// The top 24 bits as a number in [0, 1): exact in f32, the same on every device.
#[inline]
pub fn unit(bits: u32) -> f32 {
    (bits >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// Ten rounds of Philox 4x32 on N counters, given and returned word by word.
#[inline(always)]
fn philox<const N: usize>(mut counters: [[u32; N]; 4], mut key: [u32; 2]) -> [[u32; N]; 4] {
    for _ in 0..10 {
        let mut next = [[0; N]; 4];
        for i in 0..N {
            let a = u64::from(counters[0][i]) * 0xD251_1F53;
            let b = u64::from(counters[2][i]) * 0xCD9E_8D57;
            next[0][i] = (b >> 32) as u32 ^ counters[1][i] ^ key[0];
            next[1][i] = b as u32;
            next[2][i] = (a >> 32) as u32 ^ counters[3][i] ^ key[1];
            next[3][i] = a as u32;
        }
        counters = next;
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counters
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers that the Random123 library is published with (kat_vectors, philox4x32 10).
    #[test]
    fn philox_gives_the_published_answers() {
        let ones = u32::MAX;
        let cases = [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([ones; 4], [ones; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ];
        for (counter, key, expected) in cases {
            assert_eq!(philox(counter.map(|word| [word]), key), expected.map(|word| [word]));
        }
    }

    #[test]
    fn a_reader_walks_the_elements_in_order() {
        let stream = Stream::new(7, Purpose::Order, 3, 5);
        let mut reader = stream.reader();
        for element in 0..11 {
            assert_eq!(reader.bits(), stream.element(element));
        }
    }

    #[test]
    fn a_group_has_its_elements_in_order() {
        let stream = Stream::new(7, Purpose::Dropout, 3, 5);
        // The second is where a block's number leaves 32 bits.
        for group in [0, (1 << 29) - 1, 1 << 29, 12_345] {
            for (i, &found) in stream.group(group).iter().enumerate() {
                assert_eq!(found, stream.element(group * GROUP as u64 + i as u64));
            }
        }
    }

    #[test]
    fn streams_differ_in_every_part_of_their_name() {
        let base = Stream::new(1, Purpose::Init, 2, 3).block(0);
        for other in [
            Stream::new(2, Purpose::Init, 2, 3),
            Stream::new(1, Purpose::Order, 2, 3),
            Stream::new(1, Purpose::Init, 3, 3),
            Stream::new(1, Purpose::Init, 2, 4),
        ] {
            assert_ne!(base, other.block(0));
        }
    }

    #[test]
    fn uniform_and_normal_have_their_moments() {
        let mut reader = Stream::new(0, Purpose::Init, 0, 0).reader();
        let n = 100_000;
        let uniform: f64 = (0..n).map(|_| f64::from(reader.uniform())).sum::<f64>() / f64::from(n);
        let normals: Vec<f64> = (0..n).map(|_| f64::from(reader.normal())).collect();
        let mean = normals.iter().sum::<f64>() / f64::from(n);
        let variance = normals.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / f64::from(n);
        // Five standard errors.
        assert!((uniform - 0.5).abs() < 0.005, "{uniform}");
        assert!(mean.abs() < 0.016 && (variance - 1.0).abs() < 0.023, "{mean} {variance}");
    }

    #[test]
    fn a_permutation_has_every_index_once() {
        let mut order = Stream::new(9, Purpose::Order, 1, 0).reader().permutation(1000);
        assert_ne!(order, (0..1000).collect::<Vec<u32>>());
        order.sort_unstable();
        assert_eq!(order, (0..1000).collect::<Vec<u32>>());
    }
}
