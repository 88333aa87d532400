// The top of the page: what came out in one sentence, the notes of the sweep file, the contents.

/** "Best of 5 configurations: …", or null where nothing finished. */
function bestSentence(report) {
  const { board, metric } = report;
  const first = report.leaderboard.rows.find((row) => board.value(row, "rank") === 1);
  if (first === undefined) return null;
  const mean = board.value(first, `${metric.name}_mean`);
  const value = plusMinus(mean, board.value(first, `${metric.name}_ci95_low`), board.value(first, `${metric.name}_ci95_high`), board.unit(`${metric.name}_mean`));
  const unit = ["s", "bytes"].includes(metric.unit) || !metric.unit || metric.label.includes(metric.unit) ? "" : ` ${metric.unit}`;
  const tied = report.leaderboard.rows.filter((row) => row !== first && isYes(board.value(row, "tied_with_best"))).length;
  const ties = tied === 0 ? null : ` ${count(tied, "other")} cannot be told from it at 5 %.`;
  return h("p", { class: "best" }, report.leaderboard.rows.length > 1 ? `Best of ${number(report.leaderboard.rows.length)} configurations: ` : "One configuration: ",
    h("strong", {}, bdi(report.fullLabels[report.configurationNamed(board.value(first, "configuration"))] ?? board.value(first, "configuration"))), `, ${metric.label} ${value}${unit} (${seedsOf(report, first)}).`, ties);
}

// What a mean is over: of a time to the target, only the seeds that reached it.
function seedsOf({ board, metric }, row) {
  const [n, reached] = ["n", "target_reached"].map((key) => board.value(row, key));
  const some = metric.name.endsWith("_to_target") && isNumber(reached) && reached < n;
  return some ? `${number(reached)} of ${count(n, "seed")} reached it` : count(n, "seed");
}

const STATES = ["finished", "diverged", "failed", "running", "pending", "skipped"];

/** What became of the runs, in place of the server's plain text. */
function statusParts({ counts }) {
  const there = STATES.filter((state) => counts[state] > 0);
  return [`${count(counts.planned, "run")} planned`, there.length > 0 ? ": " : "", there.map((state) =>
    [h("span", { class: `state ${state}` }, h("b", {}, number(counts[state])), ` ${state}`), " "])];
}

function isYes(value) {
  return value === true || value === "yes";
}

/** The leading comment of a sweep file. Where it is a list of "Word   text", as a list; else as it stands. */
function notes(header) {
  const lines = header.split("\n");
  const items = [];
  const before = [];
  for (const line of lines) {
    const item = /^(\S[^:]{0,24}?)(?: {2,}|:\s+)(\S.*)$/u.exec(line);
    if (item) items.push([item[1], item[2]]);
    else if (items.length > 0 && /^\s+\S/.test(line)) items.at(-1)[1] += ` ${line.trim()}`;
    else if (items.length > 0 && line.trim() === "") continue;
    else before.push(line);
  }
  if (items.length < 3) return h("pre", { class: "wrapped", dir: "auto" }, header);
  return h("div", { class: "notes" }, h("pre", { class: "wrapped", dir: "auto" }, before.join("\n").trim()),
    h("dl", {}, items.map(([word, text]) => [h("dt", {}, word), h("dd", { dir: "auto" }, text)])));
}

/** Links to the sections there are. */
function fillContents(nav, sections) {
  const links = sections.map((element) => h("li", {}, h("a", { href: `#${element.id}` }, element.querySelector("h2").textContent)));
  nav.replaceChildren(h("h2", { class: "unseen", id: "contents-title" }, "Contents"), h("ul", {}, links));
  nav.hidden = links.length < 2;
}
