//! Mixup (Zhang et al., 2018): x = s a + (1 - s) b for an image a and another b of its batch, and
//! the same mean of their classes, with the share s of every image drawn from Beta(alpha, alpha).
//!
//! The paper's definition, one share for each image (its code draws one for a whole batch, to save
//! a line). Images of a batch are mixed in neighbouring pairs, first and second, third and fourth:
//! the order is random, so a pair is a random one, nothing needs a copy of the batch, and a rank
//! that holds a part of the batch finds the partner of every image beside it, or makes it where its part
//! begins or ends with half a pair. An odd last image is
//! left as it is. Shares are keyed by (seed, epoch, place in the epoch's order).

use std::ops::Range;

use crate::train::kernel::simd::vectorized;
use crate::train::rng::{Purpose, Reader, Stream};

/// Mixes the images of a batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mixup {
    alpha: f64,
}

impl Mixup {
    /// Shares from Beta(`alpha`, `alpha`), `alpha` above 0.
    pub fn new(alpha: f64) -> Self {
        Self { alpha }
    }

    /// The share of itself that the image at `place` of the epoch's order keeps.
    pub fn share(&self, seed: u64, epoch: u32, place: usize) -> f32 {
        let mut draws = Stream::new(seed, Purpose::Mixup, epoch, place as u32).reader();
        beta_variate(&mut draws, self.alpha) as f32
    }

    /// Tells for each of `images` images its partner's place in the batch and the share that it keeps,
    /// in their order; the first is at `place` of the epoch's order.
    pub fn partners(
        &self,
        (seed, epoch, place): (u64, u32, usize),
        images: usize,
        mut mixed: impl FnMut(usize, f32),
    ) {
        for at in 0..images {
            let with = at ^ 1;
            if with < images {
                mixed(with, self.share(seed, epoch, place + at));
            } else {
                mixed(at, 1.0);
            }
        }
    }

    /// Mixes neighbours of the batch at places `batch` of the order, as far as they are in `part`:
    /// `images` are that part's. Where a border of the part parts a pair, `image` puts the other half,
    /// by its place, into `beside`, as long as an image. `mixed` takes for each image, in their
    /// order, its partner's place and the share that it keeps.
    pub fn apply(
        &self,
        (seed, epoch): (u64, u32),
        (batch, part): (&Range<usize>, Range<usize>),
        (images, beside): (&mut [f32], &mut [f32]),
        image: impl Fn(usize, &mut [f32]),
        mut mixed: impl FnMut(usize, f32),
    ) {
        let units = beside.len();
        let share = |place: usize| self.share(seed, epoch, place);
        let mut rest = (part.start, images);
        while rest.0 < part.end {
            let (place, images) = rest;
            let is_second = (place - batch.start) % 2 == 1;
            let partner = if is_second { place - 1 } else { place + 1 };
            let (own, others) = images.split_at_mut(units);
            if partner >= batch.end {
                mixed(place, 1.0);
                rest = (place + 1, others);
            } else if part.contains(&partner) {
                let (other, others) = others.split_at_mut(units);
                let shares = [place, partner].map(share);
                mix(own, other, shares);
                mixed(partner, shares[0]);
                mixed(place, shares[1]);
                rest = (partner + 1, others);
            } else {
                image(partner, beside);
                mix(own, beside, [share(place), 1.0]);
                mixed(partner, share(place));
                rest = (place + 1, others);
            }
        }
    }
}

/// a = s a + (1 - s) b and b = t b + (1 - t) a, for shares [s, t].
pub fn mix(a: &mut [f32], b: &mut [f32], [s, t]: [f32; 2]) {
    vectorized(
        #[inline(always)]
        || {
            for (a, b) in a.iter_mut().zip(b) {
                (*a, *b) = (s * *a + (1.0 - s) * *b, t * *b + (1.0 - t) * *a);
            }
        },
    );
}

