//! The non-linearity after a hidden layer. Every derivative is computed from the output, so nothing
//! else is kept.

use super::{Flow, GradientReady, Layer, Pass, Shape};
use crate::spec::activation::Activation as Function;
use crate::train::error::TrainError;
use crate::train::kernel::simd::vectorized;
use crate::train::kernel::{Buffer, Real};

/// y = f(x), element by element.
pub struct Activation {
    function: Function,
    shape: Shape,
}

impl Activation {
    /// The layer.
    pub fn new(function: Function, shape: Shape) -> Self {
        Self { function, shape }
    }
}

/// `y[i] = f(x[i])`, vectorised.
fn map<T: Real>(x: &[T], y: &mut [T], f: impl Fn(T) -> T) {
    vectorized(
        #[inline(always)]
        || {
            for (y, &x) in y.iter_mut().zip(x) {
                *y = f(x);
            }
        },
    );
}

/// `dx[i] = f'(y[i], dy[i])`, vectorised.
fn map_back<T: Real>(y: &[T], dy: &[T], dx: &mut [T], f: impl Fn(T, T) -> T) {
    vectorized(
        #[inline(always)]
        || {
            for ((dx, &dy), &y) in dx.iter_mut().zip(dy).zip(y) {
                *dx = f(y, dy);
            }
        },
    );
}

impl<T: Real> Layer<T> for Activation {
    fn forward(
        &mut self,
        input: &Buffer<T>,
        output: &mut Buffer<T>,
        pass: &Pass,
    ) -> Result<(), TrainError> {
        let len = pass.samples * self.shape.units();
        let (input, capacity) = (input.read()?, output.lane_len());
        let function = &self.function;
        output.write(|output| {
            for (lane, y) in output.chunks_exact_mut(capacity).enumerate() {
                let (x, y) = (input.lane(lane, len), &mut y[..len]);
                match function {
                    // Written so that NaN stays NaN.
                    Function::Relu => {
                        map(
                            x,
                            y,
                            #[inline(always)]
                            |x| if x <= T::ZERO { T::ZERO } else { x },
                        );
                    }
                    Function::Sigmoid => {
                        map(
                            x,
                            y,
                            #[inline(always)]
                            |x| T::ONE / (T::ONE + (T::ZERO - x).exp()),
                        );
                    }
                    Function::Tanh => map(
                        x,
                        y,
                        #[inline(always)]
                        |x| x.tanh(),
                    ),
                }
            }
        })
    }

    fn backward(
        &mut self,
        flow: Flow<'_, T>,
        pass: &Pass,
        _ready: &mut GradientReady<'_, T>,
    ) -> Result<(), TrainError> {
        let Some(input_gradient) = flow.input_gradient else { return Ok(()) };
        let len = pass.samples * self.shape.units();
        let (output, gradient) = (flow.output.read()?, flow.gradient.read()?);
        let (capacity, function) = (input_gradient.lane_len(), &self.function);
        input_gradient.write(|input_gradient| {
            for (lane, dx) in input_gradient.chunks_exact_mut(capacity).enumerate() {
                let (y, dy) = (output.lane(lane, len), gradient.lane(lane, len));
                let dx = &mut dx[..len];
                match function {
                    Function::Relu => {
                        map_back(
                            y,
                            dy,
                            dx,
                            #[inline(always)]
                            |y, dy| {
                                if y > T::ZERO { dy } else { T::ZERO }
                            },
                        );
                    }
                    Function::Sigmoid => {
                        map_back(
                            y,
                            dy,
                            dx,
                            #[inline(always)]
                            |y, dy| dy * y * (T::ONE - y),
                        );
                    }
                    Function::Tanh => {
                        map_back(
                            y,
                            dy,
                            dx,
                            #[inline(always)]
                            |y, dy| dy * (T::ONE - y * y),
                        );
                    }
                }
            }
        })
    }

    fn output_shape(&self) -> Shape {
        self.shape
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::layer::Mode;
    use crate::train::layer::gradient_check::{check_layer, run_layer};

    #[test]
    fn gradients_equal_finite_differences() {
        for function in [Function::Relu, Function::Sigmoid, Function::Tanh] {
            check_layer(&mut Activation::new(function, Shape::flat(7)), Shape::flat(7), 4);
        }
    }

    #[test]
    fn values_and_derivatives_at_known_points() {
        let x = [-2.0, 0.0, 1.0];
        let run = |function| {
            let mut layer = Activation::new(function, Shape::flat(3));
            run_layer(&mut layer, &x, &[1.0; 3], Mode::Train { step: 0 })
        };
        let (y, dx) = run(Function::Relu);
        assert_eq!((y, dx), (vec![0.0, 0.0, 1.0], vec![0.0, 0.0, 1.0]));
        let (y, dx) = run(Function::Sigmoid);
        assert!((y[0] - 0.119_202_922_022_117_6).abs() < 1e-12 && y[1] == 0.5 && dx[1] == 0.25);
        let (y, dx) = run(Function::Tanh);
        assert!((y[2] - 0.761_594_155_955_764_9).abs() < 1e-12 && dx[1] == 1.0);
    }

    #[test]
    fn nan_is_not_lost() {
        for function in [Function::Relu, Function::Sigmoid, Function::Tanh] {
            let mut layer = Activation::new(function, Shape::flat(1));
            assert!(run_layer(&mut layer, &[f64::NAN], &[1.0], Mode::Evaluate).0[0].is_nan());
        }
    }
}
