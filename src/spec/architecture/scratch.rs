//! The scratch memory of a network's kernels, in numbers, from the geometry of its layers.
//!
//! The engine decides these sizes where it computes (`train/layer/conv2d/`); what stands here repeats
//! its rules for a forecast, and a test of the engine holds one against the other.

use super::Architecture;
use super::layer::{Layer, Operation, Shape};
use super::window::Window;

/// Numbers of a tile of patches, and the rows that it has at least.
const TILE: [usize; 2] = [1 << 18, 128];

/// Kernels that Winograd's minimal filtering takes, each with the pixels of a tile's output along one
/// axis.
const WINOGRAD: [[usize; 2]; 2] = [[3, 4], [5, 2]];

/// Numbers of a tile and channel, transformed.
const POINTS: usize = 36;

/// Tiles that go through together, and how often so many are kept at once.
const PARTS: [usize; 2] = [64, 4];

/// Parts of a batch whose weight gradients patches keep at most, output pixels that one has at least,
/// and numbers of those gradients at most.
const SHARE: [usize; 3] = [8, 1024, 1 << 22];

/// Sums of a matrix product are cut into pieces of about this length.
const DEPTH: usize = 512;

/// Columns up to which a matrix product packs both of its factors.
const COLUMNS: usize = 768;

impl Architecture {
    /// Numbers of the memory that convolutions borrow, as much as the one that needs most, where up
    /// to `images` pass at once on one thread.
    pub fn workspace(&self, images: usize) -> usize {
        let convolutions = self.working_layers().filter_map(|layer| match layer.operation {
            Operation::Conv2d { window, groups, .. } => Some((layer, window, groups)),
            _ => None,
        });
        let needs = convolutions.map(|(layer, window, groups)| {
            let tiles = Some(window)
                .filter(|window| (window.stride, window.dilation, groups) == (1, 1, 1))
                .and_then(|window| winograd_tiles(layer, window));
            match tiles {
                Some(tiles) => winograd(layer, tiles, images),
                None => patches(layer, (window, groups), images),
            }
        });
        needs.max().unwrap_or(0)
    }

    /// Numbers that the largest matrix product packs its factors into, for batches of `images`.
    pub fn packed(&self, images: usize) -> usize {
        let product = |[rows, columns, depth]: [usize; 3]| {
            let pieces = depth.div_ceil(DEPTH).max(1);
            depth.div_ceil(pieces) * (rows + columns.min(COLUMNS))
        };
        let of = |layer: &Layer| match layer.operation {
            Operation::Linear { units, .. } => {
                let inputs = layer.input.units();
                let forward = product([images, units, inputs]);
                let weights = product([units, inputs, images]);
                forward.max(weights).max(product([images, inputs, units]))
            }
            Operation::Conv2d { channels, window, groups, .. } => {
                let depth = layer.input.channels / groups * window.kernel * window.kernel;
                let rows = (TILE[0] / depth.max(1)).max(TILE[1]);
                let forward = product([rows, channels, depth]);
                forward.max(product([channels, depth, rows]))
            }
            _ => 0,
        };
        self.working_layers().map(of).max().unwrap_or(0)
    }
}

/// Rows and columns of tiles of one image, where Winograd's products are at most half of the
/// definition's, products with the border not counted.
fn winograd_tiles(layer: &Layer, window: Window) -> Option<usize> {
    let [kernel, outputs] = WINOGRAD.into_iter().find(|[kernel, _]| *kernel == window.kernel)?;
    let (input, output) = (layer.input, layer.output);
    let taps = |inputs: usize, outputs: usize| -> usize {
        let inside = |&tap: &usize| tap >= window.padding && tap < inputs + window.padding;
        (0..outputs).map(|output| (output..output + kernel).filter(inside).count()).sum()
    };
    let direct = taps(input.height, output.height) * taps(input.width, output.width);
    let tiles = output.height.div_ceil(outputs) * output.width.div_ceil(outputs);
    let whole = |shape: Shape| shape.channels >= 16 && shape.channels.is_multiple_of(8);
    let suits = whole(input) && whole(output);
    (suits && 2 * tiles * POINTS <= direct).then_some(tiles)
}

/// Transformed weights, their gradients, and the transformed inputs and outputs of some tiles.
fn winograd(layer: &Layer, tiles: usize, images: usize) -> usize {
    let [least, most] = PARTS;
    let (inputs, outputs) = (layer.input.channels, layer.output.channels);
    let samples = least.div_ceil(tiles);
    let parts = images.div_ceil(samples).min(most);
    2 * POINTS * inputs * outputs + parts * POINTS * samples * tiles * (inputs + outputs)
}

/// Patches and outputs of a tile, weights and their gradients of one group of channels, and the
/// gradients of all weights for every part of the batch.
fn patches(layer: &Layer, (window, groups): (Window, usize), images: usize) -> usize {
    let (inputs, outputs) = (layer.input.channels / groups, layer.output.channels / groups);
    let rows = |depth: usize| (TILE[0] / depth.max(outputs)).max(TILE[1]);
    let depth = inputs * window.kernel * window.kernel;
    // In a corner of the image fewer taps are left, and a tile has the more rows.
    let corner = inputs * window.kernel.saturating_sub(window.padding).max(1).pow(2);
    let [most, pixels, numbers] = SHARE;
    let (output, weights) = (layer.output, groups * outputs * depth);
    let parts = (images * output.height * output.width / pixels).min(numbers / weights.max(1));
    let each = images.div_ceil(parts.clamp(1, most)).max(1);
    rows(depth) * depth
        + rows(corner) * outputs
        + 2 * outputs * depth
        + images.div_ceil(each) * weights
}
