//! The windows of convolutions and pools.

/// A square window that moves over an image; all in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Taps along one side.
    pub kernel: usize,
    /// From one window to the next.
    pub stride: usize,
    /// Border around the image.
    pub padding: usize,
    /// From one tap to the next.
    pub dilation: usize,
}

impl Window {
    /// A window whose taps are neighbours.
    pub const fn new(kernel: usize, stride: usize, padding: usize) -> Self {
        Self { kernel, stride, padding, dilation: 1 }
    }

    /// Pixels from its first to its last tap.
    pub fn extent(&self) -> usize {
        self.dilation * (self.kernel - 1) + 1
    }

    /// Pixels that a side must have so that the window fits once.
    pub fn least_side(&self) -> usize {
        self.extent().saturating_sub(2 * self.padding).max(1)
    }

    /// Windows along a side of `side` pixels: floor((side + 2 padding - extent) / stride) + 1.
    /// With `ceil` rounded up, but no window may start behind the image and its left border
    /// (PyTorch's `ceil_mode`). `None` if it does not fit once.
    pub fn outputs(&self, side: usize, ceil: bool) -> Option<usize> {
        let room = (side + 2 * self.padding).checked_sub(self.extent())?;
        if side == 0 {
            return None;
        }
        if !ceil {
            return Some(room / self.stride + 1);
        }
        let outputs = room.div_ceil(self.stride) + 1;
        let beyond = (outputs - 1) * self.stride >= side + self.padding;
        Some(outputs - usize::from(beyond))
    }
}

impl std::fmt::Display for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kernel, stride, padding, dilation } = self;
        write!(f, "{kernel} x {kernel}, stride {stride}")?;
        if *padding > 0 {
            write!(f, ", padding {padding}")?;
        }
        if *dilation > 1 {
            write!(f, ", dilation {dilation}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts windows one by one instead of by the formula.
    fn counted(window: Window, side: usize, ceil: bool) -> Option<usize> {
        let (padding, extent) = (window.padding, window.extent());
        let end = side + 2 * padding;
        let starts = (0..).map(|n| n * window.stride);
        let fits = |start: &usize| start + extent <= end;
        let count = starts.clone().take_while(fits).count();
        if count == 0 || side == 0 {
            return None;
        }
        // One more window may stick out, if it starts on the image or its left border.
        let next = starts.clone().nth(count).unwrap();
        let last_end = starts.clone().nth(count - 1).unwrap() + extent;
        let more = ceil && last_end < end && next < side + padding;
        Some(count + usize::from(more))
    }

    #[test]
    fn windows_are_as_many_as_one_counts() {
        for kernel in 1..5 {
            for stride in 1..5 {
                for padding in 0..=kernel / 2 {
                    for dilation in 1..3 {
                        let window = Window { kernel, stride, padding, dilation };
                        for (side, ceil) in (0..14).flat_map(|s| [(s, false), (s, true)]) {
                            let expected = counted(window, side, ceil);
                            assert_eq!(window.outputs(side, ceil), expected, "{window} of {side}");
                            let fits = side >= window.least_side();
                            assert_eq!(expected.is_some(), fits, "{window} of {side}");
                        }
                    }
                }
            }
        }
    }
}
