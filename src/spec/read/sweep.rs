//! [`SweepSpec::parse`]: a sweep file and its overrides, section after section.

use std::collections::{BTreeMap, BTreeSet};

use super::axis::{axis, find_key, single};
use super::claim;
use super::hints::{key_help, top_level_help};
use super::mode::Modes;
use super::rules::{self, Written};
use super::settings::{self, Settings};
use super::short::Size;
use super::{budget, document, layer, overrides, short, slurm, text};
use crate::ids::SweepName;
use crate::spec::claim::Claim;
use crate::spec::condition::Condition;
use crate::spec::config::{Key, RunConfig, Setting};
use crate::spec::diagnostics::{Diagnostics, Sources, SpecError};
use crate::spec::node::{Name, Node, Raw, Span};
use crate::spec::quantity::Quantity;
use crate::spec::sweep::{Axis, Choice, Exclude, Include, SweepSpec, When, Zip};

/// The word on the command line for a sweep's short size.
pub const SHORT: &str = "--short";

impl SweepSpec {
    /// Reads a sweep file from its text, with command-line overrides laid over it; [`SHORT`] among
    /// them stands for what the file itself has in `[short]`, whatever its place.
    ///
    /// `file_name` is shown in messages. The [`Sources`] hold the texts that the spec's spans point
    /// into, for problems that show only once the sweep is expanded.
    ///
    /// # Errors
    /// Everything that is wrong with the file and the overrides, at once.
    pub fn parse(
        file_name: &str,
        text: &str,
        overrides: &[String],
    ) -> Result<(Self, Sources), SpecError> {
        let text = text::normalise(text);
        let mut diagnostics = Diagnostics::new();
        let file = diagnostics.add_source(file_name, &text);
        let (switches, changes): (Vec<&String>, Vec<&String>) =
            overrides.iter().partition(|change| *change == SHORT);
        let changes: Vec<_> = changes
            .into_iter()
            .filter_map(|change| {
                let source = diagnostics.add_source("command line", change);
                overrides::parse(change, source, &mut diagnostics)
            })
            .collect();
        let spec = document::parse(&text, file, &mut diagnostics).and_then(|mut tree| {
            let short = short::take(&mut tree);
            // What is wrong with the other size of the sweep is better known now than in the night.
            let other =
                (switches.is_empty() && short.is_some()).then(|| (tree.clone(), short.clone()));
            let size = if switches.is_empty() { Size::Full } else { Size::Short };
            short::keep_claims(&mut tree, size);
            let mut touched = match size {
                Size::Full => BTreeSet::new(),
                Size::Short => short::apply(&mut tree, short, &mut diagnostics),
            };
            touched.extend(layer::apply(&mut tree, changes, &mut diagnostics));
            let spec = Reader::new(touched, &mut diagnostics).sweep(&tree, file_name);
            if let Some((mut tree, short)) = other.filter(|_| diagnostics.count() == 0) {
                short::keep_claims(&mut tree, Size::Short);
                let touched = short::apply(&mut tree, short, &mut diagnostics);
                Reader::new(touched, &mut diagnostics).sweep(&tree, file_name);
            }
            spec
        });
        let sources = diagnostics.sources().clone();
        diagnostics.finish(spec).map(|spec| (spec, sources))
    }

    /// Reads a sweep file from its bytes: UTF-8, with or without a byte-order mark, with any line
    /// ends. Otherwise as [`parse`](Self::parse).
    ///
    /// # Errors
    /// As [`parse`](Self::parse), and when the bytes are not UTF-8.
    pub fn parse_bytes(
        file_name: &str,
        bytes: &[u8],
        overrides: &[String],
    ) -> Result<(Self, Sources), SpecError> {
        match text::decode(bytes) {
            Ok(text) => Self::parse(file_name, &text, overrides),
            Err(bad) => {
                let mut diagnostics = Diagnostics::new();
                let source = diagnostics.add_source(file_name, &bad.shown);
                let length = bad.shown[bad.at..].chars().next().map_or(0, char::len_utf8);
                let span = Span { source, start: bad.at, end: bad.at + length };
                diagnostics.error_with_help(span, bad.message, "here", bad.help);
                diagnostics.finish(None)
            }
        }
    }
}

/// What the sections of one file have to know of each other.
struct Reader<'a> {
    diagnostics: &'a mut Diagnostics,
    /// Where each key got its values: `[base]` and `[grid]` exclude each other, and so on.
    places: BTreeMap<Key, (Span, &'static str)>,
    /// Keys whose values are not known, because there was a problem with them or because the
    /// command line replaced them: nothing is concluded from what they take.
    unsure: BTreeSet<Key>,
}

