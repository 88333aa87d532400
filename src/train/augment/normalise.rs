//! Normalisation: `(x - mean) / std` of each channel, for x in [0, 1].

/// Mean and deviation of each channel, with the results for all bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Normalise {
    channels: Vec<Channel>,
}

#[derive(Debug, Clone, PartialEq)]
struct Channel {
    mean: f32,
    std: f32,
    /// The result for every byte: a look-up is half the work of the arithmetic.
    table: [f32; 256],
}

impl Normalise {
    /// One mean and one deviation for each channel.
    pub fn new(mean: &[f32], std: &[f32]) -> Self {
        let channels = mean.iter().zip(std).map(|(&mean, &std)| Channel {
            mean,
            std,
            table: std::array::from_fn(|byte| (unit(byte as u8) - mean) / std),
        });
        Self { channels: channels.collect() }
    }

    /// Normalises the bytes of an image of shape (C, H, W).
    pub fn bytes(&self, pixels: &[u8], out: &mut [f32]) {
        let size = pixels.len() / self.channels.len();
        let planes = pixels.chunks_exact(size).zip(out.chunks_exact_mut(size));
        for (channel, (pixels, out)) in self.channels.iter().zip(planes) {
            let table = &channel.table;
            out.iter_mut().zip(pixels).for_each(|(out, &byte)| *out = table[usize::from(byte)]);
        }
    }

    /// Normalises an image of shape (C, H, W) with values in [0, 1], in place.
    pub fn values(&self, image: &mut [f32]) {
        let size = image.len() / self.channels.len();
        for (channel, plane) in self.channels.iter().zip(image.chunks_exact_mut(size)) {
            plane.iter_mut().for_each(|value| *value = (*value - channel.mean) / channel.std);
        }
    }
}

/// A byte as a number in [0, 1].
#[inline]
pub fn unit(byte: u8) -> f32 {
    f32::from(byte) / 255.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_values_give_the_same_bits() {
        let normalise = Normalise::new(&[0.1307, 0.5], &[0.3081, 0.25]);
        let pixels: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
        let mut out = vec![0.0; 512];
        normalise.bytes(&pixels, &mut out);
        let mut values: Vec<f32> = pixels.iter().map(|&byte| unit(byte)).collect();
        normalise.values(&mut values);
        assert_eq!(out, values);
        assert_eq!(out[0], (0.0 - 0.1307) / 0.3081);
        assert_eq!(out[256], 2.0);
    }
}
