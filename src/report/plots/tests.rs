use super::evidence::claims_plot;
use super::{Plot, plots};
use crate::aggregate::claims::{ClaimResult, EffectKind};
use crate::aggregate::curves::RunHistory;
use crate::aggregate::sample;
use crate::report::page::sample::{Bundle, history, small};
use crate::spec::claim::Relation;

fn names(plots: &[Plot]) -> Vec<&str> {
    plots.iter().map(|plot| plot.name.as_str()).collect()
}

#[test]
fn there_is_a_plot_for_all_that_is_known() {
    assert_eq!(
        names(&plots(&small().inputs())),
        [
            "curves_val_accuracy",
            "curves_train_loss",
            "curves_val_loss",
            "curves_lr",
            "gradient_norm",
            "gradient_norm_min",
            "effects",
            "claims"
        ]
    );
    let timed = sample::timed_table(&[
        ("cpu", 1, 64, 0, Some(128.0)),
        ("cpu", 2, 64, 0, Some(200.0)),
        ("cpu", 4, 64, 0, Some(300.0)),
        ("cpu", 1, 128, 0, Some(150.0)),
    ]);
    let timed = Bundle::new(timed, Vec::new(), |_| RunHistory::default());
    assert_eq!(names(&plots(&timed.inputs())), ["effects", "throughput", "scaling"]);
    let nothing = Bundle::new(sample::table(&[]), Vec::new(), |_| RunHistory::default());
    assert!(plots(&nothing.inputs()).is_empty());
}

#[test]
fn what_has_curves_is_drawn_also_behind_many_that_have_none() {
    let names_of = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "trained"];
    let runs: Vec<(&str, u64, Option<f64>)> = names_of
        .iter()
        .enumerate()
        .map(|(place, name)| (*name, 0, Some(0.9 - 0.05 * place as f64)))
        .collect();
    let bundle =
        Bundle::new(sample::table(&runs), Vec::new(), |row| match row.run.axes[0].label.as_str() {
            "trained" => history(0.5, 3, 2),
            _ => RunHistory::default(),
        });
    let drawn = plots(&bundle.inputs());
    for name in ["curves_val_accuracy", "gradient_norm", "gradient_norm_min"] {
        let plot = drawn.iter().find(|plot| plot.name == name);
        assert!(plot.is_some_and(|plot| plot.svg.contains("trained")), "{name}");
    }
}

#[test]
fn curves_of_a_small_sweep() {
    let drawn = plots(&small().inputs());
    let curves = drawn.iter().find(|plot| plot.name == "curves_val_accuracy").unwrap();
    insta::assert_snapshot!("curves_val_accuracy", curves.svg);
}

#[test]
fn a_claim_of_which_nothing_is_known_is_not_drawn() {
    let claims: Vec<ClaimResult> = sample::claims::judged();
    let unknown = claims.iter().filter(|claim| claim.effect.mean.is_none()).cloned().collect();
    let bundle = Bundle::new(sample::table(&[]), unknown, |_| RunHistory::default());
    assert!(plots(&bundle.inputs()).is_empty());
}

#[test]
fn a_factor_that_is_claimed_is_told_where_its_line_is() {
    let mut claims: Vec<ClaimResult> = sample::claims::judged();
    let factor = claims.iter().find(|result| result.effect.kind == EffectKind::Ratio).unwrap();
    let mut other = factor.clone();
    other.claim.relation = Relation::SmallerBy(1.5);
    claims.push(other);
    let drawn = claims_plot(&claims).unwrap().svg;
    for told in [
        "validation accuracy, ratio (tested against 2)",
        "validation accuracy, ratio (tested against 0.667)",
        "Vertical line: what the claim is tested against.",
    ] {
        assert_eq!(drawn.matches(told).count(), 1, "{told}: {drawn}");
    }
}
