// Curves over epochs or steps: a line for the mean over the seeds, a band from the smallest to the largest seed.

const SYMBOLS_ON_A_LINE = 12;
const NAMED_AT_THEIR_ENDS = 6;
const LONGEST_NAME_AT_AN_END = 24;

const RATES = ["lr", "step_lr"];

function curvesSection(report) {
  const curves = report.curves.filter(({ metric, series }) => !RATES.includes(metric) && series.length > 0);
  if (curves.length === 0) return null;
  const first = curves.find(({ metric }) => metric === report.metric.name) ?? curves.find(({ metric }) => metric.startsWith("val_")) ?? curves[0];
  const members = [...new Set(curves.flatMap(({ series }) => series.map(({ configuration }) => configuration)))].sort((one, other) => one - other);
  const selection = selectionOf(members.map((at) => ({ at, name: report.labels[at] })), report.foremost);
  const left = report.curves_left_out > 0
    ? h("p", { class: "note" }, `Curves of the ${number(members.length)} best configurations and of those that claims are about; those of ${number(report.curves_left_out)} more are in curves.csv.`)
    : null;
  return section("curves", "Curves", curvesFigure(report, curves, first, selection, "configurations", "Curves in numbers"), left);
}

function ratesSection(report) {
  const rates = report.curves.filter(({ metric, series }) => RATES.includes(metric) && series.length > 0);
  if (rates.length === 0) return null;
  const { curves, members } = alike(report, rates.map((curve) => ({ ...curve, metric: "lr" })));
  const selection = selectionOf(members);
  const all = members.length === 1 && report.configurations.length > 1 ? h("p", { class: "lead" }, "Every configuration has this course of the learning rate.") : null;
  return section("rates", "Learning rates", all, curvesFigure(report, curves, curves[0], selection, "courses", "Learning rates in numbers"));
}

// Configurations with the same course are one line, named by what they have in common.
function alike(report, curves) {
  const groups = new Map();
  const drawn = new Set(curves.flatMap(({ series }) => series.map(({ configuration }) => configuration)));
  const all = drawn.size;
  for (const at of drawn) {
    const courses = curves.map(({ series }) => series.find(({ configuration }) => configuration === at));
    const key = JSON.stringify(courses.map((one) => [one?.x, one?.mean]));
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(at);
  }
  const members = [...groups.values()].map((group) => ({ at: group[0], name: commonName(report, group, all) }));
  const kept = new Set(members.map(({ at }) => at));
  return { curves: curves.map((curve) => ({ ...curve, series: curve.series.filter(({ configuration }) => kept.has(configuration)) })), members };
}

function commonName(report, group, all) {
  if (group.length === 1) return report.labels[group[0]];
  if (group.length === all) return "all configurations";
  const values = group.map((at) => report.configurations[at]?.axes ?? []);
  const shared = report.axes.map(({ key }, at) => [key, at]).filter(([, at]) => values.every((axes) => axes[at] === values[0][at]));
  const name = shared.map(([key, at]) => (report.axes.length === 1 ? report.labels[group[0]] : `${key}=${values[0][at]}`)).join(" ");
  return name === "" ? `${report.labels[group[0]]} and ${group.length - 1} more` : `${name} (${group.length} configurations)`;
}

