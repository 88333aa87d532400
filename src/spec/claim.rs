//! `[[claim]]`: a hypothesis about the sweep, stated before it is run and tested when it has been.

use std::iter;

use super::condition::Condition;
use super::quantity::Quantity;

/// A hypothesis about one metric of a group of configurations, beside another group's or a number.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// `text`: the claim in words.
    pub text: String,
    /// What is compared.
    pub metric: Quantity,
    /// The group that the claim is about: `smaller`, `larger` or `equal`.
    pub subject: Condition,
    /// What it is compared with: `than` or `to`.
    pub reference: Reference,
    /// How the two are said to compare.
    pub relation: Relation,
    /// Line of the file, from 1; 0 on the command line.
    pub line: usize,
}

/// What the subject of a claim is compared with.
#[derive(Debug, Clone, PartialEq)]
pub enum Reference {
    /// Another group of configurations.
    Group(Condition),
    /// A number, in the metric's unit; finite.
    Value(f64),
}

impl Reference {
    /// The group, where it is one.
    pub fn group(&self) -> Option<&Condition> {
        match self {
            Self::Group(condition) => Some(condition),
            Self::Value(_) => None,
        }
    }

    /// The group or the number as a line.
    pub fn label(&self) -> String {
        match self {
            Self::Group(condition) => condition.label(),
            Self::Value(value) => value.to_string(),
        }
    }
}

impl From<Condition> for Reference {
    fn from(condition: Condition) -> Self {
        Self::Group(condition)
    }
}

/// How the metric of a claim's subject is said to compare with that of its reference.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Relation {
    /// It is smaller.
    Smaller,
    /// It is larger.
    Larger,
    /// It is smaller by this factor at least: `factor * subject < reference`; greater than 1.
    SmallerBy(f64),
    /// It is larger by this factor at least: `subject > factor * reference`; greater than 1.
    LargerBy(f64),
    /// The two differ by less than this, in the metric's unit; greater than 0.
    Within(f64),
}

impl Claim {
    /// The conditions that it is about, that of the subject first.
    pub fn conditions(&self) -> impl Iterator<Item = &Condition> {
        iter::once(&self.subject).chain(self.reference.group())
    }

    /// The conditions that it is about, to hand in what is known of folders.
    pub fn conditions_mut(&mut self) -> impl Iterator<Item = &mut Condition> {
        let reference = match &mut self.reference {
            Reference::Group(condition) => Some(condition),
            Reference::Value(_) => None,
        };
        iter::once(&mut self.subject).chain(reference)
    }

    /// The comparison as a line: `epochs_to_target of schedule=cosine < lr=0.1`.
    pub fn comparison(&self) -> String {
        let (subject, reference) = (self.subject.label(), self.reference.label());
        let metric = self.metric.label();
        match self.relation {
            Relation::Smaller => format!("{metric}: {subject} < {reference}"),
            Relation::Larger => format!("{metric}: {subject} > {reference}"),
            Relation::SmallerBy(factor) => {
                format!("{metric}: {factor} x {subject} < {reference}")
            }
            Relation::LargerBy(factor) => {
                format!("{metric}: {subject} > {factor} x {reference}")
            }
            Relation::Within(margin) => {
                format!("{metric}: {subject} = {reference} within {margin}")
            }
        }
    }
}
