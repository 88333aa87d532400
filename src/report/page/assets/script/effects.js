// What each axis is worth, and how the claims did: two forest plots.

const ROWS_AT_FIRST = 30;

function effectsSection(report) {
  const { metric, left_out: leftOut = 0, ...effects } = report.effects ?? {};
  const [main, interactions] = [effects.main, effects.interactions].map((rows) => (rows ?? []).filter(({ effect }) => isNumber(effect)));
  if (main.length === 0 && interactions.length === 0) return null;
  const unit = report.unitOf(metric);
  const label = report.labelOf(metric);
  return section("effects", "What each axis is worth",
    main.length === 0 ? null : [h("p", { class: "lead" }, `Change of ${label} when one value of an axis takes the place of another and all else stays: mean over the pairs of runs that differ in nothing but that.`),
      shortened(main, (rows) => scrollBox("Main effects", forestTable(`Main effects on ${label}`, "value", mainGroups(rows, unit), false)))],
    interactions.length === 0 ? null : interactionsTable(interactions, leftOut, label, unit));
}

function mainGroups(rows, unit) {
  const axes = [...new Set(rows.map(({ axis }) => axis))];
  // One scale for all axes: which one matters is what is to be seen.
  const groups = axes.map((axis) => ({ axis, rows: rows.filter((row) => row.axis === axis) }));
  const all = groups.flatMap((group) => group.rows);
  return groups.map((group, at) => ({ title: bdi(group.axis), none: 0, margin: null, ratio: false, unit, scaleOf: all, ticks: at === groups.length - 1,
    rows: group.rows.map((row) => ({ ...row, name: [bdi(row.value), h("span", { class: "note" }, " instead of "), bdi(row.reference)], p: row.p_holm ?? row.p })) }));
}

// The largest first, the rest when asked for.
function shortened(rows, make) {
  if (rows.length <= ROWS_AT_FIRST) return make(rows);
  const largest = new Set([...rows].sort((one, other) => Math.abs(other.effect ?? 0) - Math.abs(one.effect ?? 0)).slice(0, ROWS_AT_FIRST));
  const box = h("div", {}, make(rows.filter((row) => largest.has(row))));
  const more = h("button", { type: "button", onclick: () => box.replaceChildren(make(rows)) }, `Show all ${number(rows.length)} (these are the ${ROWS_AT_FIRST} largest)`);
  box.append(h("p", {}, more));
  return box;
}

const INTERACTION_COLUMNS = [
  ["axis", "axis", "text"], ["value", "value", "text"], ["reference", "instead of", "text"],
  ["with_axis", "with axis", "text"], ["with_value", "at value", "text"], ["with_reference", "instead of it", "text"],
  ["pairs", "pairs", "integer"], ["effect", "interaction", "number"], ["low", "95 % CI, low", "number"], ["high", "95 % CI, high", "number"],
  ["p", "p", "number"], ["p_holm", "p (Holm)", "number"],
];

function interactionsTable(interactions, leftOut, label, unit) {
  const columns = INTERACTION_COLUMNS.map(([key, words, kind], at) => ({ key, label: words, kind, at, unit: ["effect", "low", "high"].includes(key) ? unit : "" }));
  const [low, high] = ["low", "high"].map((key) => INTERACTION_COLUMNS.findIndex(([name]) => name === key));
  const effect = columns.find(({ key }) => key === "effect");
  effect.csv = [["effect", effect.at], ["low", low], ["high", high]];
  effect.show = (row) => effectText({ effect: row[effect.at], low: row[low], high: row[high] }, false, unit);
  return [h("h3", {}, "Interactions"),
    h("p", { class: "lead" }, `How much more the change of one axis does to ${label} at one value of another axis than at another.`, leftOut > 0 ? ` The ${number(interactions.length)} largest; ${number(leftOut)} more are in effects.csv.` : ""),
    dataTable({ caption: "Interactions", columns, rows: interactions.map((row) => INTERACTION_COLUMNS.map(([key]) => row[key] ?? null)),
      shown: ["axis", "value", "reference", "with_axis", "with_value", "with_reference", "effect", "p_holm"], header: "axis", noun: "interaction" })];
}

const SHAPES = {
  confirmed: () => [s("circle", { cx: 8, cy: 8, r: 7.5, class: "shape" }), s("path", { class: "sign", d: "M4.4 8.4 7 11l4.8-5.6" })],
  refuted: () => [s("path", { class: "shape", d: "M.6.6H15.4V15.4H.6Z" }), s("path", { class: "sign", d: "M4.8 4.8l6.4 6.4M11.2 4.8l-6.4 6.4" })],
  undecided: () => [s("path", { class: "shape hollow", d: "M8 .9 15.1 8 8 15.1.9 8Z" }), s("path", { class: "sign hollow", d: "M4.8 8H11.2" })],
};

/** A verdict by shape and word. */
function verdictMark(verdict) {
  const shape = (SHAPES[verdict] ?? SHAPES.undecided)();
  return h("span", { class: `verdict ${Object.hasOwn(SHAPES, verdict) ? verdict : "undecided"}` }, s("svg", { width: 16, height: 16, viewBox: "0 0 16 16", "aria-hidden": "true" }, shape), " ", verdict);
}

function claimsSection(report) {
  const drawn = report.claims.filter(({ effect }) => isNumber(effect));
  if (drawn.length === 0) return null;
  return section("claims", "Effects that were claimed",
    h("p", { class: "lead" }, "The effect of each claim with its 95 % confidence interval. The line is what the claim is tested against; a shaded strip is what counts as equal. Claims about one metric share a scale."),
    scrollBox("Effects of the claims", forestTable("Effects of the claims", "claim", claimGroups(report, drawn), true)));
}

// Claims can share a scale if they are about the same metric, against the same nothing.
function claimGroups(report, claims) {
  const groups = new Map();
  for (const claim of claims) {
    const metric = claim.metric ?? (claim.statement?.includes(": ") ? claim.statement.slice(0, claim.statement.indexOf(": ")) : "");
    const key = JSON.stringify([metric, claim.unit, claim.is_ratio, claim.null, claim.margin]);
    if (!groups.has(key)) groups.set(key, { metric, unit: claim.unit, ratio: claim.is_ratio, none: claim.null, margin: claim.margin, rows: [] });
    groups.get(key).rows.push(claim);
  }
  return [...groups.values()].map(({ metric, unit, ratio, none, margin, rows }) => ({
    title: [bdi(report.labelOf(metric) || "effect"), h("span", { class: "note" }, ratio ? ", ratio" : ", difference", testedAgainst({ none, margin, ratio }))],
    none, margin, ratio, unit: unit ?? report.unitOf(metric),
    rows: rows.map((claim) => ({ ...claim, name: [bdi(claim.text), h("span", { class: "narrow-word" }, verdictMark(claim.verdict))], word: verdictMark(claim.verdict), p: claim.p_holm ?? claim.p })),
  }));
}

function testedAgainst({ none, margin, ratio }) {
  if (isNumber(margin)) return `, equal within ${number(margin)}`;
  return isNumber(none) ? `, tested against ${ratio ? "×" : ""}${number(none, 3)}` : "";
}
