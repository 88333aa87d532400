//! All that is wrong with a sweep file, collected and shown at once.
//!
//! In: messages with the place they point at. Out: one [`SpecError`] that prints every problem with
//! file, line, column, the line itself with a caret, and what to do. A reader goes on after a
//! mistake, so that nobody has to fix a file one error at a time.

use std::fmt;
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, Severity, SourceCode, SourceSpan};

use super::node::Span;

/// One thing that is wrong, and where.
#[derive(Debug, Clone)]
pub struct Problem {
    /// What is wrong: lowercase, no full stop.
    pub message: String,
    /// The place; `None` where a whole file is meant.
    pub span: Option<Span>,
    /// What stands beside the caret.
    pub label: String,
    /// What to do.
    pub help: Option<String>,
}

/// The texts that spans point into: the sweep file first, then each command-line override.
///
/// Cheap to clone. Kept beside a read sweep, it lets later steps, such as the check of every
/// expanded configuration, report what they find at the place where it was written.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    texts: Vec<NamedSource<Arc<String>>>,
}

impl Sources {
    /// No text yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a text; the number is its [`Span::source`].
    pub fn add(&mut self, name: &str, text: &str) -> usize {
        self.texts.push(NamedSource::new(name, Arc::new(text.to_owned())));
        self.texts.len() - 1
    }

    /// A new collection of problems in these texts.
    pub fn diagnostics(&self) -> Diagnostics {
        Diagnostics { sources: self.clone(), problems: Vec::new() }
    }

    /// The text between the ends of `span`; empty where the span points at nothing.
    pub fn text(&self, span: Span) -> &str {
        self.whole(span).get(span.start..span.end).unwrap_or_default()
    }

    /// Line of the sweep file that `span` starts in, from 1; 0 on the command line.
    pub fn line(&self, span: Span) -> usize {
        if span.source > 0 {
            return 0;
        }
        let before = self.whole(span).as_bytes().get(..span.start).unwrap_or_default();
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }

    fn whole(&self, span: Span) -> &str {
        self.texts.get(span.source).map_or("", |source| source.inner().as_str())
    }
}

/// Collects problems while a sweep file is read.
#[derive(Debug, Default)]
pub struct Diagnostics {
    sources: Sources,
    problems: Vec<Noted>,
}

/// A problem and the further places that it is about.
#[derive(Debug)]
struct Noted {
    problem: Problem,
    also: Vec<(Span, String)>,
}

impl Diagnostics {
    /// No problem yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a text that spans may point into; the number is its [`Span::source`].
    pub fn add_source(&mut self, name: &str, text: &str) -> usize {
        self.sources.add(name, text)
    }

    /// The texts that spans point into.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Notes a problem at `span`.
    pub fn error(&mut self, span: Span, message: impl Into<String>, label: impl Into<String>) {
        self.push(Problem {
            message: message.into(),
            span: Some(span),
            label: label.into(),
            help: None,
        });
    }

    /// Notes a problem at `span` with advice.
    pub fn error_with_help(
        &mut self,
        span: Span,
        message: impl Into<String>,
        label: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.push(Problem {
            message: message.into(),
            span: Some(span),
            label: label.into(),
            help: Some(help.into()),
        });
    }

    /// Notes a problem between two places, each with what stands beside its caret.
    pub fn clash(
        &mut self,
        here: (Span, &str),
        there: (Span, &str),
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let problem = Problem {
            message: message.into(),
            span: Some(here.0),
            label: here.1.to_owned(),
            help: Some(help.into()),
        };
        self.problems.push(Noted { problem, also: vec![(there.0, there.1.to_owned())] });
    }

    /// Notes a problem that was put together elsewhere.
    pub fn push(&mut self, problem: Problem) {
        self.problems.push(Noted { problem, also: Vec::new() });
    }

    /// Puts the name of what was read in front of the problems after the first `before` that say
    /// only what was expected.
    pub fn attribute(&mut self, before: usize, name: &str) {
        for Noted { problem, .. } in self.problems.iter_mut().skip(before) {
            if problem.message.starts_with("expected ") {
                problem.message.insert_str(0, &format!("`{name}`: "));
            }
        }
    }

    /// Gives the problems after the first `before` that stand at `span` this advice, if they have none.
    pub fn advise(&mut self, before: usize, span: Span, help: &str) {
        let noted = self.problems.iter_mut().skip(before).map(|noted| &mut noted.problem);
        for problem in noted.filter(|problem| problem.span == Some(span)) {
            problem.help.get_or_insert_with(|| help.to_owned());
        }
    }

