// The leaderboard: means with their intervals, drawn to one scale beside the metric that ranks.

const SUMMARY = /^(.*)_(mean|std|ci95_low|ci95_high)$/;
const SHOWN_METRICS = ["test_accuracy", "epochs_to_target", "generalization_gap", "wall_s", "images_per_s"];
const ROOM_FOR_METRICS = 3;
const MOST_AXES = 5;

/** A TABLE by the keys of its columns. */
function keyed(table) {
  const places = new Map(table.columns.map(({ key }, at) => [key, at]));
  return {
    has: (key) => places.has(key),
    at: (key) => places.get(key),
    value: (row, key) => (places.has(key) ? row[places.get(key)] : null),
    unit: (key) => table.columns[places.get(key)]?.unit ?? "",
    column: (key) => table.columns[places.get(key)],
  };
}

function leaderboardSection(report) {
  const table = report.leaderboard;
  if (!table || table.rows.length === 0) return null;
  const filled = filledKeys(table);
  const axes = report.axes.map(({ key }) => key).filter((key) => report.board.has(key));
  const byAxes = axes.length > 0 && axes.length <= MOST_AXES;
  const header = byAxes ? axes[0] : "configuration";
  const columns = leaderboardColumns(report, header);
  const primary = `${report.metric.name}_mean`;
  const room = Math.max(0, ROOM_FOR_METRICS - (byAxes ? axes.length : 1));
  const known = SHOWN_METRICS.map((name) => `${name}_mean`).filter((key) => key !== primary && filled.has(key));
  const claimed = (key) => report.claims.some(({ metric }) => metric === withoutMean(report.board.column(key).label));
  const metrics = known.filter((key, at) => at < room || (at < ROOM_FOR_METRICS && claimed(key)));
  const shown = ["rank", primary, "interval", header, ...(byAxes ? axes : []), "n", "failed", "skipped", ...metrics, "p_value_holm"].filter((key) => ["rank", "interval", header].includes(key) || showsAtFirst(key, table, report, filled));
  return section("leaderboard", "Leaderboard",
    h("p", { class: "lead" }, leaderboardWords(report, [primary, ...metrics])),
    dataTable({ caption: "Leaderboard", columns, rows: table.rows, shown, header, noun: "configuration",
      rowClass: (row) => (report.board.value(row, "rank") === 1 ? "best-row" : report.board.value(row, "rank") === null ? "unranked" : null) }));
}

// A count of failures that is nowhere above 0 says nothing.
function showsAtFirst(key, table, report, filled) {
  if (key === "failed" || key === "skipped") return table.rows.some((row) => report.board.value(row, key) > 0);
  return filled.has(key);
}

function leaderboardWords(report, shown) {
  const { metric, board, leaderboard } = report;
  const ranked = leaderboard.rows.some((row) => isNumber(board.value(row, `${metric.name}_mean`)));
  const target = targetDrawn(metric) === null || !ranked ? "" : ` The dotted line is the target, ${number(metric.target)}.`;
  const better = metric.goal === "minimize" ? "smaller is better" : "larger is better";
  return `Ranked by ${metric.label}: mean over the seeds, ${better}. ± is half of the 95 % confidence interval of the mean; p is of the difference to the best, paired on the seeds, corrected for the number of comparisons (Holm).${target}${tiedWords(report)}${reachedWords(report, shown)}`;
}

// A mark for what cannot be told from the best is read as "as good", which few seeds never show.
function tiedWords({ board, leaderboard }) {
  const tied = leaderboard.rows.filter((row) => isYes(board.value(row, "tied_with_best")));
  return tied.length > 1 ? " Tied is what cannot be told from the best at 5 %: with few seeds that may be far worse and still be chance." : "";
}

/** What is to be said of means of times to the target, where some seeds never reached it. */
function reachedWords({ metric, board, leaderboard }, shown) {
  if (!shown.some((key) => key.endsWith("_to_target_mean")) || !leaderboard.rows.some((row) => reachedBy(board, row))) return "";
  const compared = metric.name.endsWith("_to_target") ? ", and p counts the others with the length of the longest run" : "";
  return ` A time to the target is a mean over the seeds that reached it, (2 of 3) where not all did${compared}.`;
}

