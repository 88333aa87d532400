//! `augmentation`: what is done to training images before the network sees them; a level, or a list
//! of operations.
//!
//! A level is a fixed list. A list that equals one *is* that level, however it was written: the same
//! computation has one id and one name.

use serde_json::json;

use super::diagnostics::{Diagnostics, suggest};
use super::node::{Node, Raw};
use super::operation::{Operation, Side};
use super::value::Value;
use super::word::words;

/// Operations that one list may have.
const MOST: usize = 16;

words! {
    /// A fixed list of operations with a name.
    Level, "an augmentation" {
        /// Images as they are.
        None = "none",
        /// A horizontal flip with probability 1/2.
        Basic = "basic",
        /// Flip, rotation by up to 10 degrees, brightness and contrast by up to 20 %.
        Strong = "strong",
        /// Crop with 4 px of padding, flip, rotation by up to 15 degrees with translation by up to
        /// 10 %, brightness and contrast by up to 30 %, saturation by up to 20 %, and on colour
        /// images PCA colour noise (Krizhevsky et al., 2012, section 4.1).
        AlexnetStyle = "alexnet_style",
    }
}

impl Level {
    const ALL: [Self; 4] = [Self::None, Self::Basic, Self::Strong, Self::AlexnetStyle];

    /// What the level does, in order.
    pub fn operations(&self) -> Vec<Operation> {
        let flip = Operation::HorizontalFlip { p: 0.5 };
        let jitter = |brightness, contrast, saturation| Operation::ColourJitter {
            brightness,
            contrast,
            saturation,
            hue: 0.0,
        };
        match self {
            Self::None => Vec::new(),
            Self::Basic => vec![flip],
            Self::Strong => {
                vec![flip, Operation::Rotation { degrees: 10.0 }, jitter(0.2, 0.2, 0.0)]
            }
            Self::AlexnetStyle => vec![
                Operation::RandomCrop { padding: 4, size: Side::Same },
                flip,
                Operation::Affine {
                    degrees: 15.0,
                    translate: [0.1, 0.1],
                    scale: [1.0, 1.0],
                    shear: [0.0, 0.0],
                },
                jitter(0.3, 0.3, 0.2),
                Operation::PcaColourNoise { std: 0.1 },
            ],
        }
    }
}

/// What is done to training images, anew in every epoch.
#[derive(Debug, Clone, PartialEq)]
pub enum Augmentation {
    /// A fixed list.
    Level(Level),
    /// Operations, done one after another; not the list of a level.
    List(Vec<Operation>),
}

impl Augmentation {
    /// Images as they are.
    pub const NONE: Self = Self::Level(Level::None);

    /// The operations of a list, or the level that has them.
    pub fn of(operations: Vec<Operation>) -> Self {
        match Level::ALL.into_iter().find(|level| level.operations() == operations) {
            Some(level) => Self::Level(level),
            None => Self::List(operations),
        }
    }

    /// What is done, in order.
    pub fn operations(&self) -> Vec<Operation> {
        match self {
            Self::Level(level) => level.operations(),
            Self::List(operations) => operations.clone(),
        }
    }

    /// Height and width that the network is given, of images of `size`. Allocates nothing.
    pub fn output_size(&self, size: [usize; 2]) -> [usize; 2] {
        match self {
            // No level changes the size.
            Self::Level(_) => size,
            Self::List(operations) => {
                operations.iter().fold(size, |size, operation| operation.output_size(size))
            }
        }
    }
}

impl Value for Augmentation {
    type Limits = ();

    /// `["none", "basic"]` and lists of lists are several augmentations, all others are one.
    fn is_one(items: &[Node]) -> bool {
        let alone = |item: &Node| match &item.raw {
            Raw::Text(text) => Level::KINDS.contains(&text.as_str()),
            Raw::List(_) => true,
            _ => false,
        };
        items.is_empty() || !items.iter().all(alone)
    }

    fn read(node: &Node, (): &(), diagnostics: &mut Diagnostics) -> Option<Self> {
        match &node.raw {
            Raw::List(items) => list(node, items, diagnostics),
            Raw::Text(kind) if Operation::KINDS.contains(&kind.as_str()) => {
                not_alone(node, kind, diagnostics);
                None
            }
            Raw::Table(fields) => {
                let kind = fields.iter().find(|(name, _)| name.text == "kind");
                match kind.map(|(_, kind)| &kind.raw) {
                    Some(Raw::Text(kind)) if Operation::KINDS.contains(&kind.as_str()) => {
                        not_alone(node, kind, diagnostics);
                        None
                    }
                    _ => Level::read(node, &(), diagnostics).map(Self::Level),
                }
            }
            _ => Level::read(node, &(), diagnostics).map(Self::Level),
        }
    }

