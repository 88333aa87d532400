//! Every layer computes the same bits on one thread and on several, on batches of many blocks.

use super::activation::Activation;
use super::avg_pool2d::AvgPool2d;
use super::batch_norm::BatchNorm;
use super::conv2d::{Conv2d, Convolution};
use super::dropout::{Dropout, DropoutLane};
use super::gradient_check::fill;
use super::linear::{Bias, Linear};
use super::local_response_norm::{LocalResponseNorm, Response};
use super::max_pool2d::MaxPool2d;
use super::patches::Window;
use super::pool_windows::Pool;
use super::{Flow, Layer, Mode, Pass, Shape};
use crate::spec::activation::Activation as Function;
use crate::spec::batch_norm::Normalisation;
use crate::train::kernel::{Buffer, Workspace};

/// Makes a layer.
type Make<'a> = &'a (dyn Fn() -> Box<dyn Layer<f32>> + Sync);

const SAMPLES: usize = 70;
const IMAGE: Shape = Shape { height: 7, width: 6, channels: 17 };

/// A buffer of one lane of `units` numbers a sample.
fn numbers(units: usize) -> Buffer<f32> {
    let mut buffer = Buffer::zeros(1, &[SAMPLES, units]).unwrap();
    buffer
        .write(|x| x.iter_mut().enumerate().for_each(|(i, x)| *x = (i as f32 * 0.37).sin()))
        .unwrap();
    buffer
}

/// Output, input gradient and parameter gradients, as bits.
fn bits(layer: &mut dyn Layer<f32>) -> Vec<u32> {
    fill(layer);
    let outputs = layer.output_shape().units();
    let (x, dy) = (numbers(IMAGE.units()), numbers(outputs));
    let (mut y, mut dx) = (numbers(outputs), numbers(IMAGE.units()));
    let pass = Pass { mode: Mode::Train { step: 2 }, samples: SAMPLES, first_sample: 3 };
    layer.forward(&x, &mut y, &pass).unwrap();
    let flow = Flow { input: &x, output: &y, gradient: &dy, input_gradient: Some(&mut dx) };
    layer.backward(flow, &pass, &mut |_| Ok(())).unwrap();
    let mut all = y.read().unwrap().to_vec();
    all.extend_from_slice(&dx.read().unwrap());
    for parameter in layer.parameters() {
        all.extend_from_slice(&parameter.gradient.read().unwrap());
    }
    all.into_iter().map(f32::to_bits).collect()
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let pool = || Pool { padding: [1; 2], ..Pool::square(3, 2) };
    let dropout = DropoutLane { seed: 5, probability: 0.4 };
    let gelu = Function::Gelu { approximate: false };
    let memory = Workspace::default;
    let conv = |window, groups| {
        let what = Convolution { channels: 34, window, groups, bias: Bias::With };
        Conv2d::new(1, (1, 0), IMAGE, what, (&memory(), SAMPLES)).unwrap()
    };
    let layers: [(&str, Make<'_>); 10] = [
        ("linear", &|| Box::new(Linear::new(1, (1, 0), (IMAGE.units(), 300), Bias::With).unwrap())),
        ("convolution", &|| Box::new(conv(Window::square(3, 1, 1), 1))),
        ("grouped convolution", &|| Box::new(conv(Window::square(5, 2, 2), 17))),
        ("activation", &|| Box::new(Activation::new(vec![gelu.clone()], IMAGE))),
        ("max pool", &|| Box::new(MaxPool2d::new(1, SAMPLES, IMAGE, pool()).unwrap())),
        ("average pool", &|| Box::new(AvgPool2d::new(IMAGE, pool(), true).unwrap())),
        ("adaptive pool", &|| Box::new(AvgPool2d::adaptive(IMAGE, [2, 4]))),
        ("batch norm", &|| {
            Box::new(BatchNorm::new(vec![Normalisation::default()], 1, IMAGE).unwrap())
        }),
        ("local response norm", &|| {
            Box::new(LocalResponseNorm::new(1, SAMPLES, IMAGE, Response::ALEXNET).unwrap())
        }),
        ("dropout", &|| Box::new(Dropout::new(&[dropout], SAMPLES, IMAGE, 0).unwrap())),
    ];
    for (name, layer) in layers {
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| bits(&mut *layer()))
        };
        assert!(on(1) == on(3), "{name}");
    }
}
