// Forest plots, set as medicine sets them: a table whose rows have the effect drawn, written and tested. It is its own
// alternative for who cannot see it, prints, and wraps long names.

/** A scale over means and their intervals in which one huge interval does not crush the rest. `[mean, low, high]` each. */
function robustScale(triples, ...always) {
  const points = [...triples.map(([mean]) => mean), ...always.flat()].filter(isNumber);
  if (points.length === 0) return { from: 0, to: 1 };
  const spread = (values) => [Math.min(...values), Math.max(...values)];
  const [lowest, highest] = spread(points);
  const [low, high] = spread([...points, ...triples.flatMap(([, one, other]) => [one, other]).filter(isNumber)]);
  const halves = triples.map(([, one, other]) => (isNumber(one) && isNumber(other) ? (other - one) / 2 : 0)).sort((one, other) => one - other);
  const reach = Math.max(highest - lowest, 3 * (halves[Math.floor(halves.length / 2)] ?? 0), Math.abs(highest) * 1e-3, 1e-9);
  const from = Math.max(low, lowest - reach);
  const to = Math.min(high, highest + reach);
  const margin = (to - from || 1) * 0.06;
  return { from: from - margin, to: to + margin };
}

function place({ from, to }, value) {
  return Math.min(100, Math.max(0, (100 * (value - from)) / (to - from)));
}

/** A point in its interval on `scale`, with thin lines at `lines`. An interval beyond the scale ends in an arrow. */
function intervalDrawing(scale, mean, low, high, lines = [], band = null) {
  const at = (value) => `${place(scale, value).toFixed(2)}%`;
  const parts = [];
  if (band !== null) {
    const [from, to] = band.map((value) => place(scale, value));
    parts.push(s("rect", { class: "equal", x: `${from.toFixed(2)}%`, width: `${(to - from).toFixed(2)}%`, y: 0, height: 24 }));
  }
  for (const value of lines) if (value >= scale.from && value <= scale.to) parts.push(s("line", { class: "null", x1: at(value), x2: at(value), y1: 0, y2: 24 }));
  if (isNumber(low) && isNumber(high)) {
    parts.push(s("line", { class: "whisker", x1: at(low), x2: at(high), y1: 12, y2: 12 }));
    parts.push(whiskerEnd(scale, low, -1), whiskerEnd(scale, high, 1));
  }
  if (isNumber(mean)) parts.push(s("circle", { class: "mean", cx: at(mean), cy: 12, r: 4 }));
  return s("svg", { class: "interval", width: "100%", height: 24, "aria-hidden": "true" }, parts);
}

function whiskerEnd(scale, value, side) {
  const x = `${place(scale, value).toFixed(2)}%`;
  const beyond = side < 0 ? value < scale.from : value > scale.to;
  if (!beyond) return s("line", { class: "whisker", x1: x, x2: x, y1: 8, y2: 16 });
  const edge = s("svg", { x, y: 0, width: 1, height: 24, overflow: "visible" });
  edge.append(s("path", { class: "arrow-head", d: side < 0 ? "M0 12 6 8V16Z" : "M0 12-6 8V16Z" }));
  return edge;
}

const NARROWEST_DRAWING = 100;
const BETWEEN_LABELS = 8;

/** Ticks below the rows of a group: as many as have room for their labels, which is known when the page has its width. */
function ticksDrawing(scale, ratio, write) {
  const svg = s("svg", { class: "interval ticks", width: "100%", height: 22, "aria-hidden": "true" });
  let laid = null;
  const lay = (width) => {
    if (width === laid) return;
    laid = width;
    const ticks = ticksFor(scale, ratio, write, width);
    svg.replaceChildren(s("line", { class: "axis", x1: 0, x2: "100%", y1: 0.5, y2: 0.5 }), ...ticks.flatMap(({ x, text, anchor }) =>
      [s("line", { class: "axis", x1: `${x}%`, x2: `${x}%`, y1: 0, y2: 4 }), ...(text === null ? [] : [s("text", { x: `${x}%`, y: 17, "text-anchor": anchor }, text)])]));
  };
  lay(NARROWEST_DRAWING);
  layTicks.set(svg, lay);
  ticksSized?.observe(svg);
  return svg;
}

const layTicks = new WeakMap();
const ticksSized = "ResizeObserver" in globalThis ? new ResizeObserver((entries) => {
  for (const { target, contentRect } of entries) if (contentRect.width > 0) layTicks.get(target)(contentRect.width);
}) : null;

// How wide a drawing is on paper is not known before it is printed.
function ticksOntoPaper() {
  for (const svg of document.querySelectorAll(".ticks")) layTicks.get(svg)(NARROWEST_DRAWING);
}

function ticksOffPaper() {
  for (const svg of document.querySelectorAll(".ticks")) if (svg.getBoundingClientRect().width > 0) layTicks.get(svg)(svg.getBoundingClientRect().width);
}

globalThis.addEventListener("beforeprint", ticksOntoPaper);
globalThis.addEventListener("afterprint", ticksOffPaper);
printed.addEventListener("change", () => (printed.matches ? ticksOntoPaper() : ticksOffPaper()));