/// A number drawn from Beta(`alpha`, `alpha`).
fn beta_variate(draws: &mut Reader, alpha: f64) -> f64 {
    let [a, b] = [0, 1].map(|_| ln_gamma_variate(draws, alpha));
    1.0 / (1.0 + (b - a).exp())
}

/// The logarithm of a number drawn from Gamma(`shape`, 1): Marsaglia and Tsang (2000), for shapes
/// below 1 with their power of a uniform number. A logarithm, since for small shapes most draws are
/// too small for a float.
fn ln_gamma_variate(draws: &mut Reader, shape: f64) -> f64 {
    if shape < 1.0 {
        let above = ln_gamma_variate(draws, shape + 1.0);
        return above + uniform(draws).ln() / shape;
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = f64::from(draws.normal());
        let v = (1.0 + c * x).powi(3);
        let u = uniform(draws);
        if v > 0.0 && u.ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return (d * v).ln();
        }
    }
}

/// Uniform in (0, 1).
fn uniform(draws: &mut Reader) -> f64 {
    (f64::from(draws.bits()) + 0.5) / 4_294_967_296.0
}

#[cfg(test)]
mod tests {
    use statrs::distribution::{Beta, ContinuousCDF};

    use super::*;
    use crate::train::augment::kolmogorov::assert_distribution;

    #[test]
    fn shares_are_those_of_the_beta_distribution() {
        for alpha in [0.1, 0.4, 1.0, 3.0] {
            // In 64 bits: with a small alpha many shares are as good as 1.
            let shares: Vec<f64> = (0..5000)
                .map(|place| Stream::new(3, Purpose::Mixup, 1, place).reader())
                .map(|mut draws| beta_variate(&mut draws, alpha))
                .collect();
            let beta = Beta::new(alpha, alpha).unwrap();
            assert_distribution(&shares, |x| beta.cdf(x));
        }
    }

    #[test]
    fn neighbours_are_mixed_and_an_odd_one_is_left() {
        let mixup = Mixup::new(1.0);
        let mut images = [1.0, 2.0, 10.0, 20.0, 5.0, 6.0];
        let mut mixed = Vec::new();
        let places = (&(6..9), 6..9);
        let push = |partner, share| mixed.push((partner, share));
        mixup.apply((7, 2), places, (&mut images, &mut [0.0; 2]), |_, _| panic!(), push);
        let [s, t] = [6, 7].map(|place| mixup.share(7, 2, place));
        assert_eq!(mixed, [(7, s), (6, t), (8, 1.0)]);
        let expected = [
            s * 1.0 + (1.0 - s) * 10.0,
            s * 2.0 + (1.0 - s) * 20.0,
            t * 10.0 + (1.0 - t) * 1.0,
            t * 20.0 + (1.0 - t) * 2.0,
            5.0,
            6.0,
        ];
        assert_eq!(images, expected);
        assert!(s != t && s != mixup.share(8, 2, 6) && s != mixup.share(7, 3, 6));
    }

    /// A batch in two parts, as two ranks would hold it, gives the same, wherever the border is.
    #[test]
    fn parts_of_a_batch_are_mixed_as_the_whole() {
        let mixup = Mixup::new(0.3);
        let start: Vec<f32> = (0..27).map(|x| x as f32).collect();
        let mix = |part: Range<usize>| {
            let own = |place: usize| (place - 10) * 3..(place - 9) * 3;
            let mut images = start[(part.start - 10) * 3..(part.end - 10) * 3].to_vec();
            let mut mixed = Vec::new();
            let image = |place: usize, out: &mut [f32]| out.copy_from_slice(&start[own(place)]);
            let push = |partner, share| mixed.push((partner, share));
            mixup.apply((1, 1), (&(10..19), part), (&mut images, &mut [0.0; 3]), image, push);
            (images, mixed)
        };
        let (images, mixed) = mix(10..19);
        for border in 10..=19 {
            let [first, second] = [mix(10..border), mix(border..19)];
            assert_eq!([first.0, second.0].concat(), images, "{border}");
            assert_eq!([first.1, second.1].concat(), mixed, "{border}");
        }
    }
}
