//! One image through all operations of an augmentation, normalisation last.

use std::cell::RefCell;

use crate::spec::augmentation::Augmentation;
use crate::spec::operation::Operation;
use crate::train::data::DataSplits;
use crate::train::model::InputOrder;
use crate::train::rng::{Purpose, Stream};

use super::canvas::{Canvas, Memory};
use super::crop;
use super::mixup::Mixup;
use super::normalise::Normalise;
use super::program::Program;
use super::step::Step;
use super::surface::Surface;
use super::window::{Lookup, Window};

thread_local! {
    /// So that no image is allocated for and a pipeline can be shared.
    static MEMORY: RefCell<Memory> = RefCell::new(Memory::default());
}

/// Everything that happens to an image between the data set and the network.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    stored: [usize; 3],
    output: [usize; 3],
    steps: Vec<Step>,
    mean: Vec<f32>,
    normalise: Normalise,
    mixup: Option<Mixup>,
}

/// What of an image is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// Where the network's part of the image is cut out.
    pub place: Place,
    /// Left for right?
    pub mirrored: bool,
}

/// Where a part of an image is cut out (torchvision's `five_crop`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The middle.
    Centre,
    /// The corner above on the left.
    TopLeft,
    /// The corner above on the right.
    TopRight,
    /// The corner below on the left.
    BottomLeft,
    /// The corner below on the right.
    BottomRight,
}

impl View {
    /// The middle of the image, as it is.
    pub const CENTRE: Self = Self { place: Place::Centre, mirrored: false };
}

impl Place {
    /// First row and column of a cut of `cut` from an image of `size`; negative where the cut is
    /// larger.
    fn of(self, size: [usize; 2], cut: [usize; 2]) -> [i32; 2] {
        let end = [0, 1].map(|axis| size[axis] as i32 - cut[axis] as i32);
        match self {
            Self::Centre => [0, 1].map(|axis| crop::centre(size[axis], cut[axis])),
            Self::TopLeft => [0, 0],
            Self::TopRight => [0, end[1]],
            Self::BottomLeft => [end[0], 0],
            Self::BottomRight => end,
        }
    }
}

impl Pipeline {
    /// Prepares an augmentation for a data set, whose images it writes in `order`; looks at the
    /// training part's colours if needed.
    pub fn new(augmentation: &Augmentation, data: &DataSplits, order: InputOrder) -> Self {
        let operations = augmentation.operations();
        let [channels, height, width] = data.shape;
        let [out_height, out_width] = augmentation.output_size([height, width]);
        Self {
            stored: data.shape,
            output: [channels, out_height, out_width],
            steps: operations.iter().filter_map(|operation| Step::new(operation, data)).collect(),
            mean: data.mean.clone(),
            normalise: Normalise::new(&data.mean, &data.std, order),
            mixup: operations.iter().find_map(|operation| match operation {
                Operation::Mixup { alpha } => Some(Mixup::new(*alpha)),
                _ => None,
            }),
        }
    }

    /// The same for a network that takes `size` (height, width): where the augmentation gives more,
    /// the middle is cut out, and black is put around where it gives less.
    pub fn cut_to(self, [height, width]: [usize; 2]) -> Self {
        let [channels, ..] = self.output;
        Self { output: [channels, height, width], ..self }
    }

    /// Shape of the image that the network is given: channels, height, width.
    pub fn output_shape(&self) -> [usize; 3] {
        self.output
    }

    /// What is done to a whole batch of filled images, if anything.
    pub fn mixup(&self) -> Option<&Mixup> {
        self.mixup.as_ref()
    }

    /// Writes the augmented and normalised image, of the output shape in the order asked for. The
    /// result depends on `seed`, `epoch`, `sample` (index in the training part) and the pixels, and
    /// on nothing else.
    ///
    /// # Panics
    /// If `pixels` is not as large as an image of the data set, or `out` as the output shape.
    pub fn fill(&self, seed: u64, epoch: u32, sample: usize, pixels: &[u8], out: &mut [f32]) {
        self.check(pixels, out);
        if self.steps.is_empty() && self.output == self.stored {
            self.normalise.bytes(pixels, out);
            return;
        }
        MEMORY.with_borrow_mut(|memory| {
            let mut canvas = Canvas::new(pixels, self.stored, memory);
            self.draw(seed, epoch, sample, &mut canvas);
            canvas.finish(&self.normalise, out);
        });
    }

    /// Writes down what [`fill`](Self::fill) does to an image before it is normalised.
    pub fn note(&self, seed: u64, epoch: u32, sample: usize, program: &mut Program) {
        program.begin(self.stored);
        self.draw(seed, epoch, sample, program);
    }

    /// Draws what is done to an image and does it.
    fn draw(&self, seed: u64, epoch: u32, sample: usize, image: &mut impl Surface) {
        let [_, height, width] = self.output;
        let output = [height, width];
        let mut draws = Stream::new(seed, Purpose::Augment, epoch, sample as u32).reader();
        for step in &self.steps {
            step.apply(&mut draws, image, &self.mean);
        }
        let size = image.size();
        if size != output {
            image.cut([0, 1].map(|axis| crop::centre(size[axis], output[axis])), output);
        }
    }

