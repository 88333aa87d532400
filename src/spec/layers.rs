//! `model = { layers = [...] }`: the words that a network is declared with.
//!
//! An entry of the list is a layer or, since that reads naturally, the name of an activation. What
//! the keys `activation`, `dropout` and `batch_norm` mean for such a network is said by the places
//! `"activation"`, `"dropout"` and `"norm"`, so that it can be ablated like the built-in ones.

use super::activation::Activation;
use super::config::RunConfig;
use super::diagnostics::{Diagnostics, suggest};
use super::node::{Node, Raw};
use super::value::{Interval, Value};
use super::word::words;

/// Most layers that one network may have.
const MOST_LAYERS: usize = 256;

/// Sizes of channels and units.
const SIZE: Interval = Interval::closed(1.0, 65_536.0);

/// Sizes of windows, in pixels.
const PIXELS: Interval = Interval::closed(1.0, 256.0);

/// Borders, in pixels.
const BORDER: Interval = Interval::closed(0.0, 256.0);

words! {
    /// A layer of a declared network.
    LayerWord, "a layer" {
        /// A convolution. It has no bias where a normalisation follows.
        Conv2d = "conv2d" {
            /// Output channels, before the factor `width`.
            channels: u32, SIZE;
            /// Taps along one side of the kernel.
            kernel: u32, PIXELS;
            /// Pixels from one window to the next.
            stride: u32 = 1, PIXELS;
            /// Pixels of zeros around the image.
            padding: u32 = 0, BORDER;
            /// Pixels from one tap to the next.
            dilation: u32 = 1, PIXELS;
            /// Parts of the channels that do not see each other.
            groups: u32 = 1, SIZE;
            /// Is a bias added?
            bias: bool = true, ();
        },
        /// A linear layer, after `"flatten"`. It has no bias where a normalisation follows.
        Linear = "linear" {
            /// Outputs, before the factor `width`.
            units: u32, SIZE;
            /// Is a bias added?
            bias: bool = true, ();
        },
        /// The linear layer to as many units as there are classes; the last of the list.
        Logits = "logits",
        /// From an image to a vector, in PyTorch's order (C, H, W).
        Flatten = "flatten",
        /// The activation that the key `activation` names.
        Activation = "activation",
        /// Batch normalisation, whatever the key `batch_norm` says.
        BatchNorm = "batch_norm",
        /// Batch normalisation if the key `batch_norm` is true, otherwise nothing.
        Norm = "norm",
        /// Dropout.
        Dropout = "dropout" {
            /// Probability that a unit is dropped; `"key"` is the key `dropout`.
            p: Probability = Probability::Key, Interval::half_open(0.0, 1.0);
        },
        /// The largest number of every window.
        MaxPool2d = "max_pool2d" {
            /// Pixels along one side of a window.
            kernel: u32, PIXELS;
            /// Pixels from one window to the next; `"kernel"`: as many as the window has.
            stride: Stride = Stride::Kernel, PIXELS;
            /// Pixels around the image that are never the largest.
            padding: u32 = 0, BORDER;
            /// May the last window stick out of the image, as PyTorch's `ceil_mode`?
            ceil: bool = false, ();
        },
        /// The mean of every window.
        AvgPool2d = "avg_pool2d" {
            /// Pixels along one side of a window.
            kernel: u32, PIXELS;
            /// Pixels from one window to the next; `"kernel"`: as many as the window has.
            stride: Stride = Stride::Kernel, PIXELS;
            /// Pixels of zeros around the image, which count in the mean.
            padding: u32 = 0, BORDER;
        },
        /// Means over windows that make an image of a given size, as PyTorch's AdaptiveAvgPool2d.
        AdaptiveAvgPool2d = "adaptive_avg_pool2d" {
            /// Height and width of the output.
            side: u32 = 1, PIXELS;
        },
        /// x / (k + alpha / size * sum of squares over neighbouring channels) ^ beta, as PyTorch's
        /// LocalResponseNorm; the defaults are those of Krizhevsky et al. (2012), who weigh the sum
        /// with 1e-4 and not the mean.
        LocalResponseNorm = "local_response_norm" {
            /// Channels that are summed over.
            size: u32 = 5, SIZE;
            /// Weight of the mean of squares.
            alpha: f64 = 5e-4, Interval::at_least(0.0);
            /// Exponent.
            beta: f64 = 0.75, Interval::at_least(0.0);
            /// Summand.
            k: f64 = 2.0, Interval::above(0.0);
        },
    }
}

