//! What the claims of a sweep came to, as terminal text.
//!
//! In: [`ClaimResult`]s and the width of the terminal. Out: for each claim the verdict with the claim in
//! words, and below that what it rests on, in lines that fit.

use console::{Style, truncate_str};

use super::leaderboard_table::{Colour, Symbols, TableStyle, printable};
use super::wrap::wrapped;
use crate::aggregate::claims::{ClaimResult, Effect, EffectKind, Nothing, Verdict};

/// Where the words begin, after the verdict.
const INDENT: usize = 11;

/// Renders `results`; nothing without any.
pub fn claims_table(results: &[ClaimResult], style: &TableStyle) -> String {
    if results.is_empty() {
        return String::new();
    }
    let mut text = String::from("\nclaims\n");
    for result in results {
        let verdict = format!("{:<INDENT$}", result.verdict.as_str());
        let look = match result.verdict {
            Verdict::Confirmed => Style::new().green(),
            Verdict::Refuted => Style::new().red(),
            Verdict::Undecided { .. } => Style::new().yellow(),
        };
        let verdict = match style.colour {
            Colour::On => look.force_styling(true).apply_to(verdict).to_string(),
            Colour::Off => verdict,
        };
        let blank = " ".repeat(INDENT);
        let lines = [(verdict, printable(&result.claim.text)), (blank, grounds(result))];
        let tail = match style.symbols {
            Symbols::Unicode => "…",
            Symbols::Ascii => "...",
        };
        for (begins, words) in lines {
            for line in wrapped(&begins, &words, style.width) {
                text += &truncate_str(&line, style.width, tail);
                text.push('\n');
            }
        }
    }
    text
}

/// What a verdict rests on: the comparison, the effect, n and p, and what would help.
fn grounds(result: &ClaimResult) -> String {
    let seeds = match result.n {
        1 => "1 seed".to_owned(),
        n => format!("{n} seeds"),
    };
    let mut grounds = vec![seeds];
    grounds.extend(result.p_value_holm.map(p_value));
    if let Verdict::Undecided { more_seeds } = result.verdict {
        grounds.push(match (result.n, more_seeds) {
            (0, _) => result.nothing.unwrap_or(Nothing::Yet).as_str().to_owned(),
            (_, Some(1)) => format!("1 more seed like these would {} it", result.tendency()),
            (_, Some(more)) => {
                format!("{more} more seeds like these would {} it", result.tendency())
            }
            (1, None) => "one seed has no spread".to_owned(),
            (_, None) => "no number of seeds like these would do".to_owned(),
        });
    }
    grounds.extend(effect(&result.effect));
    let never = result.never_reached.map_or(0, |never| never.runs);
    grounds.extend((never > 0).then(|| format!("{never} never reached the target")));
    grounds.push(printable(&result.claim.comparison()));
    grounds.join("; ")
}

fn effect(effect: &Effect) -> Option<String> {
    let name = match effect.kind {
        EffectKind::Excess => "excess over the factor",
        kind => kind.as_str(),
    };
    let mean = effect.mean?;
    let sign = |x: f64| match effect.kind {
        EffectKind::Ratio => significant(x),
        EffectKind::Difference | EffectKind::Excess => signed(x),
    };
    Some(match effect.ci95 {
        Some(ci95) => format!("{name} {} [{}, {}]", sign(mean), sign(ci95.low), sign(ci95.high)),
        None => format!("{name} {}", sign(mean)),
    })
}

fn signed(x: f64) -> String {
    let text = significant(x);
    if text.starts_with('-') || x == 0.0 { text } else { format!("+{text}") }
}

/// Three digits, as a person reads them.
pub(super) fn significant(x: f64) -> String {
    let size = if x == 0.0 { 0 } else { x.abs().log10().floor() as i32 };
    let decimals = usize::try_from(2 - size).unwrap_or(0).min(12);
    format!("{x:.decimals$}")
}

fn p_value(p: f64) -> String {
    if p < 0.001 { "p < 0.001".to_owned() } else { format!("p = {p:.3}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::sample::claims;

    #[test]
    fn every_verdict_says_what_it_rests_on() {
        let style = TableStyle { width: 120, symbols: Symbols::Unicode, colour: Colour::Off };
        insta::assert_snapshot!("claims_table", claims_table(&claims::judged(), &style));
        assert_eq!(claims_table(&[], &style), "");
        let narrow = TableStyle { width: 60, ..style };
        let text = claims_table(&claims::judged(), &narrow);
        let words =
            |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
        assert_eq!(words(&text), words(&claims_table(&claims::judged(), &style)), "nothing is cut");
    }
}
