// Puts the page together. A section that cannot be made leaves the others, and what the server wrote in its place.

/** The document, with the look-ups that sections share. */
function reportOf(text) {
  const report = JSON.parse(text);
  for (const list of ["axes", "configurations", "claims", "curves", "foremost", "layers", "failures"]) report[list] ??= [];
  report.leaderboard ??= { columns: [], rows: [] };
  report.board = keyed(report.leaderboard);
  report.fullLabels = report.configurations.map(({ name, label }) => label || name);
  report.labels = report.fullLabels.map((label, at) => (onlyValue(report, at) ?? label));
  const places = new Map(report.configurations.map(({ name }, at) => [name, at]));
  report.configurationNamed = (name) => places.get(name);
  report.nameOf = (name) => report.labels[places.get(name)] ?? name ?? "";
  report.drawn = new Set(report.curves.flatMap(({ metric, series }) => (RATES.includes(metric) ? [] : series.map(({ configuration }) => configuration))));
  report.labelOf = (metric) => (metric === report.metric.name ? report.metric.label : withoutMean(report.board.column(`${metric}_mean`)?.label ?? "") || metric);
  report.unitOf = (metric) => report.board.unit(`${metric}_mean`);
  return report;
}

// Where one axis varies and its values are words, they say enough: "cosine" for "schedule=cosine".
function onlyValue({ axes, configurations }, at) {
  const value = axes.length === 1 ? configurations[at].axes?.[0] : null;
  return typeof value === "string" && asNumber(value) === null && !["true", "false", ""].includes(value) ? value : null;
}

const SECTIONS = [leaderboardSection, curvesSection, ratesSection, layersSection, networkSection, effectsSection, claimsSection, throughputSection, scalingSection, failuresSection, runsSection, provenanceSection];

function show() {
  document.getElementById("theme").append(themeButton());
  const report = reportOf(document.getElementById("document").textContent);
  const main = document.getElementById("main");
  const opening = document.getElementById("opening");
  guarded("the summary", () => {
    if (report.counts) document.getElementById("status").replaceChildren(...statusParts(report).flat(Infinity));
    if (report.sweep.changes?.length > 0) {
      opening.append(h("p", { class: "note" }, "Changed on the command line: ", report.sweep.changes.map((change, at) => [at > 0 ? ", " : "", h("code", { dir: "auto" }, breakable(change))])));
    }
    const best = bestSentence(report);
    if (best) opening.append(best);
    const header = document.querySelector("#notes pre");
    if (header && report.sweep.header) header.replaceWith(notes(report.sweep.header));
  });
  for (const make of SECTIONS) {
    guarded(make.name.replace("Section", ""), () => {
      const made = make(report);
      if (made === null) return;
      const written = document.getElementById(made.id);
      if (written) written.replaceWith(made);
      else main.append(made);
    });
  }
  fillContents(document.getElementById("contents"), [...main.querySelectorAll(":scope > section")]);
  // A link to a section works although sections are made only now.
  if (location.hash.length > 1) document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView({ behavior: "instant" });
  document.documentElement.dataset.shown = performance.now().toFixed(0);
}

// What went wrong is said on the page, where a reader sees it, and in the console, where a developer does.
function guarded(what, make) {
  try {
    make();
  } catch (error) {
    console.error(error);
    document.getElementById("main").append(h("p", { class: "problem", role: "alert" }, `This page could not show ${what}: ${error.message}. The CSV files beside it have all numbers.`));
  }
}

show();