    fn label(&self) -> String {
        match self {
            Self::Level(level) => level.label(),
            Self::List(operations) => {
                let operations: Vec<String> = operations.iter().map(Value::label).collect();
                format!("[{}]", operations.join(","))
            }
        }
    }

    fn canonical(&self) -> serde_json::Value {
        match self {
            Self::Level(level) => level.canonical(),
            Self::List(operations) => operations.iter().map(Value::canonical).collect(),
        }
    }

    fn schema((): &()) -> serde_json::Value {
        let mut schema = Level::schema(&());
        let list = json!({
            "type": "array",
            "description": "Operations, done one after another.",
            "items": Operation::schema(&()),
            "maxItems": MOST,
        });
        if let Some(any) = schema["anyOf"].as_array_mut() {
            any.push(list);
        }
        schema
    }
}

/// An operation where a level or a list stands.
fn not_alone(node: &Node, kind: &str, diagnostics: &mut Diagnostics) {
    let message = format!("`{kind}` is an operation, and operations stand in a list");
    let help = format!(
        "write augmentation = [\"{kind}\"], and in [grid] a list of such lists; levels that stand alone: {}",
        Level::KINDS.join(", ")
    );
    diagnostics.error_with_help(node.span, message, "not in a list of its own", help);
}

fn list(node: &Node, items: &[Node], diagnostics: &mut Diagnostics) -> Option<Augmentation> {
    if items.len() > MOST {
        let message = format!("{} operations are more than {MOST}", items.len());
        diagnostics.error(node.span, message, "too long");
        return None;
    }
    let before = diagnostics.count();
    let last = items.len().saturating_sub(1);
    let mut operations = Vec::new();
    for (place, item) in items.iter().enumerate() {
        let Some(operation) = one(item, diagnostics) else { continue };
        if operation.does_nothing() {
            let message = format!("`{}` changes nothing with these parameters", operation.kind());
            let help = does_something(&operation);
            diagnostics.error_with_help(item.span, message, "without effect", help);
        }
        if matches!(operation, Operation::Mixup { .. }) && place != last {
            let message = "`mixup` mixes what all other operations have made: it stands last";
            diagnostics.error_with_help(item.span, message, "not the last", "move it to the end");
        }
        operations.push(operation);
    }
    (diagnostics.count() == before).then(|| Augmentation::of(operations))
}

fn one(item: &Node, diagnostics: &mut Diagnostics) -> Option<Operation> {
    match &item.raw {
        Raw::Text(level) if Level::KINDS.contains(&level.as_str()) => {
            let message = format!("`{level}` is a level, which stands alone and not in a list");
            let help = format!(
                "write augmentation = \"{level}\", or list operations: {}",
                Operation::KINDS.join(", ")
            );
            diagnostics.error_with_help(item.span, message, "a level", help);
            None
        }
        Raw::Text(kind) if foreign(kind).is_some() => {
            let ours = foreign(kind).unwrap_or_default();
            let message = format!("there is no operation `{kind}`");
            let help = format!("did you mean `{ours}`? {}", suggest("", Operation::KINDS));
            diagnostics.error_with_help(item.span, message, "unknown", help);
            None
        }
        _ => Operation::read(item, &(), diagnostics),
    }
}

/// Our name of an operation that torchvision or others call otherwise.
fn foreign(kind: &str) -> Option<&'static str> {
    let plain: String = kind.to_lowercase().chars().filter(|c| c.is_alphanumeric()).collect();
    if Operation::KINDS.contains(&kind) {
        return None;
    }
    Some(match plain.as_str() {
        "crop" | "randomcrop" => "random_crop",
        "resizedcrop" | "randomresizedcrop" => "random_resized_crop",
        "flip" | "hflip" | "randomflip" | "randomhorizontalflip" => "horizontal_flip",
        "rotate" | "randomrotation" => "rotation",
        "randomaffine" | "translate" | "scale" | "shear" => "affine",
        "colorjitter" | "jitter" | "brightness" | "contrast" | "saturation" | "hue" => {
            "colour_jitter"
        }
        "pcanoise" | "pcacolornoise" | "colornoise" | "lighting" => "pca_colour_noise",
        "randomerasing" | "erasing" | "cutoff" => "cutout",
        _ => return None,
    })
}

