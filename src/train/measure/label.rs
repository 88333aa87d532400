//! What a layer is called where its measurements are shown.

/// Name and kind of what concerns the whole network.
pub const NETWORK: &str = "network";

/// A layer's name, and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// A stable name, which those of its parameters begin with: `conv1` has `conv1.weight`.
    pub name: String,
}

impl Label {
    /// The layer of that name.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }

    /// The layer that a parameter belongs to.
    pub fn of_parameter(name: &str) -> Self {
        Self::new(name.split_once('.').map_or(name, |(layer, _)| layer))
    }

    /// The whole network.
    pub fn network() -> Self {
        Self::new(NETWORK)
    }

    /// What it is: `conv`, `linear`, `norm`, `relu`: the name without its number.
    pub fn kind(&self) -> &str {
        self.name.trim_end_matches(|c: char| c.is_ascii_digit())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_named_like_its_parameters() {
        let label = Label::of_parameter("conv12.weight");
        assert_eq!((label.name.as_str(), label.kind()), ("conv12", "conv"));
        assert_eq!(Label::network().kind(), NETWORK);
    }
}
