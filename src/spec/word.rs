//! `words!`: declares a *word* of the sweep file, a named choice with parameters.
//!
//! One declaration gives the type, the reader with its error texts, the canonical form, the label
//! and the JSON Schema, so these cannot drift apart. A word is written as a string (`"cosine"`,
//! every parameter at its default) or as a table (`{ kind = "step", gamma = 0.5 }`). A parameter
//! without a default must be written; where it has the name of its kind, it stands for the kind:
//! `{ layers = [...] }`. The canonical form leaves out parameters that stand at their default: adding
//! a parameter with a default that means what was meant before changes no id.

use super::diagnostics::{Diagnostics, suggest};
use super::node::{Name, Node, Raw, Span};
use super::value::Value;

/// The fields of a table while a word reads itself from it.
pub struct Fields<'a> {
    word: String,
    /// Where the word is written.
    span: Span,
    fields: Vec<&'a (Name, Node)>,
}

impl<'a> Fields<'a> {
    /// The entries of a table at `span` that has no `kind`; `word` is what error texts call it.
    pub fn of(word: &str, span: Span, table: &'a [(Name, Node)]) -> Self {
        Self { word: word.to_owned(), span, fields: table.iter().collect() }
    }

    /// Reads field `name`, or gives `default` where it is not written; without a default it must be.
    pub fn take<T: Value>(
        &self,
        name: &str,
        default: Option<T>,
        limits: &T::Limits,
        diagnostics: &mut Diagnostics,
    ) -> Option<T> {
        let Some((_, node)) = self.fields.iter().find(|(key, _)| key.text == name) else {
            if default.is_none() {
                let word = &self.word;
                diagnostics.error_with_help(
                    self.span,
                    format!("`{word}` needs its parameter `{name}`"),
                    format!("no `{name}` here"),
                    format!("write {{ kind = \"{word}\", {name} = ... }}"),
                );
            }
            return default;
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

/// Splits a word into its kind and its fields; notes what is wrong otherwise. `words` are the kinds
/// with their parameters.
pub fn open<'a>(
    what: &str,
    words: &[(&str, &[&str])],
    node: &'a Node,
    diagnostics: &mut Diagnostics,
) -> Option<(String, Fields<'a>)> {
    let kinds: Vec<&str> = words.iter().map(|(kind, _)| *kind).collect();
    let (kind, kind_span, fields) = match &node.raw {
        Raw::Text(kind) => (kind, node.span, Vec::new()),
        Raw::Table(table) => {
            let written = table.iter().find(|(key, _)| key.text == "kind");
            if let (None, Some(name)) = (written, tacit_kind(table, words)) {
                let fields =
                    Fields { word: name.clone(), span: node.span, fields: table.iter().collect() };
                return Some((name, fields));
            }
            let Some((_, kind)) = written else {
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
            suggest(kind, &kinds),
        );
        return None;
    }
    Some((kind.clone(), Fields { word: kind.clone(), span: node.span, fields }))
}

/// The kind of a table that does not write one, but a parameter of the kind's own name.
fn tacit_kind(table: &[(Name, Node)], words: &[(&str, &[&str])]) -> Option<String> {
    let stands = |key: &str| words.iter().any(|(kind, own)| *kind == key && own.contains(kind));
    table.iter().map(|(key, _)| &key.text).find(|key| stands(key)).cloned()
}

/// Puts a word's canonical form together: a string, or a table where a field is not at its default.
/// `changed` are the fields in their order, `None` where one is at its default.
pub fn canonical(
    kind: &str,
    changed: Vec<Option<(&'static str, serde_json::Value)>>,
) -> serde_json::Value {
    let mut table = serde_json::Map::new();
    for (name, value) in changed.into_iter().flatten() {
        table.insert(name.to_owned(), value);
    }
    if table.is_empty() {
        return kind.into();
    }
    table.insert("kind".to_owned(), kind.into());
    table.into()
}

/// Puts a word's label together: `step(every_epochs=4,gamma=0.5)`, `layers(f100)`.
/// `changed` are the fields in their order, `None` where one is at its default.
pub fn label(kind: &str, changed: Vec<Option<(&'static str, String)>>) -> String {
    let field = |(name, value)| if name == kind { value } else { format!("{name}={value}") };
    let fields: Vec<String> = changed.into_iter().flatten().map(field).collect();
    if fields.is_empty() {
        return kind.to_owned();
    }
    format!("{kind}({})", fields.join(","))
}

/// The value of a field, unless it stands at its default.
pub fn written<T: PartialEq>(value: &T, default: Option<T>) -> Option<&T> {
    default.is_none_or(|default| default != *value).then_some(value)
}

/// JSON Schema of one field: that of its type, with what is particular to it.
pub fn field_schema(
    mut schema: serde_json::Value,
    doc: &str,
    default: Option<serde_json::Value>,
) -> serde_json::Value {
    schema["description"] = doc.trim().into();
    if let Some(default) = default {
        schema["default"] = default;
    }
    schema
}

/// JSON Schema of a word that is written as a table with these `fields`.
pub fn table_schema(
    kind: &str,
    doc: &str,
    fields: Vec<(&'static str, serde_json::Value)>,
) -> serde_json::Value {
    let mut properties = serde_json::Map::new();
    properties.insert("kind".to_owned(), serde_json::json!({ "const": kind }));
    for (name, schema) in fields {
        properties.insert(name.to_owned(), schema);
    }
    let must = |(name, schema): (&String, &serde_json::Value)| {
        let is_kind = name == "kind" && !properties.contains_key(kind);
        (is_kind || (name != "kind" && schema.get("default").is_none())).then(|| name.clone())
    };
    let required: Vec<String> = properties.iter().filter_map(must).collect();
    serde_json::json!({
        "type": "object",
        "description": doc.trim(),
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

/// JSON Schema of a word that is written as a string: one of the kinds that need no parameter.
pub fn text_schema(tables: &[serde_json::Value]) -> serde_json::Value {
    let bare = |table: &&serde_json::Value| {
        let required = table["required"].as_array();
        required.is_some_and(|names| names.iter().all(|name| name == "kind"))
    };
    let kinds: Vec<&serde_json::Value> =
        tables.iter().filter(bare).map(|table| &table["properties"]["kind"]["const"]).collect();
    serde_json::json!({ "enum": kinds })
}

/// Declares a word; see the module's documentation and, as the pattern, `schedule.rs`.
macro_rules! words {
    (
        $(#[$meta:meta])*
        $Name:ident, $what:literal {
            $(
                $(#[doc = $doc:literal])+
                $Variant:ident = $kind:literal
                $({ $( $(#[doc = $field_doc:literal])+ $field:ident: $Type:ty $(= $default:expr)?, $limits:expr; )+ })?
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

            /// Every kind with its parameters.
            const PARAMETERS: &[(&str, &[&str])] =
                &[$( ($kind, &[$($(stringify!($field)),+)?]) ),+];

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
                let (kind, fields) =
                    $crate::spec::word::open($what, Self::PARAMETERS, node, diagnostics)?;
                match kind.as_str() {
                    $( $kind => {
                        $($( let $field = fields.take::<$Type>(stringify!($field), None$(.or(Some($default)))?, &$limits, diagnostics); )+)?
                        fields.refuse_rest(&[$($(stringify!($field)),+)?], diagnostics)?;
                        Some(Self::$Variant $({ $( $field: $field? ),+ })?)
                    } )+
                    _ => unreachable!("invariant: `open` refuses unknown kinds"),
                }
            }

            fn label(&self) -> String {
                match self { $( Self::$Variant $({ $($field),+ })? => {
                    let changed: Vec<Option<(&'static str, String)>> = vec![
                        $($(
                            $crate::spec::word::written($field, None$(.or(Some($default)))?)
                                .map(|field| (stringify!($field), field.label()))
                        ),+)?
                    ];
                    $crate::spec::word::label($kind, changed)
                } )+ }
            }

            fn canonical(&self) -> serde_json::Value {
                match self { $( Self::$Variant $({ $($field),+ })? => {
                    let changed: Vec<Option<(&'static str, serde_json::Value)>> = vec![
                        $($(
                            $crate::spec::word::written($field, None$(.or(Some($default)))?)
                                .map(|field| (stringify!($field), field.canonical()))
                        ),+)?
                    ];
                    $crate::spec::word::canonical($kind, changed)
                } )+ }
            }

            fn kind(&self) -> Option<&'static str> {
                Some(Self::kind(self))
            }

            fn schema((): &()) -> serde_json::Value {
                let alternatives: Vec<serde_json::Value> = vec![$( {
                    let fields = vec![
                        $($( (stringify!($field), $crate::spec::word::field_schema(
                            <$Type as $crate::spec::value::Value>::schema(&$limits),
                            concat!($($field_doc),+),
                            None$(.or(Some(
                                <$Type as $crate::spec::value::Value>::canonical(&$default)
                            )))?,
                        )) ),+)?
                    ];
                    $crate::spec::word::table_schema($kind, concat!($($doc),+), fields)
                } ),+];
                let mut any = vec![$crate::spec::word::text_schema(&alternatives)];
                any.extend(alternatives);
                serde_json::json!({ "anyOf": any })
            }
        }
    };
}
pub(crate) use words;
