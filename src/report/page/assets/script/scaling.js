// What several devices are worth: measured points, the line of perfect scaling, and the forecast by the fitted link.

const SCALINGS = [["strong", "one batch shared out (strong)"], ["weak", "a batch each (weak)"]];
const SCALING_MEASURES = [
  ["speed_up", "speed-up"], ["efficiency", "efficiency"], ["wait_share", "share of a step spent waiting"], ["communication_share", "share of a step spent on sums"],
];

function scalingSection(report) {
  const table = report.scaling;
  if (!table || table.rows.length === 0) return null;
  const by = keyed(table);
  const kinds = SCALINGS.filter(([kind]) => table.rows.some((row) => by.value(row, "scaling") === kind && isMeasured(by, row)));
  const shared = table.rows.some((row) => isYes(by.value(row, "ranks_share_cores")));
  return section("scaling", "Scaling",
    kinds.length === 0 ? null : scalingFigure(report, table, by, kinds),
    shared ? h("p", { class: "note" }, "Hollow points: the ranks had to share cores, so they say more about the machine than about communication.") : null,
    fitWords(report),
    allFigures(dataTable({ caption: "Scaling", columns: namedColumns(report, table), rows: table.rows, header: "configuration", noun: "row",
      shown: ["configuration", "scaling", "forecast_from", "ranks", "step_images", "images_per_s", "speed_up", "efficiency"] })),
    report.scaling_fit?.rows.length > 0 ? [h("h3", {}, "The fitted link"),
      dataTable({ caption: "The fitted link", columns: namedColumns(report, report.scaling_fit), rows: report.scaling_fit.rows, header: "configuration", noun: "fit",
        shown: ["configuration", "scaling", "fitted_to", "latency_s", "bandwidth_bytes_per_s", "r_squared", "ranks_below_half", "best_ranks", "best_speed_up"] })] : null);
}

function isMeasured(by, row) {
  return by.value(row, "forecast_from") === null || by.value(row, "forecast_from") === "";
}

function fitWords(report) {
  const fit = report.scaling_fit;
  if (!fit || fit.rows.length === 0) return null;
  const by = keyed(fit);
  const links = new Map(fit.rows.map((row) => [by.value(row, "fitted_to"), row]));
  return h("p", { class: "lead" }, [...links].map(([name, row]) => {
    const bandwidth = by.value(row, "bandwidth_bytes_per_s");
    return `Fitted to ${name}: ${seconds(by.value(row, "latency_s"))} a message${isNumber(bandwidth) ? `, ${bytes(bandwidth)} a second` : ""} (R² ${number(by.value(row, "r_squared"), 2)}, ${count(by.value(row, "points"), "run")}). `;
  }));
}

function scalingFigure(report, table, by, kinds) {
  const fits = [...new Set(table.rows.map((row) => by.value(row, "forecast_from")).filter(Boolean))];
  const measures = SCALING_MEASURES.filter(([key]) => table.rows.some((row) => isNumber(scalingValue(by, row, key))));
  const state = { kind: kinds[0][0], measure: "speed_up", fit: fits[0] ?? null, reach: "measured" };
  const caption = h("span");
  const legendSlot = h("div");
  const chart = lazyChart({
    option: () => scalingOption(state, scalingLines(report, table, by, state)),
    height: (width) => (width < 520 ? 320 : 420),
    describe: () => scalingDescription(report, table, by, state),
  });
  const changed = (change) => {
    Object.assign(state, change);
    const words = measures.find(([key]) => key === state.measure)[1];
    caption.replaceChildren(h("strong", {}, capital(words)), ` by devices, ${kinds.find(([kind]) => kind === state.kind)[1]}`, forecastShown(state) ? "; thin lines: forecast by the fitted link" : "");
    legendSlot.replaceChildren(stillLegend(scalingLines(report, table, by, state)));
    chart.update();
  };
  changed({});
  return figure(caption, [
    chooser("Show", measures, state.measure, (measure) => changed({ measure })),
    chooser("Scaling", kinds, state.kind, (kind) => changed({ kind })),
    fits.length > 0 ? chooser("Up to", [["measured", "what was measured"], ["all", "what is forecast"]], state.reach, (reach) => changed({ reach })) : null,
    fits.length > 1 ? chooser("Fit", fits.map((fit) => [fit, fit]), state.fit, (fit) => changed({ fit })) : null,
  ], [chart.element, legendSlot], null);
}

function forecastShown({ measure, fit }) {
  return fit !== null && (measure === "speed_up" || measure === "efficiency");
}

function scalingValue(by, row, measure) {
  const share = (part) => (isNumber(by.value(row, part)) && by.value(row, "step_s") > 0 ? by.value(row, part) / by.value(row, "step_s") : null);
  if (measure === "wait_share") return share("step_wait_s");
  if (measure === "communication_share") return share("step_communication_s");
  return by.value(row, measure);
}