function curvesFigure(report, curves, first, selection, noun, numbersCaption) {
  const state = { curve: first, log: false, beside: false, from: null, to: null };
  const caption = h("span");
  const numbers = numbersTable(numbersCaption, () => curveColumns(state.curve), () => curveRows(report, state.curve, selection));
  const chart = lazyChart({
    option: (width) => curveOption(report, state, selection, width),
    height: (width) => (width < 520 ? 300 : 420),
    describe: () => curveWords(report, state.curve, selection),
  });
  const logBox = toggle("Logarithmic", false, (on) => changed({ log: on }));
  const besideBox = toggle("Training beside it", false, (on) => changed({ beside: on }));
  const changed = (change) => {
    Object.assign(state, change);
    const training = trainingOf(curves, state.curve);
    state.training = state.beside ? training : null;
    besideBox.hidden = training === null;
    caption.replaceChildren(...curveCaption(state.curve), state.training === null ? "" : `; thin lines: ${state.training.label}`);
    const able = curveValues(state.curve).some((value) => value > 0);
    logBox.querySelector("input").disabled = !able;
    chart.update();
    numbers.refill();
  };
  const metrics = [...new Map(curves.map((curve) => [curve.metric, curve])).values()];
  const xChooser = h("span", { class: "slot" });
  const range = h("span", { class: "slot" });
  const offerRange = () => range.replaceChildren(...rangeInputs(state.curve, (change) => changed(change)));
  const offerXs = () => {
    const same = curves.filter(({ metric }) => metric === state.curve.metric);
    xChooser.replaceChildren(...[chooser("By", same.map(({ x }) => [x, `${x}s`]), state.curve.x, (x) => {
      changed({ curve: same.find((curve) => curve.x === x), from: null, to: null });
      offerRange();
    })].filter(Boolean));
  };
  const controls = [
    chooser("Show", metrics.map(({ metric, label }) => [metric, label]), first.metric, (metric) => {
      const same = curves.filter((curve) => curve.metric === metric);
      const next = same.find(({ x }) => x === state.curve.x) ?? same[0];
      const kept = next.x === state.curve.x;
      changed(kept ? { curve: next } : { curve: next, from: null, to: null });
      offerXs();
      if (!kept) offerRange();
    }),
    xChooser, range, logBox, besideBox,
  ];
  selection.listeners.push(() => changed({}));
  changed({});
  offerXs();
  offerRange();
  return figure(caption, controls, [chart.element, legend(selection, noun)], numbers);
}

// What was seen in training, of what was seen in validation: the gap between them is overfitting.
function trainingOf(curves, { metric, x }) {
  if (!metric.startsWith("val_")) return null;
  return curves.find((curve) => curve.metric === metric.replace("val_", "train_") && curve.x === x) ?? null;
}

// The part of the axis that is drawn: numbers to type, since dragging is not for everybody. The vertical axis follows.
function rangeInputs({ x, series }, changed) {
  const xs = series.flatMap((one) => one.x);
  const [first, last] = [Math.min(...xs), Math.max(...xs)];
  if (!(last - first > 2)) return [];
  const input = (label, value, key) => {
    const id = freshId("range");
    const box = h("input", { id, type: "number", min: first, max: last, value, onchange: () => {
      const typed = Number(box.value);
      changed({ [key]: box.value === "" || !(typed > first && typed < last) ? null : typed });
    } });
    return h("span", { class: "control" }, h("label", { for: id }, label), box);
  };
  return [input(`from ${x}`, first, "from"), input("to", last, "to")];
}

function within({ from, to }, one) {
  if (from === null && to === null) return one;
  const kept = one.x.map((x, at) => ({ x, at })).filter(({ x }) => (from === null || x >= from) && (to === null || x <= to)).map(({ at }) => at);
  const pick = (list) => list && kept.map((at) => list[at]);
  return { ...one, x: pick(one.x), mean: pick(one.mean), low: pick(one.low), high: pick(one.high), n: pick(one.n) };
}

function curveCaption({ label, unit, x, series }) {
  const seeds = Math.max(0, ...series.flatMap(({ n }) => n ?? []));
  const spread = series.some(({ low, high }) => low?.some((value, at) => isNumber(value) && value < high?.[at]));
  return [h("strong", {}, `${capital(label)}${unit ? ` (${unit})` : ""}`), ` by ${x}`, seeds > 1 && spread ? `: mean of up to ${seeds} seeds, band from the lowest to the highest` : ""];
}

function capital(text) {
  return text.charAt(0).toLocaleUpperCase("en") + text.slice(1);
}

function curveValues({ series }) {
  return series.flatMap(({ mean }) => mean).filter(isNumber);
}

function shownSeries(curve, selection) {
  return curve.series.filter(({ configuration }) => selection.shown.has(configuration));
}

function nameIn(selection, at) {
  return selection.members.find((member) => member.at === at)?.name ?? "";
}

