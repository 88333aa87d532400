//! The parts of report.html that are not the sweep's: template, style sheet, scripts. All of them become
//! part of the program, and of every page: it needs no network and no file beside it.

/// The page, for minijinja.
pub(super) const TEMPLATE: &str = include_str!("assets/template.html");

/// The style sheet.
pub(super) const STYLE: &str = include_str!("assets/report.css");

/// The part of Apache ECharts that the page uses: `assets/echarts/README.md` says how it is made.
pub(super) const ECHARTS: &str = include_str!("assets/echarts.min.js");

/// The page's own script. The files share one scope, which nothing outside of it sees; `page.js` runs when all
/// others have been read.
pub(super) const SCRIPT: &str = concat!(
    "(() => {\n\"use strict\";\n",
    include_str!("assets/script/dom.js"),
    include_str!("assets/script/format.js"),
    include_str!("assets/script/theme.js"),
    include_str!("assets/script/chart.js"),
    include_str!("assets/script/selection.js"),
    include_str!("assets/script/data_table.js"),
    include_str!("assets/script/opening.js"),
    include_str!("assets/script/leaderboard.js"),
    include_str!("assets/script/forest.js"),
    include_str!("assets/script/effects.js"),
    include_str!("assets/script/curves.js"),
    include_str!("assets/script/layers.js"),
    include_str!("assets/script/throughput.js"),
    include_str!("assets/script/scaling.js"),
    include_str!("assets/script/records.js"),
    include_str!("assets/script/page.js"),
    "})();\n",
);