    /// How many problems there are.
    pub fn count(&self) -> usize {
        self.problems.len()
    }

    /// `value`, or everything that was found wrong.
    ///
    /// # Errors
    /// Any problem noted so far.
    ///
    /// # Panics
    /// When `value` is `None` although nothing was noted, which is a bug of the reader.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, SpecError> {
        if self.problems.is_empty() {
            return Ok(value.expect("invariant: a reader that gives nothing has noted a problem"));
        }
        Err(SpecError::new(self.sources, self.problems))
    }
}

/// Why a sweep file, an override or a recorded configuration was refused; never empty.
#[derive(Debug)]
pub struct SpecError {
    reports: Vec<Report>,
}

impl SpecError {
    fn new(sources: Sources, mut problems: Vec<Noted>) -> Self {
        problems.sort_by_key(|noted| noted.problem.span.map_or((0, 0), |s| (s.source, s.start)));
        let reports = problems
            .into_iter()
            .map(|Noted { problem, also }| {
                let source = problem.span.and_then(|span| sources.texts.get(span.source).cloned());
                Report { problem, also, source }
            })
            .collect();
        Self { reports }
    }

    /// The problems, in the order of the file.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.reports.iter().map(|report| &report.problem)
    }

    /// The problems as miette prints them, in the order of the file. A terminal prints one after
    /// the other: printing the whole error says every message once more in its first line, which is
    /// meant for logs.
    pub fn reports(&self) -> impl ExactSizeIterator<Item = &dyn Diagnostic> {
        self.reports.iter().map(|report| report as &dyn Diagnostic)
    }
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, report) in self.reports.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            f.write_str(&report.problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for SpecError {}

impl Diagnostic for SpecError {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.reports.iter().map(|report| report as &dyn Diagnostic)))
    }
}

/// A [`Problem`] with the text it points into, as miette wants it.
#[derive(Debug)]
struct Report {
    problem: Problem,
    also: Vec<(Span, String)>,
    source: Option<NamedSource<Arc<String>>>,
}

impl Report {
    /// `span` as miette wants it, within the text whatever the span says.
    fn place(&self, span: Span) -> SourceSpan {
        let length = self.source.as_ref().map_or(0, |source| source.inner().len());
        let start = span.start.min(length);
        if start == length {
            // miette draws no caret behind the last character: point at that character.
            let last = self.source.as_ref().and_then(|source| source.inner().chars().next_back());
            let width = last.map_or(0, char::len_utf8);
            return (length - width, width).into();
        }
        (start, span.end.clamp(start, length) - start).into()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem.message)
    }
}

impl std::error::Error for Report {}

impl Diagnostic for Report {
    fn severity(&self) -> Option<Severity> {
        Some(Severity::Error)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.problem.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.problem.span?;
        self.source.as_ref()?;
        let main =
            LabeledSpan::new_primary_with_span(Some(self.problem.label.clone()), self.place(span));
        // miette shows one text for a report; a second place in another text is left to the words.
        let also = self.also.iter().filter(move |(other, _)| other.source == span.source);
        let also = also.map(|(other, label)| {
            LabeledSpan::new_with_span(Some(label.clone()), self.place(*other))
        });
        Some(Box::new(std::iter::once(main).chain(also)))
    }
}

/// `help` text for a misspelt word: the nearest legal one, then all of them.
pub fn suggest(given: &str, legal: &[&str]) -> String {
    let all = legal.join(", ");
    match nearest(given, legal) {
        Some(word) => format!("did you mean `{word}`? legal: {all}"),
        None => format!("legal: {all}"),
    }
}

/// The legal word that `given` was probably meant to be: one with few slips, or one that has it as a
/// part (`accuracy` for `val_accuracy`).
pub fn nearest<'a>(given: &str, legal: &[&'a str]) -> Option<&'a str> {
    let shares = |word: &str| given.chars().any(|c| word.contains(c));
    let close = legal
        .iter()
        .filter(|word| shares(word))
        .map(|word| (strsim::damerau_levenshtein(given, word), *word))
        .filter(|(distance, word)| *distance <= 1 + word.len().min(given.len()) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word);
    let part = || legal.iter().copied().find(|word| given.len() >= 3 && word.contains(given));
    close.or_else(part)
}