function reachedBy(board, row) {
  const [reached, n] = ["target_reached", "n"].map((key) => board.value(row, key));
  return isNumber(reached) && isNumber(n) && reached < n ? ` (${number(reached)} of ${number(n)})` : "";
}

function leaderboardColumns(report, header) {
  const { leaderboard: table, board, metric } = report;
  const columns = [];
  for (const column of plainColumns(report, table)) {
    const [, stem, part] = SUMMARY.exec(column.key) ?? [];
    const summary = stem !== undefined && board.has(`${stem}_mean`) && board.has(`${stem}_ci95_low`);
    if (summary && part === "mean") {
      if (stem === metric.name) columns.push(intervalColumn(report, column));
      columns.push(meanColumn(board, stem, column));
    } else if (!summary || part === "std") columns.push(column);
  }
  const named = (key, change) => {
    const at = columns.findIndex((column) => column.key === key);
    if (at >= 0) columns[at] = { ...columns[at], ...change };
  };
  named("rank", { show: (row) => rankCell(board, row) });
  named("configuration", { show: (row) => cell(swatchOf(report, row), bdi(board.value(row, "configuration") ?? "")) });
  if (header !== "configuration") {
    const at = board.at(header);
    named(header, { show: (row) => cell(swatchOf(report, row), bdi(nameText(row[at]))) });
  }
  // What ranks stands beside the rank: many or long names would push it out of sight.
  return inOrder(columns, ["rank", `${metric.name}_mean`, "interval", header, "configuration", ...report.axes.map(({ key }) => key), "n", "failed", "skipped"]);
}

// First those with these keys, then the rest in the table's own order.
function inOrder(columns, keys) {
  const front = [...new Set(keys)];
  return [...front.map((key) => columns.find((column) => column.key === key)).filter(Boolean), ...columns.filter(({ key }) => !front.includes(key))];
}

function meanColumn(board, stem, column) {
  const [low, high] = [board.at(`${stem}_ci95_low`), board.at(`${stem}_ci95_high`)];
  const csv = [[column.key, column.at], [`${stem}_ci95_low`, low], [`${stem}_ci95_high`, high]];
  return { ...column, label: withUnit({ label: withoutMean(board.column(column.key).label), unit: column.unit }), csv, show: (row) => plusMinus(row[column.at], row[low], row[high], column.unit) + (stem.endsWith("_to_target") ? reachedBy(board, row) : "") };
}

function withoutMean(label) {
  return label.replace(/[,(]?\s*\bmean\b\)?$/i, "").trim() || label;
}

function rankCell(board, row) {
  const rank = board.value(row, "rank");
  if (rank === null) return h("span", { class: "note" }, board.value(row, "skipped") > 0 && !board.value(row, "failed") ? "skipped" : board.value(row, "failed") > 0 ? "failed" : board.value(row, "n") > 0 ? "none" : "none yet");
  if (rank === 1) return ["1 ", h("span", { class: "tag" }, "best")];
  return isYes(board.value(row, "tied_with_best")) ? [`${rank} `, h("span", { class: "tag quiet" }, "tied")] : String(rank);
}

function swatchOf(report, row) {
  const at = report.configurationNamed(report.board.value(row, "configuration"));
  return report.drawn.has(at) ? [swatch(at), " "] : null;
}

// The mean as a point in its interval, every row to the same scale.
function intervalColumn({ leaderboard: table, board, metric }, column) {
  const [low, high] = [`${metric.name}_ci95_low`, `${metric.name}_ci95_high`].map((key) => board.at(key));
  const lines = [targetDrawn(metric)].filter(isNumber);
  const scale = robustScale(table.rows.map((row) => [row[column.at], row[low], row[high]]), lines);
  return { key: "interval", label: "interval, drawn", kind: "text", unsorted: true, at: column.at, csv: [],
    show: (row) => (isNumber(row[column.at]) ? intervalDrawing(scale, row[column.at], row[low], row[high], lines) : null) };
}

// Of a sweep that is ranked by epochs to a target, the target is an accuracy: it has no place among epochs.
function targetDrawn({ name, target, target_of: of }) {
  return of === name && isNumber(target) ? target : null;
}
