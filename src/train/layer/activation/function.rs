//! The functions, each with its derivative, written without branches so that loops over them
//! vectorise. Comparisons are such that NaN stays NaN.

use crate::spec::activation::Activation as Name;
use crate::train::kernel::Real;

/// 1 / sqrt(2).
const SQRT_HALF: f64 = std::f64::consts::FRAC_1_SQRT_2;

/// 1 / sqrt(2 pi).
const NORMAL_DENSITY: f64 = 0.5 * std::f64::consts::FRAC_2_SQRT_PI * SQRT_HALF;

/// sqrt(2 / pi), in the hyperbolic approximation of gelu.
const TANH_SCALE: f64 = 2.0 * NORMAL_DENSITY;

/// Factor of the cube in the hyperbolic approximation of gelu (Hendrycks and Gimpel, 2016).
const TANH_CUBE: f64 = 0.044_715;

/// A function of one number. Implementations mark both methods `#[inline(always)]`.
pub trait Function<T>: Sync {
    /// y = f(x).
    fn value(&self, x: T) -> T;

    /// f'(x), given also y = f(x).
    fn slope(&self, x: T, y: T) -> T;
}

/// What is done with a function whose type is known, so that its loops are compiled for it alone.
pub trait Visit<T> {
    /// Is handed the function.
    fn visit(self, function: impl Function<T>);
}

/// Hands the function of that name to `visitor`.
pub fn with<T: Real>(name: &Name, visitor: impl Visit<T>) {
    match *name {
        Name::Relu => visitor.visit(Relu),
        Name::LeakyRelu { negative_slope } => visitor.visit(LeakyRelu(T::of(negative_slope))),
        Name::Elu { alpha } => visitor.visit(Elu(T::of(alpha))),
        Name::Gelu { approximate: false } => visitor.visit(Gelu),
        Name::Gelu { approximate: true } => visitor.visit(GeluTanh),
        Name::Silu => visitor.visit(Silu),
        Name::Sigmoid => visitor.visit(Sigmoid),
        Name::Tanh => visitor.visit(Tanh),
        Name::Identity => visitor.visit(Identity),
    }
}

/// max(0, x).
struct Relu;

impl<T: Real> Function<T> for Relu {
    #[inline(always)]
    fn value(&self, x: T) -> T {
        if x <= T::ZERO { T::ZERO } else { x }
    }

    #[inline(always)]
    fn slope(&self, x: T, _: T) -> T {
        if x > T::ZERO { T::ONE } else { T::ZERO }
    }
}

/// x, or the factor times x where x is not positive.
struct LeakyRelu<T>(T);

impl<T: Real> Function<T> for LeakyRelu<T> {
    #[inline(always)]
    fn value(&self, x: T) -> T {
        if x <= T::ZERO { self.0 * x } else { x }
    }

    #[inline(always)]
    fn slope(&self, x: T, _: T) -> T {
        if x > T::ZERO { T::ONE } else { self.0 }
    }
}

/// x, or alpha (exp(x) - 1) where x is not positive.
struct Elu<T>(T);

impl<T: Real> Function<T> for Elu<T> {
    #[inline(always)]
    fn value(&self, x: T) -> T {
        let below = self.0 * x.exp_m1();
        if x <= T::ZERO { below } else { x }
    }

    #[inline(always)]
    fn slope(&self, x: T, y: T) -> T {
        if x > T::ZERO { T::ONE } else { y + self.0 }
    }
}

/// x Phi(x).
struct Gelu;

impl Gelu {
    /// Phi(x), the normal distribution.
    #[inline(always)]
    fn distribution<T: Real>(x: T) -> T {
        T::of(0.5) * (T::ONE + (x * T::of(SQRT_HALF)).erf())
    }
}

impl<T: Real> Function<T> for Gelu {
    #[inline(always)]
    fn value(&self, x: T) -> T {
        x * Self::distribution(x)
    }

    /// Phi(x) + x phi(x).
    #[inline(always)]
    fn slope(&self, x: T, _: T) -> T {
        let density = T::of(NORMAL_DENSITY) * (T::of(-0.5) * x * x).exp();
        Self::distribution(x) + x * density
    }
}

/// x (1 + tanh(u)) / 2 with u = sqrt(2 / pi) (x + 0.044715 x^3).
struct GeluTanh;

impl GeluTanh {
    /// tanh(u).
    #[inline(always)]
    fn bend<T: Real>(x: T) -> T {
        (T::of(TANH_SCALE) * (x + T::of(TANH_CUBE) * x * x * x)).tanh()
    }
}

impl<T: Real> Function<T> for GeluTanh {
    #[inline(always)]
    fn value(&self, x: T) -> T {
        T::of(0.5) * x * (T::ONE + Self::bend(x))
    }

    /// (1 + tanh(u)) / 2 + x (1 - tanh(u)^2) u' / 2.
    #[inline(always)]
    fn slope(&self, x: T, _: T) -> T {
        let bend = Self::bend(x);
        let inner = T::of(TANH_SCALE) * (T::ONE + T::of(3.0 * TANH_CUBE) * x * x);
        T::of(0.5) * (T::ONE + bend + x * (T::ONE - bend * bend) * inner)
    }
}

/// 1 / (1 + exp(-x)).
struct Sigmoid;

impl Sigmoid {
    #[inline(always)]
    fn of<T: Real>(x: T) -> T {
        T::ONE / (T::ONE + (T::ZERO - x).exp())
    }
}

impl<T: Real> Function<T> for Sigmoid {
    #[inline(always)]
    fn value(&self, x: T) -> T {
        Self::of(x)
    }

    #[inline(always)]
    fn slope(&self, _: T, y: T) -> T {
        y * (T::ONE - y)
    }
}

/// x / (1 + exp(-x)).
struct Silu;

impl<T: Real> Function<T> for Silu {
    #[inline(always)]
    fn value(&self, x: T) -> T {
        x * Sigmoid::of(x)
    }

    /// s + y (1 - s) with s the sigmoid of x.
    #[inline(always)]
    fn slope(&self, x: T, y: T) -> T {
        let sigmoid = Sigmoid::of(x);
        sigmoid + y * (T::ONE - sigmoid)
    }
}

/// tanh(x).
struct Tanh;

impl<T: Real> Function<T> for Tanh {
    #[inline(always)]
    fn value(&self, x: T) -> T {
        x.tanh()
    }

    #[inline(always)]
    fn slope(&self, _: T, y: T) -> T {
        T::ONE - y * y
    }
}

/// x.
struct Identity;

impl<T: Real> Function<T> for Identity {
    #[inline(always)]
    fn value(&self, x: T) -> T {
        x
    }

    #[inline(always)]
    fn slope(&self, _: T, _: T) -> T {
        T::ONE
    }
}