/// The sections of keys, while the rules are still to be checked.
#[derive(Default)]
struct Keys {
    base: RunConfig,
    base_spans: Vec<(Key, Span)>,
    grid: Vec<Axis>,
    zips: Vec<Zip>,
    whens: Vec<(When, Written)>,
}

impl<'a> Reader<'a> {
    fn new(overridden: BTreeSet<Key>, diagnostics: &'a mut Diagnostics) -> Self {
        Self { diagnostics, places: BTreeMap::new(), unsure: overridden }
    }

    fn sweep(mut self, tree: &Node, file_name: &str) -> Option<SweepSpec> {
        let Raw::Table(top) = &tree.raw else { return None };
        let get = |name: &str| top.iter().find(|(other, _)| other.text == name);
        self.schema(get("schema"))?;
        self.refuse_unknown_sections(top);
        let name = self.name(get("name").map(|(_, node)| node), file_name);
        let description = get("description").and_then(|(_, node)| self.description(node));
        let mut keys = Keys::default();
        if let Some((_, node)) = get("base") {
            self.base(node, &mut keys);
        }
        if let Some((_, node)) = get("grid") {
            keys.grid = self.axes(node, "[grid]");
        }
        for node in self.tables(get("zip")) {
            keys.zips.extend(self.zip(node));
        }
        for node in self.tables(get("when")) {
            let when = self.when(node, &keys);
            keys.whens.extend(when);
        }
        self.refuse_early_tests(&keys);
        let excludes = self.tables(get("exclude"));
        let excludes = excludes.into_iter().filter_map(|node| self.exclude(node, &keys)).collect();
        let includes = self.tables(get("include"));
        let includes: Vec<Include> =
            includes.into_iter().filter_map(|node| self.include(node)).collect();
        let seeds = self.seeds(get("repeats"), &keys);
        let modes = self.modes(&keys, &includes);
        let metric = get("metric").map(|(_, node)| node);
        let metric = settings::metric(metric, modes, self.diagnostics);
        let run = settings::run(get("run").map(|(_, node)| node), self.diagnostics);
        let budget = budget::budget(get("budget").map(|(_, node)| node), self.diagnostics);
        let slurm = slurm::slurm(get("slurm").map(|(_, node)| node), self.diagnostics);
        let target = metric.as_ref().is_some_and(|metric| metric.target.is_some());
        let claims = self.tables(get("claim"));
        let stated = |node| Some((self.stated(node, &keys, target)?, node.span));
        let claims: Vec<(Claim, Span)> = claims.into_iter().filter_map(stated).collect();
        for (claim, span) in &claims {
            if let Quantity::Result(metric) = claim.metric {
                modes.refuse_unmeasured(metric, *span, self.diagnostics);
            }
        }
        let mut base = keys.base;
        let seeds = seeds?;
        base.seed = seeds.first().copied().unwrap_or_default();
        Some(SweepSpec {
            name: name?,
            description,
            base,
            base_spans: keys.base_spans,
            grid: keys.grid,
            zips: keys.zips,
            whens: keys.whens.into_iter().map(|(when, _)| when).collect(),
            excludes,
            includes,
            seeds,
            metric: metric?,
            run,
            budget,
            slurm,
            claims: claims.into_iter().map(|(claim, _)| claim).collect(),
        })
    }

    /// How the runs are executed, as far as that is known.
    fn modes(&self, keys: &Keys, includes: &[Include]) -> Modes {
        let included = includes.iter().flat_map(|include| &include.settings);
        let included = included.map(|choice| choice.setting.clone());
        let included = included.filter(|setting| setting.key() == Key::Mode);
        let values = keys.domain(Key::Mode, &self.unsure);
        Modes::of(values.map(|values| values.into_iter().chain(included).collect()))
    }

    /// Checks `schema = 1`. What another version means, this one cannot say: then nothing else is
    /// read.
    fn schema(&mut self, entry: Option<&(Name, Node)>) -> Option<()> {
        let Some((_, node)) = entry else {
            let help = "write `schema = 1` as the first line";
            let message = "the file does not say which version of the format it is written in";
            self.diagnostics.error_with_help(Span::default(), message, "no `schema` here", help);
            return Some(());
        };
        if node.raw == Raw::Integer(1) {
            return Some(());
        }
        let message = format!("expected `schema = 1`, found {}", node.describe());
        let help = match &node.raw {
            Raw::Integer(version) if *version > 1 => "the file is for a later gridlane",
            Raw::Text(_) => "write it without quotes",
            Raw::Float(version) if *version == 1.0 => "write it without a point: `schema = 1`",
            _ => "version 1 is the only one yet",
        };
        self.diagnostics.error_with_help(node.span, message, "unknown version", help);
        None
    }

