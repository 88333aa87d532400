//! What is done to one image, written down for an accelerator.
//!
//! A list of operations becomes a row of *segments*, and a launch makes one. A segment looks for each
//! of its pixels in the image before, through two windows with a map between them (a motion or a resized
//! cut), and then changes the pixel's colours. A new segment begins where pixels must be looked at that are not
//! there yet: at geometry that follows colours, at a second map, and at a change of contrast, whose mean is over
//! the whole image. How many segments there are, their sizes, and how many changes each may have depends on the
//! list alone; what they do, on the draws.

use std::ops::Range;

use super::affine::{Affine, Positions};
use super::cutout::Square;
use super::jitter::{Blend, Jitter};
use super::surface::Surface;
use super::window::Window;
use crate::train::kernel::resize::Cut;

/// What the kernels of `augment.cu` call a window's and a change's numbers, and all of a segment's
/// that are not of changes.
const HEAD: usize = 29;

/// Numbers of a change.
const CHANGE: usize = 5;

/// What is done to one image, from its bytes to what is normalised.
#[derive(Debug, Default)]
pub struct Program {
    channels: usize,
    segments: Vec<Segment>,
    changes: Vec<Change>,
}

/// A part of a program that one launch does.
#[derive(Debug, Clone)]
pub struct Segment {
    /// Height and width of the image before.
    from: [usize; 2],
    /// Are numbers of the image before rounded to bytes first?
    rounds: bool,
    /// What of the image before the map sees.
    before: Window,
    map: Map,
    /// Height and width of what the map makes.
    mapped: [usize; 2],
    /// What of that is shown.
    after: Window,
    changes: Range<usize>,
    /// Is the first change one of contrast?
    sums: bool,
}

/// What moves pixels between two windows.
#[derive(Debug, Clone, Copy)]
enum Map {
    Stays,
    Moves(Positions),
    Resizes(Cut),
}

/// A change of colours, or room for one.
#[derive(Debug, Clone, Copy)]
enum Change {
    Nothing,
    Blend(Blend),
    Add([f32; 3]),
    Fill(Square),
}

impl Program {
    /// Begins anew with an image of `shape` (C, H, W) as it is.
    pub fn begin(&mut self, [channels, height, width]: [usize; 3]) {
        self.channels = channels;
        self.segments.clear();
        self.changes.clear();
        self.append([height, width]);
    }

    /// The segments.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Writes number `at` of the segments for image `image` of its part, with room for as many changes as
    /// the widest of all lanes has in that place, into `to`. One that there is not is all 0.
    pub fn encode(&self, at: usize, image: usize, room: usize, to: &mut Vec<u32>) {
        let end = to.len() + record_len(room);
        if let Some(segment) = self.segments.get(at) {
            segment.encode(image, to);
            for change in &self.changes[segment.changes.clone()] {
                change.encode(to);
            }
        }
        to.resize(end, 0);
    }

    fn append(&mut self, from: [usize; 2]) {
        let whole = Window::whole(from);
        let end = self.changes.len();
        self.segments.push(Segment {
            from,
            rounds: false,
            before: whole,
            map: Map::Stays,
            mapped: from,
            after: whole,
            changes: end..end,
            sums: false,
        });
    }

    /// The segment at work.
    fn last(&mut self) -> &mut Segment {
        self.segments.last_mut().expect("invariant: begun")
    }

    /// A segment whose geometry is not closed by changes of colours.
    fn geometry(&mut self) -> &mut Segment {
        if !self.last().changes.is_empty() {
            self.append(self.size());
        }
        self.last()
    }

    /// Puts a map behind the windows so far, which makes an image of `size`.
    fn put(&mut self, map: Map, size: [usize; 2]) {
        if !matches!(self.geometry().map, Map::Stays) {
            self.append(self.size());
        }
        let segment = self.last();
        segment.rounds = true;
        segment.map = map;
        segment.mapped = size;
        segment.after = Window::whole(size);
    }

    fn change(&mut self, change: Change) {
        self.changes.push(change);
        let end = self.changes.len();
        self.last().changes.end = end;
    }

    /// A change by `blend`, if it is one.
    fn blend(&mut self, blend: Blend) {
        let changes = blend.changes(self.channels);
        self.change(if changes { Change::Blend(blend) } else { Change::Nothing });
    }
}

impl Surface for Program {
    fn size(&self) -> [usize; 2] {
        self.segments.last().expect("invariant: begun").size()
    }

    fn cut(&mut self, place: [i32; 2], size: [usize; 2]) {
        let segment = self.geometry();
        segment.rounds = true;
        segment.look(|window| window.cut(place, size));
    }