function curveOption(report, state, selection, width) {
  const { curve, log } = state;
  const series = shownSeries(curve, selection).map((one) => within(state, one));
  const onAxis = (value) => isNumber(value) && (!log || value > 0);
  const named = width >= 720 && series.length > 1 && series.length <= NAMED_AT_THEIR_ENDS
    && series.every(({ configuration }) => nameIn(selection, configuration).length <= LONGEST_NAME_AT_AN_END);
  const xs = series.flatMap(({ x }) => x);
  const training = state.training ? shownSeries(state.training, selection).map((one) => within(state, one)) : [];
  const drawn = [...series, ...training].flatMap(({ mean, low, high }) => [...mean, ...(low ?? []), ...(high ?? [])]);
  const target = curve.metric === report.metric.target_of && isNumber(report.metric.target) && onAxis(report.metric.target) ? report.metric.target : null;
  return {
    grid: { left: 8, right: named ? 186 : 16, top: 14, bottom: 40, containLabel: true },
    xAxis: bottomAxis(curve.x, { ...endsOf(xs), minInterval: 1, axisLabel: { ...valueAxis().axisLabel, alignMaxLabel: named ? "right" : "center" } }),
    yAxis: { ...valueAxis({ scale: true }), ...(log ? logScale([...drawn, target].filter((value) => isNumber(value) && value > 0)) : {}) },
    tooltip: tooltip("axis", (hovered) => curveTip(state, selection, hovered)),
    series: [
      ...series.flatMap((one) => bandOf(one, onAxis)),
      ...training.map((one) => thinLineOf(one, onAxis)),
      ...series.map((one) => lineOf(one, nameIn(selection, one.configuration), onAxis, named)),
      ...(target !== null && xs.length > 0 ? [targetLine(target, xs[0])] : []),
    ],
  };
}

// The axis ends where the lines do; around a single point there is room.
function endsOf(xs) {
  const one = new Set(xs).size === 1;
  return { min: one ? xs[0] - 1 : "dataMin", max: one ? xs[0] + 1 : "dataMax" };
}

const WIDE = 60;

// A logarithmic axis from power to power: of ten, or of two where ten would leave hardly a line.
function logScale(values) {
  if (values.length === 0) return { type: "log" };
  const [least, most] = values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, 0]);
  const base = most / least > WIDE ? 10 : 2;
  const power = (value, round) => base ** round(Number((Math.log(value) / Math.log(base)).toFixed(9)));
  const [min, max] = [power(least, Math.floor), power(most, Math.ceil)];
  return { type: "log", logBase: base, min, max: max > min ? max : min * base };
}

function lineOf({ configuration, x, mean }, name, onAxis, named) {
  const look = mark(configuration);
  const every = Math.max(1, Math.ceil(x.length / SYMBOLS_ON_A_LINE));
  // Symbols of different lines at different places: where lines lie on one another, each is still seen.
  const offset = x.length > SYMBOLS_ON_A_LINE ? configuration % every : 0;
  return {
    type: "line", name, id: `mean-${configuration}`, z: 3, symbolSize: 7, symbol: look.symbol, showSymbol: true, showAllSymbol: true,
    lineStyle: { color: look.colour, width: 2, type: look.dash ?? "solid" },
    itemStyle: { color: look.colour, borderColor: look.colour },
    emphasis: { disabled: true },
    data: x.map((at, place) => ({ value: [at, onAxis(mean[place]) ? mean[place] : null], symbol: place % every === offset || x.length === 1 ? look.symbol : "none" })),
    ...(named ? { endLabel: { show: true, formatter: () => name, color: colour("ink"), fontSize: 12, width: 172, overflow: "truncate", distance: 8 }, labelLayout: { moveOverlap: "shiftY" } } : {}),
  };
}

function thinLineOf({ configuration, x, mean }, onAxis) {
  return {
    type: "line", id: `training-${configuration}`, z: 2, symbol: "none", silent: true, emphasis: { disabled: true }, lineStyle: { color: mark(configuration).colour, width: 1.2 },
    itemStyle: { color: mark(configuration).colour }, data: x.map((at, place) => [at, onAxis(mean[place]) ? mean[place] : null]),
  };
}

