//! `[[claim]]`: a hypothesis about the sweep, stated before it is run and tested when it has been.

use super::condition::Condition;
use super::quantity::Quantity;

/// A hypothesis that compares two groups of configurations in one metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// `text`: the claim in words.
    pub text: String,
    /// What is compared.
    pub metric: Quantity,
    /// The group that the claim is about: `smaller`, `larger` or `equal`.
    pub subject: Condition,
    /// The group that it is compared with: `than` or `to`.
    pub reference: Condition,
    /// How the two are said to compare.
    pub relation: Relation,
    /// Line of the file, from 1; 0 on the command line.
    pub line: usize,
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
    /// The comparison as a line: `epochs_to_target of schedule=cosine < lr=0.1`.
    pub fn comparison(&self) -> String {
        let [subject, reference] = [&self.subject, &self.reference].map(Condition::label);
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