    fn flip(&mut self, happens: bool) {
        let segment = self.geometry();
        if happens {
            segment.rounds = true;
            segment.look(Window::mirror);
        }
    }

    fn move_by(&mut self, affine: &Affine) {
        self.put(Map::Moves(affine.positions()), self.size());
    }

    fn resize(&mut self, cut: &Cut, size: [usize; 2]) {
        self.put(Map::Resizes(*cut), size);
    }

    /// What may be drawn before and after the contrast differs from image to image: there is room for
    /// all of it on both sides.
    fn jitter(&mut self, jitter: &Jitter, blends: [Blend; 4]) {
        let others = blends.iter().filter(|blend| jitter.draws(blend) && !blend.is_contrast());
        let room = others.count();
        let mut used = 0;
        for blend in blends.into_iter().filter(|blend| jitter.draws(blend)) {
            if blend.is_contrast() {
                (used..room).for_each(|_| self.change(Change::Nothing));
                used = 0;
                self.append(self.size());
                self.last().sums = true;
            } else {
                used += 1;
            }
            self.blend(blend);
        }
        (used..room).for_each(|_| self.change(Change::Nothing));
    }

    fn add(&mut self, shift: [f32; 3]) {
        self.change(Change::Add(shift));
    }

    fn fill(&mut self, square: Option<Square>, _values: &[f32]) {
        self.change(square.map_or(Change::Nothing, Change::Fill));
    }
}

impl Segment {
    /// Height and width of the image that it makes.
    pub fn size(&self) -> [usize; 2] {
        self.after.size()
    }

    /// Height and width of the image before it.
    pub fn from(&self) -> [usize; 2] {
        self.from
    }

    /// Changes that it has room for.
    pub fn changes(&self) -> usize {
        self.changes.len()
    }

    /// Does it begin with a change of contrast?
    pub fn sums(&self) -> bool {
        self.sums
    }

    /// Height and width of what its map makes.
    pub fn mapped(&self) -> [usize; 2] {
        self.mapped
    }

    /// Height and width of the image of which a cut is resized, if that is its map.
    pub fn resized(&self) -> Option<[usize; 2]> {
        matches!(self.map, Map::Resizes(_)).then(|| self.before.size())
    }

    /// Changes the window at the end.
    fn look(&mut self, change: impl FnOnce(Window) -> Window) {
        if matches!(self.map, Map::Stays) {
            self.before = change(self.before);
            self.mapped = self.before.size();
            self.after = Window::whole(self.mapped);
        } else {
            self.after = change(self.after);
        }
    }

    fn encode(&self, image: usize, to: &mut Vec<u32>) {
        let end = to.len() + HEAD;
        to.extend([image as u32, u32::from(self.rounds)]);
        for window in [&self.before, &self.after] {
            to.extend(window.numbers().map(i32::cast_unsigned));
        }
        match self.map {
            Map::Stays => to.push(0),
            Map::Moves(Positions::Exact { start: [x, y], step: [xx, yy] }) => {
                to.push(1);
                [x, xx, y, yy].iter().for_each(|number| to.extend(halves(number.to_bits())));
            }
            Map::Moves(Positions::Fixed { x, y }) => {
                to.push(2);
                let numbers = x.iter().chain(&y);
                numbers.for_each(|number| to.extend(halves(number.cast_unsigned())));
            }
            Map::Resizes(Cut { top, left, size }) => {
                to.push(3);
                to.extend([top, left, size[0], size[1]].map(|number| number as u32));
            }
        }
        to.resize(end, 0);
    }
}

/// Numbers of a segment with room for so many changes.
pub fn record_len(room: usize) -> usize {
    HEAD + CHANGE * room
}

/// The lower half first.
fn halves(number: u64) -> [u32; 2] {
    [number as u32, (number >> 32) as u32]
}

impl Change {
    fn encode(self, to: &mut Vec<u32>) {
        let one = |kind: u32, factor: f32| [kind, factor.to_bits(), 0, 0, 0];
        to.extend(match self {
            Self::Nothing => [0; CHANGE],
            Self::Blend(Blend::Brightness(factor)) => one(1, factor),
            Self::Blend(Blend::Contrast(factor)) => one(2, factor),
            Self::Blend(Blend::Saturation(factor)) => one(3, factor),
            Self::Blend(Blend::Hue(turn)) => one(4, turn),
            Self::Add([red, green, blue]) => [5, red.to_bits(), green.to_bits(), blue.to_bits(), 0],
            Self::Fill([rows, columns]) => {
                let [top, bottom, left, right] =
                    [rows[0], rows[1], columns[0], columns[1]].map(|edge| edge as u32);
                [6, top, bottom, left, right]
            }
        });
    }
}