// One polygon for the whole band. Seeds that stop early end it.
function bandOf({ configuration, x, low, high, n }, onAxis) {
  const rows = x.map((at, place) => [at, low?.[place], high?.[place], n?.[place] ?? 0]).filter(([, from, to, seeds]) => seeds > 1 && onAxis(from) && onAxis(to));
  if (rows.length < 2) return [];
  const fill = translucent(mark(configuration).name, 0.14);
  return [{
    type: "custom", id: `band-${configuration}`, z: 1, silent: true, clip: true, data: rows, dimensions: ["x", "low", "high", "n"], encode: { x: 0, y: [1, 2] }, tooltip: { show: false },
    renderItem: (params, api) => {
      if (params.dataIndexInside !== 0) return null;
      const points = [...rows.map(([at, from]) => api.coord([at, from])), ...rows.slice().reverse().map(([at, , to]) => api.coord([at, to]))];
      return { type: "polygon", shape: { points }, style: { fill } };
    },
  }];
}

// An unseen point makes the axis reach the target where no line does.
function targetLine(target, x) {
  return {
    type: "line", id: "target", data: [[x, target]], symbol: "none", lineStyle: { width: 0 }, silent: true, tooltip: { show: false },
    markLine: {
      silent: true, symbol: "none", animation: false, data: [{ yAxis: target }],
      lineStyle: { color: colour("muted"), type: [2, 3], width: 1.5 },
      label: { formatter: `target ${number(target)}`, position: "insideStartTop", color: colour("muted"), fontSize: 12 },
    },
  };
}

function curveTip({ curve, training }, selection, hovered) {
  const x = hovered[0]?.axisValue;
  const lines = shownSeries(curve, selection).map((one) => ({ one, at: one.x.indexOf(x) })).filter(({ one, at }) => at >= 0 && isNumber(one.mean[at]))
    .sort((one, other) => other.one.mean[other.at] - one.one.mean[one.at])
    .map(({ one, at }) => [swatch(one.configuration), nameIn(selection, one.configuration), bandText(one, at, curve.unit) + trainingText(training, one, x)]);
  return tooltipContent(`${capital(curve.x)} ${number(x)}`, lines);
}

function trainingText(training, { configuration }, x) {
  const one = training?.series.find((other) => other.configuration === configuration);
  return one ? `, training ${quantity(one.mean[one.x.indexOf(x)], training.unit)}` : "";
}

function bandText({ mean, low, high, n }, at, unit) {
  const band = n?.[at] > 1 && isNumber(low?.[at]) && isNumber(high?.[at]) ? ` (${quantity(low[at], unit)} to ${quantity(high[at], unit)})` : "";
  return `${quantity(mean[at], unit)}${band}`;
}

function curveColumns({ x }) {
  return ["configuration", `first ${x}`, `last ${x}`, "value at first", "smallest", "largest", "value at last", "seeds at last"];
}

function curveRows(report, curve, selection) {
  return shownSeries(curve, selection).map(({ configuration, x, mean, n }) => {
    const known = mean.map((value, at) => [value, at]).filter(([value]) => isNumber(value));
    const values = known.map(([value]) => value);
    const [first, last] = [known[0]?.[1], known.at(-1)?.[1]];
    return [nameIn(selection, configuration), number(x[first]), number(x[last]), quantity(mean[first], curve.unit), quantity(values.length > 0 ? Math.min(...values) : null, curve.unit),
      quantity(values.length > 0 ? Math.max(...values) : null, curve.unit), quantity(mean[last], curve.unit), number(n?.[last] ?? null)];
  });
}

function curveWords(report, curve, selection) {
  const ends = shownSeries(curve, selection).slice(0, 8).map(({ configuration, mean }) => `${nameIn(selection, configuration)} ends at ${quantity(mean.filter(isNumber).at(-1), curve.unit)}`);
  return `Lines: ${curve.label} by ${curve.x}. ${ends.join("; ")}${ends.length > 0 ? "." : "No configuration is shown."}`;
}
