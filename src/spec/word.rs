//! `words!`: declares a *word* of the sweep file, a named choice with parameters.
//!
//! One declaration gives the type, the reader with its error texts, the canonical form, the label
//! and the JSON Schema, so these cannot drift apart. A word is written as a string (`"cosine"`,
//! every parameter at its default) or as a table (`{ kind = "step", gamma = 0.5 }`). The canonical
//! form leaves out parameters that stand at their default: adding a parameter with a default that
//! means what was meant before changes no id.

use super::diagnostics::{Diagnostics, suggest};
use super::node::{Name, Node, Raw};
use super::value::Value;

/// The fields of a table while a word reads itself from it.
pub struct Fields<'a> {
    word: String,
    fields: Vec<&'a (Name, Node)>,
}

impl<'a> Fields<'a> {
    /// The entries of a table that has no `kind`; `word` is what error texts call it.
    pub fn of(word: &str, table: &'a [(Name, Node)]) -> Self {
        Self { word: word.to_owned(), fields: table.iter().collect() }
    }

    /// Reads field `name`, or gives `default` where it is not written.
    pub fn take<T: Value>(
        &self,
        name: &str,
        default: T,
        limits: &T::Limits,
        diagnostics: &mut Diagnostics,
    ) -> Option<T> {
        let Some((_, node)) = self.fields.iter().find(|(key, _)| key.text == name) else {
            return Some(default);
        };
        let before = diagnostics.count();
        let value = T::read(node, limits, diagnostics);
        diagnostics.attribute(before, name);
        value
    }

    /// Notes every field that is not `legal`.
    pub fn refuse_rest(self, legal: &[&str], diagnostics: &mut Diagnostics) -> Option<()> {
        let word = &self.word;
        let unknown = |field: &&&(Name, Node)| !legal.contains(&field.0.text.as_str());
        for (key, _) in self.fields.iter().filter(unknown) {
            let help = if legal.is_empty() {
                format!("`{word}` takes no parameters")
            } else {
                suggest(&key.text, legal)
            };
            let message = format!("`{word}` has no parameter `{}`", key.text);
            diagnostics.error_with_help(key.span, message, "unknown parameter", help);
        }
        (!self.fields.iter().any(|field| unknown(&field))).then_some(())
    }
}

/// Splits a word into its kind and its fields; notes what is wrong otherwise.
pub fn open<'a>(
    what: &str,
    kinds: &[&str],
    node: &'a Node,
    diagnostics: &mut Diagnostics,
) -> Option<(String, Fields<'a>)> {
    let (kind, kind_span, fields) = match &node.raw {
        Raw::Text(kind) => (kind, node.span, Vec::new()),
        Raw::Table(table) => {
            let Some((_, kind)) = table.iter().find(|(key, _)| key.text == "kind") else {
                diagnostics.error_with_help(
                    node.span,
                    format!("{what} written as a table must have a `kind`"),
                    "no `kind` here",
                    format!("legal kinds: {}", kinds.join(", ")),
                );
                return None;
            };
            let Raw::Text(text) = &kind.raw else {
                let message = format!("the kind of {what} is a string, found {}", kind.describe());
                diagnostics.error(kind.span, message, "expected a string");
                return None;
            };
            let fields = table.iter().filter(|(key, _)| key.text != "kind").collect();
            (text, kind.span, fields)
        }
        _ => {
            diagnostics.error_with_help(
                node.span,
                format!("expected {what} (a string or a table), found {}", node.describe()),
                format!("expected {what}"),
                format!("legal: {}", kinds.join(", ")),
            );
            return None;
        }
    };
    if !kinds.contains(&kind.as_str()) {
        diagnostics.error_with_help(
            kind_span,
            format!(
                "there is no {} `{kind}`",
                what.trim_start_matches("an ").trim_start_matches("a ")
            ),
            "unknown",
            suggest(kind, kinds),
        );
        return None;
    }
    Some((kind.clone(), Fields { word: kind.clone(), fields }))
}

