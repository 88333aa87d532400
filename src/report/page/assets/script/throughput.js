// What steps took: images a second against whatever numbers vary, and the parts of a step.

const MEASURES = [
  ["images_per_s_mean", "images a second"], ["speed_up", "speed-up over the first device"], ["step_s", "seconds of a step"],
  ["peak_memory_bytes", "resident memory"], ["device_memory_bytes", "memory on the device"], ["bytes_per_image", "memory by image"],
];
const PARTS = [["data_s", "batch"], ["forward_s", "forward"], ["backward_s", "backward"], ["update_s", "update"]];
const BARS_AT_FIRST = 30;

function throughputSection(report) {
  const table = report.throughput;
  if (!table || table.rows.length === 0) return null;
  const by = keyed(table);
  const timed = table.rows.filter((row) => isNumber(by.value(row, "images_per_s_mean")));
  const missing = table.rows.filter((row) => by.value(row, "reason"));
  return section("throughput", "Throughput",
    timed.length === 0 ? null : [throughputFigure(report, table, by, timed), stepParts(report, by, timed)],
    missing.length === 0 ? null : h("p", { class: "lead" }, `${count(missing.length, "configuration")} without timings: `, reasonsOf(missing, by)),
    allFigures(dataTable({ caption: "Throughput", columns: namedColumns(report, table), rows: table.rows, header: "configuration", noun: "configuration",
      shown: ["configuration", "device_name", "ranks", "step_images", "images_per_s_mean", "step_s", "speed_up", "peak_memory_bytes"].filter((key) => filledKeys(table).has(key)) })));
}

function allFigures(table) {
  return h("details", { class: "numbers" }, h("summary", {}, "All figures as a table"), table);
}

function reasonsOf(rows, by) {
  const counts = new Map();
  for (const row of rows) counts.set(by.value(row, "reason"), (counts.get(by.value(row, "reason")) ?? 0) + 1);
  return [...counts].map(([reason, times]) => `${reason} (${number(times)})`).join("; ");
}

/** The columns of a TABLE whose configurations are shown by their short names. */
function namedColumns(report, table) {
  return plainColumns(report, table).map((column) => (column.key === "configuration" ? { ...column, show: (row) => bdi(report.nameOf(row[column.at])) } : column));
}

// A number to draw against: varied keys that are numbers, and what follows from them.
function numericKeys(report, by, rows) {
  const axes = report.axes.map(({ key }) => key).filter((key) => by.has(key));
  const numeric = [...axes, "step_images", "ranks"].filter((key, at, all) => all.indexOf(key) === at && by.has(key));
  const candidates = numeric.map((key) => ({ key, words: by.column(key).label, of: (row) => asNumber(by.value(row, key)) }));
  if (by.has("step_images") && by.has("ranks")) candidates.push({ key: "batch_per_device", words: "batch per device", of: (row) => by.value(row, "step_images") / by.value(row, "ranks") });
  return candidates.filter(({ of }) => rows.every((row) => isNumber(of(row))) && new Set(rows.map(of)).size > 1);
}

function asNumber(cell) {
  if (isNumber(cell)) return cell;
  return typeof cell === "string" && cell.trim() !== "" && Number.isFinite(Number(cell)) ? Number(cell) : null;
}

