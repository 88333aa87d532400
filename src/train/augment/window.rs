//! Cuts and mirror images of an image, put together without touching a pixel: any sequence of them
//! shows a rectangle of the image, perhaps mirrored, on black.

/// Which pixel of an image stands where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Height and width of what is shown.
    size: [usize; 2],
    /// Row and column of the image for the first pixel shown; may lie outside of it.
    first: [i32; 2],
    mirrored: bool,
    /// Rows and columns of what is shown that are not black: from, to.
    lit: [[i32; 2]; 2],
}

impl Window {
    /// An image of `size` as it is.
    pub fn whole(size: [usize; 2]) -> Self {
        let lit = size.map(|side| [0, side as i32]);
        Self { size, first: [0, 0], mirrored: false, lit }
    }

    /// Height and width of what is shown.
    pub fn size(&self) -> [usize; 2] {
        self.size
    }

    /// Is an image of `size` shown as it is?
    pub fn is_whole(&self, size: [usize; 2]) -> bool {
        *self == Self::whole(size)
    }

    /// What a cut of `size` at `place` (row, column) shows; it may reach outside, where it is black.
    pub fn cut(self, place: [i32; 2], size: [usize; 2]) -> Self {
        let [top, left] = place;
        let [row, column] = self.first;
        let column = if self.mirrored { column - left } else { column + left };
        let lit = [0, 1].map(|axis| {
            self.lit[axis].map(|edge| (edge - place[axis]).clamp(0, size[axis] as i32))
        });
        Self { size, first: [row + top, column], mirrored: self.mirrored, lit }
    }

    /// The same, left for right.
    pub fn mirror(self) -> Self {
        let width = self.size[1] as i32;
        let [row, column] = self.first;
        let last = if self.mirrored { column - (width - 1) } else { column + (width - 1) };
        let [from, to] = self.lit[1];
        Self {
            first: [row, last],
            mirrored: !self.mirrored,
            lit: [self.lit[0], [width - to, width - from]],
            ..self
        }
    }

    /// Writes what is shown of `from` (C, H, W), with rows of `width` pixels, into `to`.
    pub fn copy(&self, from: &[u8], [height, width]: [usize; 2], to: &mut [u8]) {
        let [shown_height, shown_width] = self.size;
        let [rows, columns] = self.lit.map(|[from, to]| from as usize..to as usize);
        if columns.is_empty() || rows.is_empty() {
            to.fill(0);
            return;
        }
        let planes = from.chunks_exact(height * width);
        for (from, to) in planes.zip(to.chunks_exact_mut(shown_height * shown_width)) {
            for (y, row) in to.chunks_exact_mut(shown_width).enumerate() {
                if !rows.contains(&y) {
                    row.fill(0);
                    continue;
                }
                let line = &from[(self.first[0] + y as i32) as usize * width..][..width];
                row[..columns.start].fill(0);
                row[columns.end..].fill(0);
                let row = &mut row[columns.clone()];
                let start = columns.start as i32;
                if self.mirrored {
                    let end = (self.first[1] - start) as usize + 1;
                    let line = line[end - row.len()..end].iter().rev();
                    row.iter_mut().zip(line).for_each(|(out, &pixel)| *out = pixel);
                } else {
                    let start = (self.first[1] + start) as usize;
                    row.copy_from_slice(&line[start..start + row.len()]);
                }
            }
        }
    }

    /// The window for kernels: row and column of the image for the first pixel shown, the step from
    /// column to column, rows and columns that are not black, from and to.
    pub fn numbers(&self) -> [i32; 7] {
        let ([row, column], [rows, columns]) = (self.first, self.lit);
        let across = if self.mirrored { -1 } else { 1 };
        [row, column, across, rows[0], rows[1], columns[0], columns[1]]
    }

    /// How to find pixels of the image: place in a plane of rows of `width` pixels for (row, column)
    /// of what is shown; and what is not black: rows and columns, from and to.
    pub fn lookup(&self, width: usize) -> Lookup {
        let across = if self.mirrored { -1 } else { 1 };
        let [row, column] = self.first;
        Lookup {
            origin: row * width as i32 + column,
            step: [width as i32, across],
            rows: self.lit[0],
            columns: self.lit[1],
        }
    }
}

/// Where the pixels of an image are that a window of it shows.
#[derive(Debug, Clone, Copy)]
pub struct Lookup {
    /// Place of (0, 0).
    pub origin: i32,
    /// Change from row to row and from column to column.
    pub step: [i32; 2],
    /// Rows that are not black, from and to.
    pub rows: [i32; 2],
    /// Columns that are not black, from and to.
    pub columns: [i32; 2],
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const IMAGE: [u8; 6] = [1, 2, 3, 4, 5, 6]; // Shape (1, 2, 3).

    fn shown(window: Window) -> Vec<u8> {
        let mut out = vec![99; window.size.iter().product()];
        window.copy(&IMAGE, [2, 3], &mut out);
        out
    }

    #[test]
    fn a_cut_moves_over_the_padded_image() {
        let at = |top, left| shown(Window::whole([2, 3]).cut([top, left], [2, 3]));
        assert_eq!(at(0, 0), IMAGE);
        assert_eq!(at(-1, -1), [0, 0, 0, 0, 1, 2]);
        assert_eq!(at(1, 1), [5, 6, 0, 0, 0, 0]);
        assert_eq!(at(0, -1), [0, 1, 2, 0, 4, 5]);
        assert_eq!(at(0, 3), [0; 6]);
        assert_eq!(at(-9, 9), [0; 6]);
    }

    #[test]
    fn a_mirror_image_reads_from_the_right() {
        let whole = Window::whole([2, 3]);
        assert_eq!(shown(whole.mirror()), [3, 2, 1, 6, 5, 4]);
        assert_eq!(whole.mirror().mirror(), whole);
        assert_eq!(shown(whole.mirror().cut([0, 1], [1, 3])), [2, 1, 0]);
        assert_eq!(shown(whole.cut([0, 1], [1, 3]).mirror()), [0, 3, 2]);
    }

    proptest! {
        /// Windows put together show what one after another would give.
        #[test]
        fn a_sequence_equals_its_steps(
            steps in proptest::collection::vec((any::<bool>(), -4_i32..4, -4_i32..4, 1_usize..6, 1_usize..6), 1..6),
        ) {
            let mut window = Window::whole([2, 3]);
            let (mut image, mut size) = (IMAGE.to_vec(), [2, 3]);
            for (mirror, top, left, height, width) in steps {
                let step = |w: Window| if mirror { w.mirror() } else { w.cut([top, left], [height, width]) };
                window = step(window);
                let single = step(Window::whole(size));
                let mut next = vec![99; single.size.iter().product()];
                single.copy(&image, size, &mut next);
                (image, size) = (next, single.size);
                prop_assert_eq!(&shown(window), &image);
            }
            let look = window.lookup(3);
            for (place, &pixel) in image.iter().enumerate() {
                let [row, column] = [place / size[1], place % size[1]].map(|x| x as i32);
                let lit = (look.rows[0]..look.rows[1]).contains(&row)
                    && (look.columns[0]..look.columns[1]).contains(&column);
                let at = look.origin + row * look.step[0] + column * look.step[1];
                prop_assert_eq!(pixel, if lit { IMAGE[at as usize] } else { 0 });
            }
        }
    }
}