fn does_something(operation: &Operation) -> &'static str {
    match operation {
        Operation::RandomCrop { .. } => "give it `padding`, or a `size`",
        Operation::RandomResizedCrop { .. } => "give it a `size`, or wider `scale` and `ratio`",
        Operation::Affine { .. } => "give it `degrees`, `translate`, `scale` or `shear`",
        Operation::ColourJitter { .. } => {
            "give it `brightness`, `contrast`, `saturation` or `hue`, such as { kind = \"colour_jitter\", brightness = 0.2 }"
        }
        _ => "give it a probability `p` above 0, or leave it out",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Key, SweepSpec};

    fn spec(body: &str, overrides: &[&str]) -> SweepSpec {
        let text = format!("schema = 1\nname = \"a\"\n{body}\n[repeats]\nseeds = 1\n");
        let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
        SweepSpec::parse("a.toml", &text, &overrides).unwrap().0
    }

    fn labels(spec: &SweepSpec) -> Vec<String> {
        let axis = spec.grid.iter().find(|axis| axis.key == Key::Augmentation).unwrap();
        axis.values.iter().map(|value| value.setting.label()).collect()
    }

    #[test]
    fn an_axis_of_levels_and_lists_reads_well() {
        let body = r#"
            [grid]
            augmentation = [
                "none",
                ["random_crop", "horizontal_flip"],
                [{ kind = "random_crop", padding = 8 }, { kind = "cutout", size = 8 }, "mixup"],
            ]"#;
        let expected = [
            "none",
            "[random_crop,horizontal_flip]",
            "[random_crop(padding=8),cutout(size=8),mixup]",
        ];
        assert_eq!(labels(&spec(body, &[])), expected);
        let plain = "[grid]\naugmentation = [\"none\", \"basic\"]";
        assert_eq!(labels(&spec(plain, &[])), ["none", "basic"]);
        for change in
            ["augmentation=none,[random_crop,cutout]", "augmentation=[none,[random_crop,cutout]]"]
        {
            assert_eq!(labels(&spec("", &[change])), ["none", "[random_crop,cutout]"], "{change}");
        }
        let base = spec("", &["augmentation=[random_crop,cutout]"]);
        assert!(base.grid.is_empty());
    }

    #[test]
    fn a_list_that_is_a_level_is_that_level() {
        for level in Level::ALL {
            let augmentation = Augmentation::of(level.operations());
            assert_eq!(augmentation, Augmentation::Level(level.clone()));
            let canonical = Augmentation::List(level.operations()).canonical();
            let read =
                Augmentation::read(&Node::from_json(&canonical), &(), &mut Diagnostics::new());
            assert_eq!(read, Some(augmentation));
        }
    }

    #[test]
    fn the_canonical_form_reads_back() {
        let every: Vec<Node> = Operation::KINDS
            .iter()
            .map(|kind| {
                let mut json = json!({ "kind": kind });
                match *kind {
                    "affine" => json["shear"] = json!([0, 5]),
                    "colour_jitter" => json["hue"] = json!(0.1),
                    "random_resized_crop" => json["size"] = json!(24),
                    _ => {}
                }
                Node::from_json(&json)
            })
            .collect();
        let node = Node { raw: Raw::List(every), ..Node::from_json(&json!(null)) };
        let read = |node: &Node| Augmentation::read(node, &(), &mut Diagnostics::new());
        let augmentation = read(&node).unwrap();
        assert_eq!(augmentation.operations().len(), Operation::KINDS.len());
        assert_eq!(read(&Node::from_json(&augmentation.canonical())), Some(augmentation.clone()));
        assert_eq!(augmentation.output_size([32, 30]), [24, 24]);
    }

    #[test]
    fn every_foreign_name_leads_to_one_of_ours() {
        for name in
            ["RandomCrop", "hflip", "ColorJitter", "RandomErasing", "RandomAffine", "lighting"]
        {
            assert!(Operation::KINDS.contains(&foreign(name).unwrap()));
        }
        for name in Operation::KINDS.iter().chain(&["posterize"]) {
            assert_eq!(foreign(name), None);
        }
    }
}