    /// Writes the normalised image without augmentation, as it is evaluated: the part of the output
    /// shape that `view` says, black where that is larger than the image.
    ///
    /// # Panics
    /// If `pixels` is not as large as an image of the data set, or `out` as the output shape.
    pub fn fill_plain(&self, pixels: &[u8], view: View, out: &mut [f32]) {
        self.fill_padded(pixels, view, 0, out);
    }

    /// The same, with `padding` black pixels on each side of the image before the view is cut out.
    ///
    /// # Panics
    /// If `pixels` is not as large as an image of the data set, or `out` as the output shape.
    pub fn fill_padded(&self, pixels: &[u8], view: View, padding: usize, out: &mut [f32]) {
        self.check(pixels, out);
        let [_, height, width] = self.stored;
        let [_, out_height, out_width] = self.output;
        MEMORY.with_borrow_mut(|memory| {
            let mut canvas = Canvas::new(pixels, self.stored, memory);
            let cut = [out_height, out_width];
            let padded = [height, width].map(|side| side + 2 * padding);
            let place = view.place.of(padded, cut).map(|start| start - padding as i32);
            canvas.cut(place, cut);
            if view.mirrored {
                canvas.flip(true);
            }
            canvas.finish(&self.normalise, out);
        });
    }

    /// Are all of its operations on one image cuts and mirror images?
    pub fn is_window(&self) -> bool {
        self.steps.iter().all(|step| matches!(step, Step::Crop { .. } | Step::Flip(_)))
    }

    /// What [`fill`](Self::fill) shows of an image; for pipelines that [are windows](Self::is_window).
    ///
    /// # Panics
    /// If it is none.
    pub fn shown(&self, seed: u64, epoch: u32, sample: usize) -> Lookup {
        let [_, height, width] = self.stored;
        let mut draws = Stream::new(seed, Purpose::Augment, epoch, sample as u32).reader();
        let mut window = Window::whole([height, width]);
        for step in &self.steps {
            window = match step {
                Step::Crop { padding, size } => {
                    let cut = size.of(window.size());
                    window.cut(crop::draw(&mut draws, window.size(), *padding, cut), cut)
                }
                Step::Flip(p) if draws.uniform() < *p => window.mirror(),
                Step::Flip(_) => window,
                _ => unreachable!("invariant: a window"),
            };
        }
        let (size, [_, out_height, out_width]) = (window.size(), self.output);
        let output = [out_height, out_width];
        if size != output {
            let middle = [0, 1].map(|axis| crop::centre(size[axis], output[axis]));
            window = window.cut(middle, output);
        }
        window.lookup(width)
    }

    /// What [`fill_padded`](Self::fill_padded) shows of an image.
    pub fn shown_plain(&self, view: View, padding: usize) -> Lookup {
        self.view(view, padding).lookup(self.stored[2])
    }

    /// The window of an evaluation.
    fn view(&self, view: View, padding: usize) -> Window {
        let [_, height, width] = self.stored;
        let [_, out_height, out_width] = self.output;
        let cut = [out_height, out_width];
        let padded = [height, width].map(|side| side + 2 * padding);
        let place = view.place.of(padded, cut).map(|start| start - padding as i32);
        let window = Window::whole([height, width]).cut(place, cut);
        if view.mirrored { window.mirror() } else { window }
    }

    /// Channels, pixels and width of a stored image, height and width of the output, and 1 if the
    /// channels of a pixel are neighbours there: for kernels.
    pub fn geometry(&self) -> [u32; 6] {
        let ([channels, height, width], [_, out_height, out_width]) = (self.stored, self.output);
        let last = usize::from(self.normalise.is_channels_last());
        [channels, height * width, width, out_height, out_width, last].map(|size| size as u32)
    }

    /// Adds what every byte of every channel becomes to `table`.
    pub fn tables(&self, table: &mut Vec<f32>) {
        self.normalise.tables().for_each(|channel| table.extend(channel));
    }

    /// Mean and deviation of every channel, one channel after the other.
    pub fn colours(&self) -> Vec<f32> {
        self.normalise.colours().flatten().collect()
    }

    /// Shape of a stored image: channels, height, width.
    pub fn stored_shape(&self) -> [usize; 3] {
        self.stored
    }

    /// Are the channels of a pixel neighbours in what is written?
    pub fn is_channels_last(&self) -> bool {
        self.normalise.is_channels_last()
    }

    fn check(&self, pixels: &[u8], out: &[f32]) {
        let [stored, output] =
            [self.stored, self.output].map(|shape| shape.iter().product::<usize>());
        assert_eq!(pixels.len(), stored, "invariant: pixels of one image");
        assert_eq!(out.len(), output, "invariant: room for one image");
    }
}

#[cfg(test)]
#[path = "pipeline_tests.rs"]
mod tests;