/// Puts a word's canonical form together: a string, or a table where a field is not at its default.
pub fn canonical(kind: &str, fields: Vec<(&'static str, serde_json::Value)>) -> serde_json::Value {
    if fields.is_empty() {
        return kind.into();
    }
    let mut table = serde_json::Map::new();
    table.insert("kind".to_owned(), kind.into());
    for (name, value) in fields {
        table.insert(name.to_owned(), value);
    }
    table.into()
}

/// Puts a word's label together: `step(every_epochs=4,gamma=0.5)`.
pub fn label(kind: &str, fields: Vec<(&'static str, String)>) -> String {
    if fields.is_empty() {
        return kind.to_owned();
    }
    let fields: Vec<String> =
        fields.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("{kind}({})", fields.join(","))
}

/// Declares a word; see the module's documentation and, as the pattern, `schedule.rs`.
macro_rules! words {
    (
        $(#[$meta:meta])*
        $Name:ident, $what:literal {
            $(
                $(#[doc = $doc:literal])+
                $Variant:ident = $kind:literal
                $({ $( $(#[doc = $field_doc:literal])+ $field:ident: $Type:ty = $default:expr, $limits:expr; )+ })?
            ),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        pub enum $Name {
            $( $(#[doc = $doc])+ $Variant $({ $( $(#[doc = $field_doc])+ $field: $Type ),+ })? ),+
        }

        impl $Name {
            /// Every kind, as written in a sweep file.
            pub const KINDS: &[&str] = &[$($kind),+];

            /// The kind, as written in a sweep file.
            pub fn kind(&self) -> &'static str {
                match self { $( Self::$Variant { .. } => $kind ),+ }
            }
        }

        impl $crate::spec::value::Value for $Name {
            type Limits = ();

            fn read(
                node: &$crate::spec::node::Node,
                (): &(),
                diagnostics: &mut $crate::spec::diagnostics::Diagnostics,
            ) -> Option<Self> {
                let (kind, fields) = $crate::spec::word::open($what, Self::KINDS, node, diagnostics)?;
                match kind.as_str() {
                    $( $kind => {
                        $($( let $field = fields.take::<$Type>(stringify!($field), $default, &$limits, diagnostics); )+)?
                        fields.refuse_rest(&[$($(stringify!($field)),+)?], diagnostics)?;
                        Some(Self::$Variant $({ $( $field: $field? ),+ })?)
                    } )+
                    _ => unreachable!("invariant: `open` refuses unknown kinds"),
                }
            }

            fn label(&self) -> String {
                match self { $( Self::$Variant $({ $($field),+ })? => {
                    let changed: Vec<Option<(&'static str, String)>> = vec![
                        $($( (*$field != $default).then(|| (stringify!($field), $field.label())) ),+)?
                    ];
                    $crate::spec::word::label($kind, changed.into_iter().flatten().collect())
                } )+ }
            }

            fn canonical(&self) -> serde_json::Value {
                match self { $( Self::$Variant $({ $($field),+ })? => {
                    let changed: Vec<Option<(&'static str, serde_json::Value)>> = vec![
                        $($( (*$field != $default).then(|| (stringify!($field), $field.canonical())) ),+)?
                    ];
                    $crate::spec::word::canonical($kind, changed.into_iter().flatten().collect())
                } )+ }
            }

            fn schema((): &()) -> serde_json::Value {
                let alternatives: Vec<serde_json::Value> = vec![$( {
                    let properties = vec![
                        ("kind", serde_json::json!({ "const": $kind })),
                        $($( (stringify!($field), {
                            let mut schema = <$Type as $crate::spec::value::Value>::schema(&$limits);
                            schema["description"] = concat!($($field_doc),+).trim().into();
                            schema["default"] = <$Type as $crate::spec::value::Value>::canonical(&$default);
                            schema
                        }) ),+)?
                    ];
                    let properties: serde_json::Map<String, serde_json::Value> =
                        properties.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect();
                    serde_json::json!({
                        "type": "object",
                        "description": concat!($($doc),+).trim(),
                        "properties": properties,
                        "required": ["kind"],
                        "additionalProperties": false,
                    })
                } ),+];
                let mut any = vec![serde_json::json!({ "enum": Self::KINDS })];
                any.extend(alternatives);
                serde_json::json!({ "anyOf": any })
            }
        }
    };
}
pub(crate) use words;