/** Ticks whose labels stand apart in so many pixels; where two would not, as many labels as do. `{ x, text, anchor }`, x in per cent. */
function ticksFor(scale, ratio, write, width) {
  const choices = [4, 3, 2].map((most) => {
    const values = ratio ? niceTicks(Math.exp(scale.from), Math.exp(scale.to), most).filter((tick) => tick > 0).map(Math.log) : niceTicks(scale.from, scale.to, most);
    return labelled(values.map((value) => ({ x: place(scale, value), text: write(value) })), width);
  });
  const labels = (ticks) => ticks.filter(({ text }) => text !== null).length;
  return choices.find((ticks) => ticks.length > 1 && labels(ticks) === ticks.length)
    ?? choices.reduce((best, ticks) => (labels(ticks) > labels(best) ? ticks : best));
}

// A label in the middle of its tick, but within the drawing; without one where it would touch the label before it.
function labelled(ticks, width) {
  let end = -Infinity;
  return ticks.map(({ x, text }) => {
    const [at, wide] = [(x / 100) * width, textWidth(text)];
    const anchor = at < wide / 2 ? "start" : at > width - wide / 2 ? "end" : "middle";
    const from = at - { start: 0, middle: wide / 2, end: wide }[anchor];
    if (from < end + BETWEEN_LABELS) return { x, text: null, anchor };
    end = from + wide;
    return { x, text, anchor };
  });
}

let ruler = null;

// In the letters of `.ticks text`, superscripts and all.
function textWidth(text) {
  ruler ??= document.createElement("canvas").getContext("2d");
  ruler.font = `11px ${SANS}`;
  return ruler.measureText(text).width;
}

function niceTicks(from, to, most) {
  const rough = (to - from) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const ticks = [];
  for (let at = Math.ceil(from / step); at * step <= to; at += 1) ticks.push(Number((at * step).toPrecision(12)));
  return ticks;
}

/**
 * Groups of rows: `{ title, rows, none, margin, ratio, unit, scaleOf, ticks }`. `none` is where there is no effect; the scale is
 * that of the rows `scaleOf`, by default the group's own; `ticks` are below it unless false.
 * A row: `{ name, detail, effect, low, high, p, pairs, word }`.
 */
function forestTable(caption, first, groups, hasWords) {
  const columns = [first, "", "effect, 95 % CI", "p (Holm)", "pairs"];
  if (hasWords) columns.splice(1, 0, "verdict");
  return h("table", { class: "forest" }, h("caption", { class: "unseen" }, caption),
    h("thead", {}, h("tr", {}, columns.map((column, at) => h("th", { scope: "col", class: column === "verdict" ? "word" : at === 0 ? null : column === "" ? "drawing" : "figure wide" },
      column === "" ? h("span", { class: "unseen" }, "drawn") : column)))),
    groups.map((group) => forestGroup(group, columns.length, hasWords)));
}

function forestGroup({ title, rows, none, margin, ratio, unit, scaleOf = rows, ticks = true }, width, hasWords) {
  const onScale = (value) => (isNumber(value) ? (ratio ? (value > 0 ? Math.log(value) : null) : value) : null);
  const still = onScale(none);
  const band = isNumber(margin) ? [none - margin, none + margin] : null;
  const scale = robustScale(scaleOf.map(({ effect, low, high }) => [effect, low, high].map(onScale)), [still, band ?? []].flat());
  const write = (value) => (ratio ? `×${number(Math.exp(value), 3)}` : signed(value, unit));
  return h("tbody", {},
    title === null ? null : h("tr", { class: "group" }, h("th", { scope: "rowgroup", colspan: width }, title)),
    rows.map((row) => {
      const written = effectText(row, ratio, unit);
      return h("tr", {},
        h("th", { scope: "row" }, row.name, row.detail ? h("span", { class: "detail" }, row.detail) : null, h("span", { class: "narrow" }, `${written}, p ${probability(row.p)}`)),
        hasWords ? h("td", { class: "word" }, row.word) : null,
        h("td", { class: "drawing" }, intervalDrawing(scale, onScale(row.effect), onScale(row.low), onScale(row.high), isNumber(still) ? [still] : [], band)),
        h("td", { class: "figure wide" }, written), h("td", { class: "figure wide" }, probability(row.p)), h("td", { class: "figure wide" }, number(row.pairs)));
    }),
    ticks && h("tr", { class: "scale" }, h("td", {}), hasWords ? h("td", { class: "word" }) : null, h("td", { class: "drawing" }, ticksDrawing(scale, ratio, write)), h("td", { colspan: 3, class: "wide" })));
}

function signed(value, unit) {
  if (!isNumber(value)) return UNKNOWN;
  return value > 0 ? `+${quantity(value, unit)}` : quantity(value, unit);
}

function effectText({ effect, low, high }, ratio, unit) {
  if (!isNumber(effect)) return UNKNOWN;
  const write = ratio ? (value) => number(value, 3) : (value) => signedTo(value, isNumber(low) ? (high - low) / 2 : effect, unit);
  const mean = `${ratio ? "×" : ""}${write(effect)}`;
  return isNumber(low) && isNumber(high) ? `${mean} [${write(low)}, ${write(high)}]` : mean;
}

function signedTo(value, size, unit) {
  if (unit === "s" || unit === "bytes" || Math.abs(size) < 1e-5) return signed(value, unit);
  const text = fixed(value, decimalsFor(Math.abs(size)));
  return value > 0 ? `+${text}` : text;
}
