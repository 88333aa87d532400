//! Every bad sweep file under `tests/fixtures/bad`, shown as a terminal shows it.
//!
//! The snapshots are the specification of the error texts; read them when one changes.

use std::path::Path;

use miette::{GraphicalReportHandler, GraphicalTheme};

use super::diagnostics::SpecError;
use super::sweep::SweepSpec;

/// An error as text: no colour, no drawing characters, 100 columns.
fn shown(error: &SpecError) -> String {
    let mut out = String::new();
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::none())
        .with_width(100)
        .with_links(false)
        .without_syntax_highlighting();
    for report in error.reports() {
        handler.render_report(&mut out, report).unwrap();
        out.push('\n');
    }
    out
}

/// Overrides stand in a first line `# overrides: a=b c=d`.
fn overrides(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().next().and_then(|line| line.strip_prefix("# overrides: "));
    line.map_or(Vec::new(), |line| line.split("  ").map(str::to_owned).collect())
}

#[test]
fn every_bad_file_is_refused_with_these_words() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/bad");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    assert!(files.len() >= 45, "{} files", files.len());
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(&folder);
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for path in files {
        let name = path.file_name().unwrap().to_str().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let error = SweepSpec::parse_bytes(name, &bytes, &overrides(&bytes))
            .expect_err(&format!("{name} was accepted"));
        settings.bind(|| insta::assert_snapshot!(name.trim_end_matches(".toml"), shown(&error)));
    }
}
