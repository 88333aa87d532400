// Measurements of the layers over the epochs, as heat maps side by side: colours mean the same in both.

// Cividis: even in lightness, the same to all kinds of colour vision (Nunez, Anderton and Renslow, 2018).
const CIVIDIS = ["#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#e1cc55", "#fee838"];
// From which ratio on colours are logarithmic at first; where there are zeros, which have no logarithm, later.
const LOG_FROM = 20;
const LOG_FROM_WITH_ZEROS = 1e4;

function layersSection(report) {
  const measures = report.layers.filter(({ maps, layers, epochs }) => maps.length > 0 && layers.length > 1 && epochs.length > 0);
  if (measures.length === 0) return null;
  const named = (name) => measures.find(({ measurement }) => measurement === name);
  // A gradient that vanishes at first and comes back within the epoch is hidden in its mean.
  const state = { measure: named("gradient_norm_min") ?? named("gradient_norm_mean") ?? measures[0], sides: [], log: false, finished: (at) => finishedAny(report, at) };
  const caption = h("span");
  const panels = [0, 1].map((side) => layerPanel(report, state, side));
  const numbers = numbersTable("Layers in numbers", () => ["configuration, layer", ...thinnedEpochs(state.measure).map(({ epoch }) => `epoch ${epoch}`)], () => layerRows(report, state));
  const logSlot = h("span", { class: "slot" });
  const changed = () => {
    caption.replaceChildren(h("strong", {}, capital(state.measure.label)), ` by layer and epoch: mean over the seeds, one scale of colours for all configurations${state.measure.maps.some(({ configuration }) => !state.finished(configuration)) ? " that finished" : ""}`);
    panels.forEach((panel) => panel.refresh());
    numbers.refill();
  };
  const chooseMeasure = (measurement) => {
    state.measure = measures.find((measure) => measure.measurement === measurement);
    const maps = state.measure.maps.map(({ configuration }) => configuration);
    const finished = maps.filter(state.finished);
    const last = finished.filter((at) => report.foremost.includes(at)).at(-1) ?? finished.at(-1) ?? maps.at(-1);
    state.sides = [0, 1].map((side) => (maps.includes(state.sides[side]) ? state.sides[side] : side === 0 || last === maps[0] ? maps[side === 0 ? 0 : maps.length - 1] : last));
    if (maps.length === 1) state.sides = [maps[0]];
    const { least, leastPositive, most } = extent(state);
    const able = least >= 0 && most > leastPositive;
    state.log = able && most / leastPositive >= (least > 0 ? LOG_FROM : LOG_FROM_WITH_ZEROS);
    logSlot.replaceChildren(...(able ? [toggle("Logarithmic colours", state.log, (on) => {
      state.log = on;
      changed();
    })] : []));
    changed();
  };
  chooseMeasure(state.measure.measurement);
  const controls = [chooser("Show", measures.map(({ measurement, label }) => [measurement, label]), state.measure.measurement, chooseMeasure), logSlot];
  return section("layers", "Layers", figure(caption, controls, h("div", { class: "panels" }, panels.map(({ element }) => element)), numbers),
    report.layers_left_out > 0 ? h("p", { class: "note" }, `Maps of ${number(report.layers_left_out)} more are left out here; layers.csv has their numbers.`) : null);
}

// What is measured of the network as a whole has no layers to be mapped: it is a curve.
function networkSection(report) {
  const curves = report.layers.filter(({ maps, layers, epochs }) => maps.length > 0 && layers.length === 1 && epochs.length > 0).map(({ measurement, label, layers, epochs, maps }) => ({
    metric: measurement, label: layers[0] === "network" ? label : `${label} of ${layers[0]}`, unit: "", x: "epoch",
    series: maps.map(({ configuration, values }) => ({ configuration, x: epochs, mean: values[0] })),
  }));
  if (curves.length === 0) return null;
  const members = [...new Set(curves.flatMap(({ series }) => series.map(({ configuration }) => configuration)))].sort((one, other) => one - other);
  const claimed = curves.find((curve) => report.claims.some(({ metric }) => metric?.split(" ")[0] === curve.metric)) ?? curves[0];
  return section("network", "Measurements of the network", curvesFigure(report, curves, claimed, selectionOf(members.map((at) => ({ at, name: report.labels[at] })), report.foremost), "configurations", "Measurements of the network in numbers"));
}

function layerPanel(report, state, side) {
  const slot = h("div", { class: "panel-name" });
  const chart = lazyChart({
    option: (width) => layerOption(state, side, width),
    height: () => Math.min(640, 84 + 26 * Math.max(3, rowsOf(state, side).length)),
    describe: () => layerWords(report, state, side),
  });
  const element = h("div", { class: "panel" }, slot, chart.element);
  const refresh = () => {
    const at = state.sides[side];
    element.hidden = at === undefined;
    if (at === undefined) return;
    const maps = state.measure.maps.map(({ configuration }) => configuration);
    const select = chooser(side === 0 ? "Configuration" : "beside", maps.map((map) => [String(map), report.labels[map]]), String(at), (chosen) => {
      state.sides[side] = Number(chosen);
      refresh();
    });
    const focused = slot.contains(document.activeElement);
    slot.replaceChildren(select ?? h("strong", {}, bdi(report.labels[at])));
    if (focused) slot.querySelector("select")?.focus();
    chart.update();
  };
  return { element, refresh };
}