    fn refuse_unknown_sections(&mut self, top: &[(Name, Node)]) {
        for (name, _) in top.iter().filter(|(name, _)| !settings::is_top_level(&name.text)) {
            let message = format!("nothing at the top of a sweep file is called `{}`", name.text);
            let help = top_level_help(&name.text);
            self.diagnostics.error_with_help(name.span, message, "unknown here", help);
        }
    }

    fn name(&mut self, node: Option<&Node>, file_name: &str) -> Option<SweepName> {
        let Some(node) = node else {
            let help = format!("write `name = \"{}\"` below the schema", name_from_file(file_name));
            let message = "the sweep has no name";
            self.diagnostics.error_with_help(Span::default(), message, "no `name` here", help);
            return None;
        };
        let Raw::Text(text) = &node.raw else {
            let message = format!("a name is a string, found {}", node.describe());
            self.diagnostics.error(node.span, message, "expected a string");
            return None;
        };
        SweepName::new(text)
            .map_err(|bad| {
                let help = "the name is also the name of the sweep's folder";
                self.diagnostics.error_with_help(node.span, bad.to_string(), "not a name", help);
            })
            .ok()
    }

    fn description(&mut self, node: &Node) -> Option<String> {
        if let Raw::Text(text) = &node.raw {
            return Some(text.clone());
        }
        let message = format!("a description is a string, found {}", node.describe());
        self.diagnostics.error(node.span, message, "expected a string");
        None
    }

