//! A function of one number as a layer.

#[path = "../accelerated/activation.rs"]
mod accelerated;

use super::function::{self, Function, Visit};
use crate::spec::activation::Activation as Name;
use crate::train::error::TrainError;
use crate::train::kernel::parallel::{BLOCK, for_each_block};
use crate::train::kernel::simd::vectorized;
use crate::train::kernel::{Buffer, Real};
use crate::train::layer::{Flow, GradientReady, Layer, Pass, Shape};

/// y = f(x), element by element; every lane has its own function.
pub struct Activation {
    functions: Vec<Name>,
    shape: Shape,
    /// For kernels.
    tables: accelerated::Tables,
}

impl Activation {
    /// The layer of one function for every lane, for samples of any `shape`.
    pub fn new(functions: Vec<Name>, shape: Shape) -> Self {
        Self { functions, shape, tables: accelerated::Tables::default() }
    }
}

/// `y = f(x)`, without traces.
struct Forward<'a, T> {
    x: &'a [T],
    y: &'a mut [T],
}

impl<T: Real> Visit<T> for Forward<'_, T> {
    fn visit(self, function: impl Function<T>) {
        for_each_block(self.y, BLOCK, |start, y| {
            let x = &self.x[start..start + y.len()];
            vectorized(
                #[inline(always)]
                || {
                    for (y, &x) in y.iter_mut().zip(x) {
                        *y = function.value(x).without_trace();
                    }
                },
            );
        });
    }
}

/// `dx = dy f'(x)`, without traces.
struct Backward<'a, T> {
    x: &'a [T],
    y: &'a [T],
    dy: &'a [T],
    dx: &'a mut [T],
}

impl<T: Real> Visit<T> for Backward<'_, T> {
    fn visit(self, function: impl Function<T>) {
        for_each_block(self.dx, BLOCK, |start, dx| {
            let given = [self.x, self.y, self.dy];
            let [x, y, dy] = given.map(|all| &all[start..start + dx.len()]);
            vectorized(
                #[inline(always)]
                || {
                    let points = x.iter().zip(y).zip(dy);
                    for (dx, ((&x, &y), &dy)) in dx.iter_mut().zip(points) {
                        *dx = (dy * function.slope(x, y)).without_trace();
                    }
                },
            );
        });
    }
}

impl<T: Real> Layer<T> for Activation {
    fn forward(
        &mut self,
        input: &Buffer<T>,
        output: &mut Buffer<T>,
        pass: &Pass,
    ) -> Result<(), TrainError> {
        if let Some(accelerator) = output.accelerator() {
            return self.forward_on(&accelerator, (input, output), pass);
        }
        let len = pass.samples * self.shape.units();
        let (input, capacity) = (input.read()?, output.lane_len());
        output.write(|output| {
            let lanes = output.chunks_exact_mut(capacity).zip(&self.functions);
            for (lane, (y, name)) in lanes.enumerate() {
                function::with(name, Forward { x: input.lane(lane, len), y: &mut y[..len] });
            }
        })
    }