/// A number, or the word that says where it is taken from.
macro_rules! number_or_word {
    ($(#[$meta:meta])* $Name:ident, $Word:ident = $word:literal, $Number:ident($Type:ty)) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq)]
        pub enum $Name {
            #[doc = concat!("`\"", $word, "\"`.")]
            $Word,
            /// This number.
            $Number($Type),
        }

        impl Value for $Name {
            type Limits = Interval;

            fn read(node: &Node, limits: &Interval, diagnostics: &mut Diagnostics) -> Option<Self> {
                if node.raw == Raw::Text($word.to_owned()) {
                    return Some(Self::$Word);
                }
                <$Type as Value>::read(node, limits, diagnostics).map(Self::$Number)
            }

            fn label(&self) -> String {
                match self {
                    Self::$Word => $word.to_owned(),
                    Self::$Number(number) => number.label(),
                }
            }

            fn canonical(&self) -> serde_json::Value {
                match self {
                    Self::$Word => $word.into(),
                    Self::$Number(number) => number.canonical(),
                }
            }

            fn schema(limits: &Interval) -> serde_json::Value {
                let number = <$Type as Value>::schema(limits);
                serde_json::json!({ "anyOf": [{ "const": $word }, number] })
            }
        }
    };
}

number_or_word! {
    /// From one window of a pool to the next.
    Stride, Kernel = "kernel", Pixels(u32)
}

number_or_word! {
    /// How likely a unit is dropped.
    Probability, Key = "key", Fixed(f64)
}

/// An entry of the list.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// A layer.
    Layer(LayerWord),
    /// An activation of its own, whatever the key `activation` says.
    Function(Activation),
}

impl Entry {
    /// Is it a batch normalisation in this configuration?
    pub fn normalises(&self, config: &RunConfig) -> bool {
        match self {
            Self::Layer(LayerWord::BatchNorm) => true,
            Self::Layer(LayerWord::Norm) => config.batch_norm.is_on(),
            _ => false,
        }
    }

    /// Reads an entry from the words of layers and of activations.
    fn read(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        let kind = match &node.raw {
            Raw::Text(kind) => Some((kind, node.span)),
            Raw::Table(fields) => {
                let kind = fields.iter().find(|(name, _)| name.text == "kind");
                kind.and_then(|(_, kind)| match &kind.raw {
                    Raw::Text(text) => Some((text, kind.span)),
                    _ => None,
                })
            }
            _ => None,
        };
        match kind {
            Some((kind, _)) if Activation::KINDS.contains(&kind.as_str()) => {
                Activation::read(node, &(), diagnostics).map(Self::Function)
            }
            Some((kind, span)) if !LayerWord::KINDS.contains(&kind.as_str()) => {
                let legal = [LayerWord::KINDS, Activation::KINDS].concat();
                let message = format!("there is no layer `{kind}`");
                diagnostics.error_with_help(span, message, "unknown", suggest(kind, &legal));
                None
            }
            _ => LayerWord::read(node, &(), diagnostics).map(Self::Layer),
        }
    }

    fn canonical(&self) -> serde_json::Value {
        match self {
            Self::Layer(word) => word.canonical(),
            Self::Function(function) => function.canonical(),
        }
    }

    /// Its share of the list's label: `c64` for a convolution of 64 channels.
    fn short(&self) -> Option<String> {
        match self {
            Self::Layer(LayerWord::Conv2d { channels, .. }) => Some(format!("c{channels}")),
            Self::Layer(LayerWord::Linear { units, .. }) => Some(format!("f{units}")),
            _ => None,
        }
    }
}

/// Layers that learn and are named in a label.
const MOST_IN_LABEL: usize = 6;

impl Value for Vec<Entry> {
    type Limits = ();

    fn read(node: &Node, (): &(), diagnostics: &mut Diagnostics) -> Option<Self> {
        let items = match &node.raw {
            Raw::List(items) if (1..=MOST_LAYERS).contains(&items.len()) => items,
            _ => {
                let found = node.describe();
                diagnostics.error_with_help(
                    node.span,
                    format!("expected a list of 1 to {MOST_LAYERS} layers, found {found}"),
                    "not such a list",
                    "such as layers = [\"flatten\", { kind = \"linear\", units = 100 }, \"activation\", \"logits\"]",
                );
                return None;
            }
        };
        let read: Vec<Option<Entry>> =
            items.iter().map(|item| Entry::read(item, diagnostics)).collect();
        let logits = |entry: &Option<Entry>| entry == &Some(Entry::Layer(LayerWord::Logits));
        if let Some(at) = read.iter().position(logits)
            && let Some(behind) = items.get(at + 1)
        {
            let message = "`\"logits\"` is the last of the layers: its outputs are the classes";
            let help = "put \"logits\" at the end; a linear layer before it is { kind = \"linear\", units = 100 }";
            diagnostics.error_with_help(behind.span, message, "stands behind it", help);
            return None;
        }
        read.into_iter().collect()
    }

    /// The widths of the layers that learn, and a part of the hash of the whole: two networks that
    /// differ in anything have different labels.
    fn label(&self) -> String {
        let mut widths: Vec<String> = self.iter().filter_map(Entry::short).collect();
        if widths.len() > MOST_IN_LABEL {
            widths.truncate(MOST_IN_LABEL);
            widths.push("…".to_owned());
        }
        let hash = blake3::hash(self.canonical().to_string().as_bytes()).to_hex();
        widths.push(hash[..6].to_owned());
        widths.join("-")
    }

    fn canonical(&self) -> serde_json::Value {
        self.iter().map(Entry::canonical).collect()
    }

    fn schema((): &()) -> serde_json::Value {
        let items =
            serde_json::json!({ "anyOf": [LayerWord::schema(&()), Activation::schema(&())] });
        serde_json::json!({
            "type": "array", "items": items, "minItems": 1, "maxItems": MOST_LAYERS,
        })
    }
}