function mapOf({ measure, sides }, side) {
  return measure.maps.find(({ configuration }) => configuration === sides[side]);
}

// Layers of this configuration's network, by their place: networks of a sweep may differ.
function rowsOf(state, side) {
  const values = mapOf(state, side)?.values ?? [];
  return values.map((row, at) => (row.some(isNumber) ? at : -1)).filter((at) => at >= 0);
}

function finishedAny({ board, leaderboard }, at) {
  return !(board.value(leaderboard.rows[at] ?? [], "n") === 0);
}

// Of the configurations that finished: gradients of one that diverged are beyond all others by orders of magnitude.
function extent({ measure, finished }) {
  const some = measure.maps.filter(({ configuration }) => finished(configuration));
  const maps = some.length > 0 ? some : measure.maps;
  let [least, leastPositive, most] = [Infinity, Infinity, -Infinity];
  for (const { values } of maps) for (const row of values) for (const value of row) {
    if (!isNumber(value)) continue;
    if (value < least) least = value;
    if (value > 0 && value < leastPositive) leastPositive = value;
    if (value > most) most = value;
  }
  return { least, leastPositive, most };
}

function layerOption(state, side, width) {
  const { measure, log } = state;
  const { least, leastPositive, most } = extent(state);
  const clamped = (value) => Math.min(Math.max(value, log ? leastPositive : least), most);
  const scale = (value) => (log ? Math.log10(clamped(value)) : clamped(value));
  const rows = rowsOf(state, side);
  const values = mapOf(state, side)?.values ?? [];
  const cells = rows.flatMap((layer, row) => values[layer].map((value, epoch) => [epoch, row, value])).filter(([, , value]) => isNumber(value));
  const words = { color: colour("muted"), fontSize: 12 };
  const flat = !(most > least);
  return {
    grid: { left: 8, right: 12, top: 8, bottom: 74, containLabel: true },
    xAxis: { type: "category", data: measure.epochs.map(String), name: "epoch", nameLocation: "middle", nameGap: 26, nameTextStyle: words, axisLabel: { ...words, hideOverlap: true }, axisTick: { show: false }, axisLine: { show: false } },
    yAxis: { type: "category", data: rows.map((at) => measure.layers[at]), inverse: true, axisLabel: { ...words, interval: 0, width: width < 400 ? 80 : 130, overflow: "truncate" }, axisTick: { show: false }, axisLine: { show: false } },
    visualMap: { type: "continuous", min: flat ? scale(least) - 1 : scale(least), max: flat ? scale(most) + 1 : scale(most), dimension: 2, calculable: false, orient: "horizontal", left: "center", bottom: 0, itemWidth: 12, itemHeight: Math.min(180, width / 3),
      text: [number(most, 3), number(log ? leastPositive : least, 3)], textStyle: words, inRange: { color: CIVIDIS }, hoverLink: false },
    tooltip: tooltip("item", ({ value: [epoch, row, , value] }) => tooltipContent(`Epoch ${measure.epochs[epoch]}`, [["", measure.layers[rows[row]], number(value)]])),
    series: [{ type: "heatmap", data: cells.map(([epoch, row, value]) => [epoch, row, scale(value), value]), itemStyle: { borderColor: colour("paper"), borderWidth: measure.epochs.length > 60 ? 0 : 1 }, emphasis: { itemStyle: { borderColor: colour("ink"), borderWidth: 1 } }, progressive: 0 }],
  };
}

const EPOCHS_IN_TABLE = 12;

function thinnedEpochs({ epochs }) {
  const every = Math.max(1, Math.ceil(epochs.length / EPOCHS_IN_TABLE));
  return epochs.map((epoch, at) => ({ epoch, at })).filter(({ at }) => at % every === 0 || at === epochs.length - 1);
}

function layerRows(report, state) {
  const epochs = thinnedEpochs(state.measure);
  return [...new Set(state.sides)].flatMap((at) => {
    const map = state.measure.maps.find(({ configuration }) => configuration === at);
    return state.measure.layers.map((layer, row) => [layer, row]).filter(([, row]) => map?.values[row]?.some(isNumber)).map(([layer, row]) => [`${report.labels[at]}, ${layer}`, ...epochs.map((epoch) => number(map?.values[row]?.[epoch.at] ?? null, 3))]);
  });
}

function layerWords(report, state, side) {
  const { measure } = state;
  const map = mapOf(state, side);
  if (map === undefined) return "";
  const last = rowsOf(state, side).map((row) => `${measure.layers[row]} ${number(map.values[row]?.filter(isNumber).at(-1) ?? null, 3)}`).slice(0, 12);
  return `Heat map: ${measure.label} of ${report.labels[map.configuration]} by layer and epoch. In the last epoch: ${last.join(", ")}.`;
}
