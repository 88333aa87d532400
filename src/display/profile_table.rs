//! What `gridlane bench step --profile` prints: where the time of a step goes.

use super::columns::columns;

/// The phases of a step with their seconds, and the layers with theirs, forward and backward.
/// Shares are of all phases together.
pub fn profile_table(phases: &[(String, f64)], layers: &[(String, [f64; 2])]) -> String {
    let whole: f64 = phases.iter().map(|(_, seconds)| seconds).sum();
    let ms = |seconds: f64| format!("{:.3}", seconds * 1e3);
    let share = |seconds: f64| match whole > 0.0 {
        true => format!("{:.1} %", seconds / whole * 100.0),
        false => String::new(),
    };
    let head = |cells: &[&str]| cells.iter().map(|&cell| cell.to_owned()).collect::<Vec<_>>();
    let mut rows = vec![head(&["phase", "ms", "share"])];
    rows.extend(
        phases.iter().map(|(name, seconds)| vec![name.clone(), ms(*seconds), share(*seconds)]),
    );
    let mut text = columns(&rows, |column| column > 0);
    let mut rows = vec![head(&["layer", "forward ms", "backward ms", "share"])];
    rows.extend(layers.iter().map(|(name, [forward, backward])| {
        vec![name.clone(), ms(*forward), ms(*backward), share(forward + backward)]
    }));
    text.push('\n');
    text.push_str(&columns(&rows, |column| column > 0));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_the_whole_step() {
        let phases = [("forward", 0.003), ("backward", 0.0069), ("update", 0.0001)]
            .map(|(name, seconds)| (name.to_owned(), seconds));
        let layers = [("conv1", [0.001, 0.0005]), ("relu1", [0.0, 0.00025])]
            .map(|(name, seconds)| (name.to_owned(), seconds));
        insta::assert_snapshot!(profile_table(&phases, &layers), @r"
        phase        ms   share
        forward   3.000  30.0 %
        backward  6.900  69.0 %
        update    0.100   1.0 %

        layer  forward ms  backward ms   share
        conv1       1.000        0.500  15.0 %
        relu1       0.000        0.250   2.5 %
        ");
        assert!(!profile_table(&phases.map(|(name, _)| (name, 0.0)), &[]).contains("NaN"));
    }
}