    fn backward(
        &mut self,
        flow: Flow<'_, T>,
        pass: &Pass,
        _ready: &mut GradientReady<'_, T>,
    ) -> Result<(), TrainError> {
        if let Some(accelerator) = flow.gradient.accelerator() {
            return self.backward_on(&accelerator, flow, pass);
        }
        let Some(input_gradient) = flow.input_gradient else { return Ok(()) };
        let len = pass.samples * self.shape.units();
        let (input, output) = (flow.input.read()?, flow.output.read()?);
        let (gradient, capacity) = (flow.gradient.read()?, input_gradient.lane_len());
        input_gradient.write(|input_gradient| {
            let lanes = input_gradient.chunks_exact_mut(capacity).zip(&self.functions);
            for (lane, (dx, name)) in lanes.enumerate() {
                let (x, y) = (input.lane(lane, len), output.lane(lane, len));
                let (dy, dx) = (gradient.lane(lane, len), &mut dx[..len]);
                function::with(name, Backward { x, y, dy, dx });
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

    const ALL: [Name; 10] = [
        Name::Relu,
        Name::LeakyRelu { negative_slope: 0.01 },
        Name::LeakyRelu { negative_slope: 0.3 },
        Name::Elu { alpha: 1.7 },
        Name::Gelu { approximate: false },
        Name::Gelu { approximate: true },
        Name::Silu,
        Name::Sigmoid,
        Name::Tanh,
        Name::Identity,
    ];

    #[test]
    fn gradients_equal_finite_differences() {
        for name in ALL {
            check_layer(&mut Activation::new(vec![name], Shape::flat(7)), Shape::flat(7), 4);
        }
    }

    #[test]
    fn values_and_derivatives_at_known_points() {
        let x = [-2.0, 0.0, 1.0];
        let run = |name| {
            let mut layer = Activation::new(vec![name], Shape::flat(3));
            run_layer(&mut layer, &x, &[1.0; 3], Mode::Train { step: 0 })
        };
        let (y, dx) = run(Name::Relu);
        assert_eq!((y, dx), (vec![0.0, 0.0, 1.0], vec![0.0, 0.0, 1.0]));
        let (y, dx) = run(Name::LeakyRelu { negative_slope: 0.5 });
        assert_eq!((y, dx), (vec![-1.0, 0.0, 1.0], vec![0.5, 0.5, 1.0]));
        let (y, dx) = run(Name::Elu { alpha: 2.0 });
        assert!((y[0] + 1.729_329_433_526_774_6).abs() < 1e-12 && (y[1], dx[1]) == (0.0, 2.0));
        let (y, dx) = run(Name::Gelu { approximate: false });
        assert!((y[2] - 0.841_344_746_068_542_9).abs() < 1e-12 && dx[1] == 0.5, "{y:?}");
        let (y, dx) = run(Name::Silu);
        assert!((y[2] - 0.731_058_578_630_004_9).abs() < 1e-12 && dx[1] == 0.5);
        let (y, dx) = run(Name::Sigmoid);
        assert!((y[0] - 0.119_202_922_022_117_6).abs() < 1e-12 && y[1] == 0.5 && dx[1] == 0.25);
        let (y, dx) = run(Name::Tanh);
        assert!((y[2] - 0.761_594_155_955_764_9).abs() < 1e-12 && dx[1] == 1.0);
        assert_eq!(run(Name::Identity), (x.to_vec(), vec![1.0; 3]));
    }

    #[test]
    fn every_lane_has_its_own_function() {
        let mut layer = Activation::new(vec![Name::Relu, Name::Identity], Shape::flat(1));
        let mut x = Buffer::<f64>::zeros(2, &[1, 1]).unwrap();
        x.write(|x| x.fill(-3.0)).unwrap();
        let mut y = Buffer::<f64>::zeros(2, &[1, 1]).unwrap();
        let pass = Pass { mode: Mode::Evaluate, samples: 1, first_sample: 0 };
        layer.forward(&x, &mut y, &pass).unwrap();
        assert_eq!(*y.read().unwrap(), [0.0, -3.0]);
    }

    #[test]
    fn nan_is_not_lost() {
        let x = |n: usize| vec![f32::NAN; n];
        for name in ALL {
            let mut layer = Activation::new(vec![name.clone()], Shape::flat(1));
            assert!(run_layer(&mut layer, &[f64::NAN], &[1.0], Mode::Evaluate).0[0].is_nan());
            let (x, mut y) = (x(19), vec![0.0; 19]);
            function::with(&name, Forward { x: &x, y: &mut y });
            assert!(y.iter().all(|y| y.is_nan()), "{name:?}");
        }
    }

    #[test]
    fn what_saturated_units_pass_on_is_never_subnormal() {
        let x: Vec<f32> = (-100..=100).map(|x| x as f32).collect();
        let (mut y, mut dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        for name in ALL {
            function::with(&name, Forward { x: &x, y: &mut y });
            for gradient in [1.0, 1e-15, 1e-30, f32::MIN_POSITIVE] {
                let dy = vec![gradient; x.len()];
                function::with(&name, Backward { x: &x, y: &y, dy: &dy, dx: &mut dx });
                let found = y.iter().chain(&dx).find(|x| x.is_subnormal());
                assert_eq!(found, None, "{name:?} {gradient}");
            }
        }
    }

    #[test]
    fn large_inputs_neither_overflow_nor_lose_their_limits() {
        for name in ALL {
            let (x, mut y) = ([-1e4_f32, 1e4], [0.0; 2]);
            function::with(&name, Forward { x: &x, y: &mut y });
            let mut dx = [0.0; 2];
            function::with(&name, Backward { x: &x, y: &y, dy: &[1.0; 2], dx: &mut dx });
            assert!(y.iter().chain(&dx).all(|x| x.is_finite()), "{name:?} {y:?} {dx:?}");
        }
    }
}