function throughputFigure(report, table, by, rows) {
  const measures = MEASURES.filter(([key]) => rows.some((row) => isNumber(by.value(row, key))));
  const keys = numericKeys(report, by, rows);
  const state = { measure: measures[0][0], x: keys.find(({ key }) => key === "batch_size") ?? keys[0] ?? null, log: false };
  const caption = h("span");
  const legendSlot = h("div");
  const chart = lazyChart({
    option: (width) => (state.x === null ? barOption(report, by, rows, state, width) : throughputOption(state, linesOf(report, by, rows, state), by)),
    height: (width) => (state.x === null ? 60 + 26 * Math.min(rows.length, BARS_AT_FIRST) : width < 520 ? 300 : 380),
    describe: () => `${measureWords(state)}${state.x === null ? " of every configuration" : ` by ${state.x.words}`}. The numbers are in the table below.`,
  });
  const changed = (change) => {
    Object.assign(state, change);
    caption.replaceChildren(h("strong", {}, capital(measureWords(state))), state.x === null ? "" : ` by ${state.x.words}: mean over the seeds`);
    const lines = state.x === null ? [] : linesOf(report, by, rows, state);
    legendSlot.replaceChildren(...(lines.length > 1 ? [stillLegend(lines)] : []));
    chart.update();
  };
  changed({});
  return figure(caption, [
    chooser("Show", measures, state.measure, (measure) => changed({ measure })),
    state.x === null ? null : chooser("By", keys.map(({ key, words }) => [key, words]), state.x.key, (key) => changed({ x: keys.find((one) => one.key === key) })),
    toggle("Logarithmic", false, (log) => changed({ log })),
  ], [chart.element, legendSlot], null);
}

function measureWords({ measure }) {
  return MEASURES.find(([key]) => key === measure)[1];
}

/** A legend that only names: `{ at, name }` each. */
function stillLegend(lines) {
  return h("ul", { class: "keys still" }, lines.map(({ at, name }) => h("li", {}, swatch(at), bdi(name))));
}

// One line for each combination of the other varied keys.
function linesOf(report, by, rows, { measure, x }) {
  const bound = x.key === "batch_per_device" || x.key === "step_images" ? "batch_size" : x.key === "ranks" ? "devices" : x.key;
  const others = report.axes.map(({ key }) => key).filter((key) => by.has(key) && key !== bound && new Set(rows.map((row) => by.value(row, key))).size > 1);
  const lines = new Map();
  for (const row of rows) {
    const name = others.map((key) => `${key}=${nameText(by.value(row, key))}`).join(" ") || "all";
    if (!lines.has(name)) lines.set(name, { name, at: lines.size, points: [] });
    if (isNumber(by.value(row, measure))) lines.get(name).points.push([x.of(row), by.value(row, measure), by.value(row, "images_per_s_std")]);
  }
  return [...lines.values()].map((line) => ({ ...line, points: line.points.sort(([one], [other]) => one - other) })).filter(({ points }) => points.length > 0);
}

function throughputOption({ measure, x, log }, lines, by) {
  const unit = by.unit(measure);
  const xs = [...new Set(lines.flatMap(({ points }) => points.map(([at]) => at)))].sort((one, other) => one - other);
  const doubling = xs[0] > 0 && xs.length > 1 && xs.every((at) => Number.isInteger(Math.log2(at)));
  return {
    grid: { left: 8, right: 24, top: 14, bottom: 40, containLabel: true },
    xAxis: bottomAxis(x.words, doubling ? { type: "log", logBase: 2, min: xs[0], max: xs.at(-1) } : { scale: true, min: "dataMin", max: "dataMax" }),
    yAxis: valueAxis({ type: log ? "log" : "value", scale: log, axisLabel: { color: colour("muted"), fontSize: 12, formatter: (value) => quantity(value, unit) } }),
    tooltip: tooltip("item", ({ seriesIndex, value }) => tooltipContent(`${x.words} ${number(value[0])}`, [[swatch(lines[seriesIndex].at), lines[seriesIndex].name, quantity(value[1], unit)]])),
    series: lines.map(({ at, name, points }) => pointsAndLine(at, name, points.map(([one, value]) => [one, value]))),
  };
}

function pointsAndLine(at, name, data, change = {}) {
  const look = mark(at);
  return { type: "line", name, data, symbol: look.symbol, symbolSize: 8, showSymbol: true, showAllSymbol: true, emphasis: { disabled: true },
    lineStyle: { color: look.colour, width: 2, type: look.dash ?? "solid" }, itemStyle: { color: look.colour, borderColor: look.colour }, ...change };
}