// A line for each combination of the keys that scaling leaves alone, from one device on.
function scalingLines(report, table, by, { kind, measure, fit }) {
  const moved = kind === "weak" ? ["devices", "batch_size"] : ["devices"];
  const rows = table.rows.filter((row) => by.value(row, "scaling") === kind);
  const keys = report.axes.map(({ key }) => key).filter((key) => by.has(key) && !moved.includes(key) && new Set(rows.map((row) => by.value(row, key))).size > 1);
  if (kind === "strong" && by.has("batch_size") && !keys.includes("batch_size") && new Set(rows.map((row) => by.value(row, "batch_size"))).size > 1) keys.push("batch_size");
  const lines = new Map();
  for (const row of rows) {
    const name = keys.map((key) => `${key}=${nameText(by.value(row, key))}`).join(" ") || "all";
    if (!lines.has(name)) lines.set(name, { name, at: lines.size, measured: startOf(measure), forecast: startOf(measure) });
    const point = { value: [by.value(row, "ranks"), scalingValue(by, row, measure)], hollow: isYes(by.value(row, "ranks_share_cores")) };
    if (!isNumber(point.value[0]) || !isNumber(point.value[1])) continue;
    if (isMeasured(by, row)) lines.get(name).measured.push(point);
    else if (by.value(row, "forecast_from") === fit) lines.get(name).forecast.push(point);
  }
  const order = (one, other) => one.value[0] - other.value[0];
  return [...lines.values()].map((line) => ({ ...line, measured: line.measured.sort(order), forecast: line.forecast.sort(order) })).filter(({ measured }) => measured.some(({ value }) => value[0] > 1));
}

function startOf(measure) {
  return measure === "speed_up" || measure === "efficiency" ? [{ value: [1, 1], hollow: false }] : [];
}

function scalingOption(state, lines) {
  const { measure, reach } = state;
  const most = (points) => Math.max(2, ...points.map(({ value }) => value[0]));
  const measuredTo = most(lines.flatMap(({ measured }) => measured));
  const end = reach === "all" && forecastShown(state) ? most(lines.flatMap(({ forecast }) => forecast)) : measuredTo;
  const ideal = measure === "speed_up" ? [[1, 1], [end, end]] : measure === "efficiency" ? [[1, 1], [end, 1]] : [];
  const shares = measure !== "speed_up";
  const first = shares && measure !== "efficiency" ? Math.min(...lines.flatMap(({ measured }) => measured.map(({ value }) => value[0]))) : 1;
  return {
    grid: { left: 8, right: 24, top: 14, bottom: 40, containLabel: true },
    xAxis: bottomAxis("devices", { type: "log", logBase: 2, min: first === end ? 1 : first, max: end }),
    yAxis: valueAxis(shares ? { min: 0, axisLabel: { color: colour("muted"), fontSize: 12, formatter: percent } } : { type: "log", logBase: 2, min: (range) => 2 ** Math.floor(Math.log2(Math.min(1, range.min))), max: end }),
    tooltip: tooltip("item", ({ seriesName, value }) => tooltipContent(count(value[0], "device"), [["", seriesName, shares ? percent(value[1]) : `${number(value[1], 3)} times one device`]])),
    series: [
      ...(ideal.length > 0 ? [{ type: "line", name: "ideal", data: ideal, symbol: "none", silent: true, lineStyle: { color: colour("muted"), type: [2, 3], width: 1.5 },
        endLabel: { show: false }, markLine: undefined }] : []),
      ...(forecastShown(state) ? lines.map(({ at, name, forecast }) => ({ ...pointsAndLine(at, `${name}, forecast`, forecast.filter(({ value }) => value[0] <= end).map(({ value }) => value)), symbolSize: 5, symbol: "circle", showSymbol: false,
        lineStyle: { color: mark(at).colour, width: 1, type: "solid", opacity: 0.9 } })) : []),
      ...lines.map(({ at, name, measured }) => pointsAndLine(at, name, measured.map(({ value, hollow }) => (hollow ? { value, symbol: hollowOf(mark(at).symbol), itemStyle: { color: mark(at).colour, borderWidth: 2 } } : { value })))),
    ],
  };
}

function hollowOf(symbol) {
  return symbol.startsWith("empty") ? symbol : `empty${capital(symbol)}`;
}

function scalingDescription(report, table, by, state) {
  const words = SCALING_MEASURES.find(([key]) => key === state.measure)[1];
  const ends = scalingLines(report, table, by, state).slice(0, 8).map(({ name, measured }) => `${name}: ${number(measured.at(-1)?.value[1], 3)} on ${count(measured.at(-1)?.value[0] ?? 0, "device")}`);
  return `Lines: ${words} by devices. ${ends.join("; ")}.`;
}