    /// The entries of a section of keys.
    fn entries<'n>(&mut self, node: &'n Node, place: &str) -> Option<&'n [(Name, Node)]> {
        match &node.raw {
            Raw::Table(entries) => return Some(entries),
            Raw::List(items) if items.iter().all(|item| matches!(item.raw, Raw::Table(_))) => {
                let message = format!("{place} is one table, found a list of tables");
                let help = format!("write {place}, in single brackets, once");
                self.diagnostics.error_with_help(node.span, message, "repeated section", help);
            }
            _ => {
                let message = format!("{place} is a table, found {}", node.describe());
                self.diagnostics.error(node.span, message, "expected a table");
            }
        }
        None
    }

    /// The tables of a repeatable section.
    fn tables<'n>(&mut self, entry: Option<&'n (Name, Node)>) -> Vec<&'n Node> {
        let Some((name, node)) = entry else { return Vec::new() };
        let name = &name.text;
        match &node.raw {
            Raw::List(items) if items.iter().all(|item| matches!(item.raw, Raw::Table(_))) => {
                return items.iter().collect();
            }
            Raw::Table(_) => {
                let message = format!("[[{name}]] may stand several times, found a single table");
                let help = format!("write [[{name}]], in double brackets");
                self.diagnostics.error_with_help(node.span, message, "single brackets", help);
            }
            _ => {
                let message = format!("[[{name}]] is a table, found {}", node.describe());
                let help = format!("write [[{name}]] on a line of its own, and the keys below");
                self.diagnostics.error_with_help(node.span, message, "expected a table", help);
            }
        }
        Vec::new()
    }

    fn base(&mut self, node: &Node, keys: &mut Keys) {
        for (name, node) in self.entries(node, "[base]").unwrap_or_default() {
            let Some(key) = Key::from_name(&name.text) else {
                let message = format!("there is no key `{}`", name.text);
                let help = key_help(&name.text);
                self.diagnostics.error_with_help(name.span, message, "unknown key", help);
                continue;
            };
            self.places.insert(key, (name.span, "[base]"));
            match single(key, node, "[base]", self.diagnostics) {
                Some(setting) => keys.base.set(&setting),
                None => {
                    self.unsure.insert(key);
                }
            }
            keys.base_spans.push((key, node.span));
        }
    }

    /// The axes of `[grid]`, a `[[zip]]` or the `grid` of a `[[when]]`.
    fn axes(&mut self, node: &Node, place: &'static str) -> Vec<Axis> {
        let Some(entries) = self.entries(node, place) else { return Vec::new() };
        if entries.is_empty() {
            let message = format!("{place} is empty");
            let help = "add a key with a list of values, or remove the section";
            self.diagnostics.error_with_help(node.span, message, "no axis here", help);
        }
        let mut axes = Vec::new();
        for (name, node) in entries {
            let Some(key) = find_key(name, self.diagnostics) else { continue };
            self.claim(key, name.span, place);
            match axis(key, node, place, self.diagnostics) {
                Some(axis) => axes.push(axis),
                None => {
                    self.unsure.insert(key);
                }
            }
        }
        axes
    }

    /// Notes a key that already has its values from another place.
    fn claim(&mut self, key: Key, span: Span, place: &'static str) {
        let Some((first, other)) = self.places.get(&key).copied() else {
            self.places.insert(key, (span, place));
            return;
        };
        if place == "[[when]]" && matches!(other, "[base]" | "[[when]]") {
            // The base's value holds for the points that no rule picks; two rules are compared once
            // their conditions are read.
            return;
        }
        let message = if other == place {
            format!("`{key}` stands in two {place} tables")
        } else {
            format!("`{key}` stands in {other} and in {place}")
        };
        let help = match other {
            "[base]" => "a key is fixed in [base] or varies, not both: remove one",
            _ => "a key varies in one place: remove one",
        };
        self.unsure.insert(key);
        self.diagnostics.clash((span, "and here"), (first, "here"), message, help);
    }

    fn zip(&mut self, node: &Node) -> Option<Zip> {
        let before = self.diagnostics.count();
        let axes = self.axes(node, "[[zip]]");
        let Some(first) = axes.first().filter(|_| self.diagnostics.count() == before) else {
            self.unsure.extend(axes.iter().map(|axis| axis.key));
            return None;
        };
        let Raw::Table(entries) = &node.raw else { return None };
        for (axis, (name, _)) in axes.iter().zip(entries).skip(1) {
            let (length, expected) = (axis.values.len(), first.values.len());
            if length != expected {
                let message = format!(
                    "lists that move together have one length: `{}` has {expected}, `{}` has {length}",
                    first.key, axis.key,
                );
                let help = "the n-th values of all lists form a point; for the product use [grid]";
                let (here, there) = (format!("{length} values"), format!("{expected} values"));
                let there = (entries[0].0.span, there.as_str());
                self.diagnostics.clash((name.span, &here), there, message, help);
            }
        }
        Some(Zip { axes })
    }

    fn when(&mut self, node: &Node, keys: &Keys) -> Option<(When, Written)> {
        let settings = Settings::open(node, "[[when]]", &["if", "grid"], self.diagnostics)?;
        let condition = settings.get("if").and_then(|node| self.condition(node));
        let axes = settings.get("grid").map(|node| self.axes(node, "[[when]]"));
        if let Some(missing) = ["if", "grid"].into_iter().find(|name| settings.get(name).is_none())
        {
            let message = format!("[[when]] needs `{missing}`");
            let help = "write `if = { batch_norm = true }` and `grid.lr = [0.1, 0.3]`";
            let label = format!("no `{missing}` here");
            self.diagnostics.error_with_help(node.span, message, label, help);
        }
        let axes = axes.unwrap_or_default();
        let Some(written) = condition.filter(|_| !axes.is_empty()) else {
            self.unsure.extend(axes.iter().map(|axis| axis.key));
            return None;
        };
        for (key, span) in
            written.keys().filter(|(key, _)| axes.iter().any(|axis| axis.key == *key))
        {
            let message = format!("the rule tests `{key}`, which it sets itself");
            let help = "test keys of [base], [grid], [[zip]] and earlier [[when]]s";
            self.diagnostics.error_with_help(span, message, "set below", help);
            self.unsure.insert(key);
        }
        let unsure = &self.unsure;
        rules::refuse_idle(&written, |key| keys.domain(key, unsure), self.diagnostics);
        let line = self.diagnostics.sources().line(node.span);
        let when = When { condition: written.condition(), axes, span: node.span, line };
        self.refuse_overlap(&when, keys);
        Some((when, written))
    }

    fn condition(&mut self, node: &Node) -> Option<Written> {
        if let Raw::Table(tests) = &node.raw {
            return rules::read(tests, node.span, "`if`", self.diagnostics);
        }
        let message = format!("`if` is a table, found {}", node.describe());
        let help = "write `if = { batch_norm = true }`";
        self.diagnostics.error_with_help(node.span, message, "expected a table", help);
        None
    }

    /// Notes an earlier rule that gives the same points other values of the same key.
    fn refuse_overlap(&mut self, when: &When, keys: &Keys) {
        for (earlier, _) in &keys.whens {
            let shared =
                when.axes.iter().find(|axis| earlier.axes.iter().any(|a| a.key == axis.key));
            let Some(axis) = shared else { continue };
            let unsure = &self.unsure;
            let domain = |key| keys.domain(key, unsure);
            let tested =
                |condition: &Condition| condition.tests.iter().any(|(key, _)| unsure.contains(key));
            if tested(&when.condition)
                || tested(&earlier.condition)
                || rules::disjoint(&earlier.condition, &when.condition, domain)
            {
                continue;
            }
            let message = format!("two [[when]] rules may give `{}` values at one point", axis.key);
            let help = "let both test one key, for values that exclude each other";
            let (here, there) = ((when.span, "this rule"), (earlier.span, "and this one"));
            self.diagnostics.clash(here, there, message, help);
        }
    }

    /// Notes rules that test what only a later rule sets: they are applied in the order written.
    fn refuse_early_tests(&mut self, keys: &Keys) {
        for (index, (_, written)) in keys.whens.iter().enumerate() {
            for (later, _) in &keys.whens[index + 1..] {
                for (key, span) in written.keys() {
                    if !later.axes.iter().any(|axis| axis.key == key) {
                        continue;
                    }
                    let message = format!("the rule tests `{key}`, which a later rule sets");
                    let help = "rules apply in the order written: move the other rule up";
                    let there = (later.span, "set here");
                    self.diagnostics.clash((span, "tested here"), there, message, help);
                }
            }
        }
    }

    fn exclude(&mut self, node: &Node, keys: &Keys) -> Option<Exclude> {
        let entries = self.entries(node, "[[exclude]]")?;
        let written = rules::read(entries, node.span, "[[exclude]]", self.diagnostics)?;
        let unsure = &self.unsure;
        rules::refuse_idle(&written, |key| keys.domain(key, unsure), self.diagnostics);
        let line = self.diagnostics.sources().line(node.span);
        Some(Exclude { condition: written.condition(), line })
    }

    fn include(&mut self, node: &Node) -> Option<Include> {
        let entries = self.entries(node, "[[include]]")?;
        if entries.is_empty() {
            let message = "[[include]] names no key";
            let help = "name the keys in which the point differs from [base]";
            self.diagnostics.error_with_help(node.span, message, "empty", help);
        }
        let mut settings = Vec::new();
        for (name, node) in entries {
            let key = find_key(name, self.diagnostics);
            let setting = key.and_then(|key| single(key, node, "[[include]]", self.diagnostics));
            settings.extend(setting.map(|setting| Choice { setting, span: node.span }));
        }
        let line = self.diagnostics.sources().line(node.span);
        Some(Include { settings, line })
    }

    fn stated(&mut self, node: &Node, keys: &Keys, target: bool) -> Option<Claim> {
        let unsure = &self.unsure;
        claim::read(node, |key| keys.domain(key, unsure), target, self.diagnostics)
    }

    fn seeds(&mut self, entry: Option<&(Name, Node)>, keys: &Keys) -> Option<Vec<u64>> {
        let Some((name, node)) = entry else { return Some(vec![keys.base.seed]) };
        if let Some((span, _)) = self.places.get(&Key::Seed).copied() {
            let message = "seeds stand in [base] and in [repeats]";
            let help = "remove `seed` from [base]: `seeds = [7]` in [repeats] is one seed";
            let (here, there) = ((name.span, "and here"), (span, "here"));
            self.diagnostics.clash(here, there, message, help);
        }
        settings::repeats(node, self.diagnostics)
    }
}