function barOption(report, by, rows, { measure, log }, width) {
  const shown = rows.slice(0, BARS_AT_FIRST);
  const unit = by.unit(measure);
  return {
    grid: { left: 8, right: 70, top: 8, bottom: 8, containLabel: true },
    xAxis: valueAxis({ type: log ? "log" : "value", axisLabel: { show: false }, splitLine: { show: false } }),
    yAxis: { type: "category", inverse: true, data: shown.map((row) => report.nameOf(by.value(row, "configuration"))), axisTick: { show: false }, axisLine: { show: false },
      axisLabel: { color: colour("ink"), fontSize: 12, width: Math.min(260, width / 3), overflow: "truncate", interval: 0 } },
    tooltip: tooltip("item", ({ name, value }) => tooltipContent(measureWords({ measure }), [["", name, quantity(value, unit)]])),
    series: [{ type: "bar", barMaxWidth: 16, itemStyle: { color: colour("mark-0") }, data: shown.map((row) => by.value(row, measure)),
      label: { show: true, position: "right", color: colour("ink"), formatter: ({ value }) => quantity(value, unit) } }],
  };
}

// Stacked bars in a table: names wrap, nothing needs a tooltip, and it is its own alternative.
function stepParts(report, by, rows) {
  const timed = rows.filter((row) => PARTS.some(([key]) => isNumber(by.value(row, key))));
  if (timed.length === 0) return null;
  const longest = Math.max(...timed.map((row) => partsTotal(by, row)));
  const make = (shown, share) => scrollBox("Parts of a step", h("table", { class: "parts" }, h("caption", { class: "unseen" }, "Parts of a step, medians"),
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "configuration"), h("th", { scope: "col" }, h("span", { class: "unseen" }, "drawn")), PARTS.map(([, words], at) => h("th", { scope: "col", class: "figure" }, partKey(at), words)), h("th", { scope: "col", class: "figure" }, "step"))),
    h("tbody", {}, shown.map((row) => partsRow(report, by, row, share ? partsTotal(by, row) : longest)))));
  const box = h("div");
  const refresh = (share, all) => {
    const shown = all ? timed : timed.slice(0, BARS_AT_FIRST);
    box.replaceChildren(make(shown, share), ...(shown.length < timed.length ? [h("button", { type: "button", onclick: () => refresh(share, true) }, `Show all ${number(timed.length)}`)] : []));
  };
  refresh(false, false);
  return [h("h3", {}, "Parts of a step"), h("div", { class: "controls" }, toggle("As shares of the step", false, (share) => refresh(share, false))), box];
}

function partsTotal(by, row) {
  return PARTS.reduce((sum, [key]) => sum + (by.value(row, key) ?? 0), 0);
}

function partKey(at) {
  return s("svg", { class: "part-key", width: 10, height: 10, "aria-hidden": "true" }, s("rect", { class: `part part-${at}`, width: 10, height: 10 }));
}

function partsRow(report, by, row, whole) {
  let from = 0;
  const bars = PARTS.map(([key, words], at) => {
    const share = whole > 0 ? (100 * (by.value(row, key) ?? 0)) / whole : 0;
    const bar = s("rect", { class: `part part-${at}`, x: `${from.toFixed(3)}%`, width: `${share.toFixed(3)}%`, y: 5, height: 14 }, s("title", {}, `${words} ${seconds(by.value(row, key))}`));
    from += share;
    return bar;
  });
  return h("tr", {}, h("th", { scope: "row" }, bdi(report.nameOf(by.value(row, "configuration")))),
    h("td", { class: "drawing" }, s("svg", { width: "100%", height: 24, "aria-hidden": "true" }, bars)),
    PARTS.map(([key]) => h("td", { class: "figure" }, seconds(by.value(row, key)))), h("td", { class: "figure" }, seconds(by.value(row, "step_s"))));
}
