// Charts that are made when they come into view, repaint with the theme, and are all there on paper.

const PAPER_WIDTH = 670;
const SANS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif";
const allCharts = new Set();
let firstChartAt = null;

/**
 * A chart: `element` to be placed, `update()` after a choice has changed. `option(width)` makes all of ECharts' option;
 * `height(width)` the height in pixels; `describe()` says in a sentence what is to be seen.
 */
function lazyChart({ option, height, describe }) {
  const element = h("div", { class: "chart", role: "img" });
  const chart = { element, made: null, paper: false };
  const place = () => {
    const width = chart.paper ? Math.min(PAPER_WIDTH, element.parentElement?.clientWidth || PAPER_WIDTH) : element.clientWidth;
    element.style.height = `${height(width)}px`;
    return width;
  };
  chart.draw = () => {
    const width = place();
    if (width === 0) return;
    const size = { width, height: height(width) };
    if (chart.made === null) chart.made = echarts.init(element, null, { renderer: "svg", ...size });
    else chart.made.resize(size);
    chart.made.setOption({ ...COMMON, ...option(width), aria: { enabled: true, label: { description: describe() } } }, { notMerge: true });
    element.dataset.drawn = "yes";
    firstChartAt ??= performance.now();
    document.documentElement.dataset.firstChart = firstChartAt.toFixed(0);
  };
  chart.update = () => {
    if (chart.made === null) element.setAttribute("aria-label", describe());
    else chart.draw();
  };
  element.style.height = `${height(760)}px`;
  element.setAttribute("aria-label", describe());
  allCharts.add(chart);
  watch(chart);
  return chart;
}

const COMMON = { animation: false, textStyle: { fontFamily: SANS } };

const inView = "IntersectionObserver" in globalThis
  ? new IntersectionObserver(onSeen, { rootMargin: "240px 0px" })
  : null;
const sized = "ResizeObserver" in globalThis ? new ResizeObserver(onSized) : null;
const chartOf = new WeakMap();

function watch(chart) {
  chartOf.set(chart.element, chart);
  if (inView === null) whenIdle(chart.draw);
  else inView.observe(chart.element);
}

function onSeen(entries) {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    inView.unobserve(target);
    const chart = chartOf.get(target);
    if (chart.made === null) chart.draw();
    sized?.observe(target);
  }
}

function onSized(entries) {
  for (const { target } of entries) {
    const chart = chartOf.get(target);
    if (chart?.made && !chart.paper && Math.abs(chart.made.getWidth() - target.clientWidth) > 1) chart.draw();
  }
}

onRepaint(() => {
  for (const chart of allCharts) if (chart.made !== null) chart.draw();
});

function ontoPaper() {
  for (const chart of allCharts) {
    chart.paper = true;
    chart.draw();
  }
}

function offPaper() {
  for (const chart of allCharts) {
    chart.paper = false;
    if (chart.made !== null) chart.draw();
  }
}

globalThis.addEventListener("beforeprint", ontoPaper);
globalThis.addEventListener("afterprint", offPaper);
printed.addEventListener("change", () => (printed.matches ? ontoPaper() : offPaper()));

/** An axis of numbers. */
function valueAxis(properties = {}) {
  return {
    type: "value",
    axisLine: { show: false },
    axisTick: { show: false },
    axisLabel: { color: colour("muted"), fontSize: 12, formatter: (value) => number(value, 4), hideOverlap: true },
    splitLine: { lineStyle: { color: colour("grid"), width: 1 } },
    nameTextStyle: { color: colour("muted"), fontSize: 12 },
    ...properties,
  };
}

/** The horizontal axis of a chart: named below, at its end, without lines through the chart. */
function bottomAxis(name, properties = {}) {
  return {
    ...valueAxis(),
    name,
    nameLocation: "middle",
    nameGap: 28,
    splitLine: { show: false },
    axisLine: { show: true, onZero: false, lineStyle: { color: colour("rule") } },
    axisTick: { show: true, lineStyle: { color: colour("rule") } },
    ...properties,
  };
}

/** A tooltip whose content is an element: nothing in it can be read as HTML. */
function tooltip(trigger, content) {
  return {
    trigger,
    confine: true,
    backgroundColor: colour("paper"),
    borderColor: colour("rule"),
    textStyle: { color: colour("ink"), fontSize: 13 },
    extraCssText: "box-shadow: none; border-radius: 2px; max-width: min(38rem, 92vw); white-space: normal;",
    axisPointer: { type: "line", lineStyle: { color: colour("muted"), type: "solid", width: 1 }, animation: false },
    formatter: content,
  };
}

/** Lines of a tooltip: a title, then swatch, name and value each. */
function tooltipContent(title, lines) {
  const most = 14;
  return h("div", { class: "tip" }, h("strong", {}, title),
    h("table", {}, lines.slice(0, most).map(([symbol, name, value]) =>
      h("tr", {}, h("td", {}, symbol), h("td", { class: "tip-name" }, bdi(name)), h("td", { class: "figure" }, value)))),
    lines.length > most ? h("span", {}, `and ${lines.length - most} more`) : null);
}

/** A chart with its caption, controls above and its numbers as a table below. */
function figure(caption, controls, charts, below) {
  const shown = [controls].flat().filter(Boolean);
  return h("figure", {}, h("figcaption", {}, caption), shown.length > 0 ? h("div", { class: "controls" }, shown) : null, charts, below);
}

/** The numbers of a chart as a table, made when it is opened. `rows()` gives texts; the first of each is its header. */
function numbersTable(caption, columns, rows) {
  const details = h("details", { class: "numbers" }, h("summary", {}, "Numbers as a table"));
  const fill = () => {
    details.querySelector(".scroll")?.remove();
    details.append(scrollBox(caption, h("table", { class: "plain" }, h("caption", {}, caption),
      h("thead", {}, h("tr", {}, columns().map((column) => h("th", { scope: "col" }, column)))),
      h("tbody", {}, rows().map(([first, ...rest]) =>
        h("tr", {}, h("th", { scope: "row" }, bdi(first)), rest.map((cell) => h("td", { class: "figure" }, cell))))))));
  };
  details.addEventListener("toggle", () => details.open && fill());
  details.refill = () => details.open && fill();
  return details;
}

/** A box that scrolls sideways by itself, with a mouse, a finger or the arrow keys. */
function scrollBox(label, content) {
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `${label}, table` }, content);
}