impl Keys {
    /// Every value that `key` takes in the grid, in the order written; `None` where that is unsure.
    fn domain(&self, key: Key, unsure: &BTreeSet<Key>) -> Option<Vec<Setting>> {
        if unsure.contains(&key) {
            return None;
        }
        let mut fixed = self.grid.iter().chain(self.zips.iter().flat_map(|zip| &zip.axes));
        let mut domain = match fixed.find(|axis| axis.key == key) {
            Some(axis) => axis.values.iter().map(|value| value.setting.clone()).collect(),
            None => vec![self.base.setting(key)],
        };
        for axis in self.whens.iter().flat_map(|(when, _)| &when.axes) {
            if axis.key == key {
                domain.extend(axis.values.iter().map(|value| value.setting.clone()));
            }
        }
        Some(domain)
    }
}

/// A legal name made from the file's.
fn name_from_file(file_name: &str) -> String {
    let stem = file_name.rsplit(['/', '\\']).next().unwrap_or_default();
    let stem = stem.strip_suffix(".toml").unwrap_or(stem);
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let name: String = stem.chars().map(|c| if legal(c) { c } else { '-' }).take(100).collect();
    let name = name.trim_matches(['.', '_', '-']);
    if name.is_empty() { "my-sweep".to_owned() } else { name.to_owned() }
}
