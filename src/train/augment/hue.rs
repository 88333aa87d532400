//! A turn of the hue: from red, green and blue to hue, saturation and value (Smith, 1978), the hue
//! turned, and back, as torchvision does for images in [0, 1].

use crate::train::kernel::simd::vectorized;

/// Turns the hue of an image of shape (3, H, W) with values in [0, 1] by `turn`, a part of the
/// circle from -1/2 to 1/2. Value and saturation stay.
pub fn turn(image: &mut [f32], turn: f32) {
    let (red, rest) = image.split_at_mut(image.len() / 3);
    let (green, blue) = rest.split_at_mut(red.len());
    vectorized(
        #[inline(always)]
        || {
            for ((r, g), b) in red.iter_mut().zip(green).zip(blue) {
                let most = r.max(*g).max(*b);
                let range = most - r.min(*g).min(*b);
                // Grey has no hue; any divisor gives it the range of 0 that it is brought back with.
                let divisor = if range == 0.0 { 1.0 } else { range };
                // In sixths of the circle, red at 0 (or 6), green at 2, blue at 4.
                let sixths = if *r == most {
                    (*g - *b) / divisor
                } else if *g == most {
                    2.0 + (*b - *r) / divisor
                } else {
                    4.0 + (*r - *g) / divisor
                } + 6.0 * turn;
                *r = channel(sixths + 5.0, most, range);
                *g = channel(sixths + 3.0, most, range);
                *b = channel(sixths + 1.0, most, range);
            }
        },
    );
}

/// One colour of the pixel whose largest is `most` and which is `place` sixths of the circle away
/// from having it least of all: it falls from `most` by `range` over a sixth, stays two sixths, and
/// rises again.
#[inline(always)]
fn channel(place: f32, most: f32, range: f32) -> f32 {
    let place = place - 6.0 * (place * (1.0 / 6.0)).floor();
    (most - range * place.min(4.0 - place).clamp(0.0, 1.0)).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn turned(pixel: [f32; 3], by: f32) -> [f32; 3] {
        let mut image = pixel;
        turn(&mut image, by);
        image
    }

    fn close(a: [f32; 3], b: [f32; 3]) -> bool {
        a.iter().zip(b).all(|(a, b)| (a - b).abs() < 2e-6)
    }

    #[test]
    fn thirds_of_the_circle_exchange_the_colours() {
        let pixel = [0.75, 0.5, 0.25];
        assert!(close(turned(pixel, 1.0 / 3.0), [0.25, 0.75, 0.5]));
        assert!(close(turned(pixel, -1.0 / 3.0), [0.5, 0.25, 0.75]));
        assert!(close(turned([1.0, 0.0, 0.0], 0.5), [0.0, 1.0, 1.0]));
    }

    #[test]
    fn grey_stays_as_it_is() {
        for grey in [0.0, 0.3, 1.0] {
            assert_eq!(turned([grey; 3], 0.2), [grey; 3]);
        }
    }

    proptest! {
        #[test]
        fn a_turn_back_restores_the_pixel(
            pixel in proptest::array::uniform3(0.0_f32..1.0), by in -0.5_f32..0.5,
        ) {
            let there = turned(pixel, by);
            let extent = |p: [f32; 3]| [p[0].max(p[1]).max(p[2]), p[0].min(p[1]).min(p[2])];
            let (old, new) = (extent(pixel), extent(there));
            prop_assert!((old[0] - new[0]).abs() < 2e-6 && (old[1] - new[1]).abs() < 2e-6);
            prop_assert!(turned(there, -by).iter().zip(pixel).all(|(a, b)| (a - b).abs() < 2e-5));
        }
    }
}
