//! Normalisation: `(x - mean) / std` of each channel, for x in [0, 1], written in the order that the
//! network wants.

use crate::train::kernel::simd::vectorized;
use crate::train::model::InputOrder;

/// Mean and deviation of each channel, with the results for all bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Normalise {
    channels: Vec<Channel>,
    /// Are the channels of a pixel neighbours?
    channels_last: bool,
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
    pub fn new(mean: &[f32], std: &[f32], order: InputOrder) -> Self {
        let channels: Vec<Channel> = mean
            .iter()
            .zip(std)
            .map(|(&mean, &std)| Channel {
                mean,
                std,
                table: std::array::from_fn(|byte| (unit(byte as u8) - mean) / std),
            })
            .collect();
        let channels_last = order == InputOrder::ChannelsLast && channels.len() > 1;
        Self { channels, channels_last }
    }

    /// The results for all bytes, channel by channel.
    pub fn tables(&self) -> impl Iterator<Item = &[f32; 256]> {
        self.channels.iter().map(|channel| &channel.table)
    }

    /// Mean and deviation, channel by channel.
    pub fn colours(&self) -> impl Iterator<Item = [f32; 2]> {
        self.channels.iter().map(|channel| [channel.mean, channel.std])
    }

    /// Are the channels of a pixel neighbours in what is written?
    pub fn is_channels_last(&self) -> bool {
        self.channels_last
    }

    /// Normalises the bytes of an image of shape (C, H, W).
    pub fn bytes(&self, pixels: &[u8], out: &mut [f32]) {
        self.each(pixels, out, |channel, byte| channel.table[usize::from(byte)]);
    }

    /// Normalises an image of shape (C, H, W) with values in [0, 1].
    pub fn values(&self, image: &[f32], out: &mut [f32]) {
        vectorized(
            #[inline(always)]
            || self.each(image, out, |channel, value| (value - channel.mean) / channel.std),
        );
    }

    #[inline(always)]
    fn each<T: Copy>(&self, image: &[T], out: &mut [f32], result: impl Fn(&Channel, T) -> f32) {
        let size = image.len() / self.channels.len();
        match self.channels.as_slice() {
            [red, green, blue] if self.channels_last => {
                let (r, rest) = image.split_at(size);
                let (g, b) = rest.split_at(size);
                for (((out, &r), &g), &b) in out.chunks_exact_mut(3).zip(r).zip(g).zip(b) {
                    out[0] = result(red, r);
                    out[1] = result(green, g);
                    out[2] = result(blue, b);
                }
            }
            channels if self.channels_last => {
                for (at, (channel, plane)) in
                    channels.iter().zip(image.chunks_exact(size)).enumerate()
                {
                    let out = out[at..].iter_mut().step_by(channels.len());
                    out.zip(plane).for_each(|(out, &value)| *out = result(channel, value));
                }
            }
            channels => {
                let planes = image.chunks_exact(size).zip(out.chunks_exact_mut(size));
                for (channel, (plane, out)) in channels.iter().zip(planes) {
                    for (out, &value) in out.iter_mut().zip(plane) {
                        *out = result(channel, value);
                    }
                }
            }
        }
    }
}

/// A byte as a number in [0, 1].
#[inline(always)]
pub fn unit(byte: u8) -> f32 {
    f32::from(byte) / 255.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_values_give_the_same_bits() {
        for order in [InputOrder::ChannelsFirst, InputOrder::ChannelsLast] {
            let normalise = Normalise::new(&[0.1307, 0.5], &[0.3081, 0.25], order);
            let pixels: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
            let (mut out, mut from_values) = (vec![0.0; 512], vec![0.0; 512]);
            normalise.bytes(&pixels, &mut out);
            let values: Vec<f32> = pixels.iter().map(|&byte| unit(byte)).collect();
            normalise.values(&values, &mut from_values);
            assert_eq!(out, from_values);
            assert_eq!(out[0], (0.0 - 0.1307) / 0.3081);
            let second = if order == InputOrder::ChannelsLast { 1 } else { 256 };
            assert_eq!(out[second], 2.0);
        }
    }

    #[test]
    fn channels_last_is_the_transpose() {
        for channels in 1..=4 {
            let (mean, std) = (vec![0.25; channels], vec![0.5; channels]);
            let pixels: Vec<u8> = (0..channels * 35).map(|i| (i * 3 % 256) as u8).collect();
            let [mut first, mut last] = [0, 1].map(|_| vec![0.0; pixels.len()]);
            Normalise::new(&mean, &std, InputOrder::ChannelsFirst).bytes(&pixels, &mut first);
            Normalise::new(&mean, &std, InputOrder::ChannelsLast).bytes(&pixels, &mut last);
            for (at, &value) in first.iter().enumerate() {
                assert_eq!(last[at % 35 * channels + at / 35], value);
            }
        }
    }
}
