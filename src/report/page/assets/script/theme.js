// Light and dark. The style sheet alone defines colours; charts ask it. What the reader chose lasts as long as the page is
// open: a page opened from a folder has no storage that could be relied on.

const THEMES = ["auto", "light", "dark"];
const repainted = new Set();
const darkPreferred = globalThis.matchMedia("(prefers-color-scheme: dark)");
const printed = globalThis.matchMedia("print");
let probe = null;

/** What the style sheet's variable `--name` is now, as `rgb(…)`. */
function colour(name) {
  if (probe === null) {
    probe = h("span", { hidden: true });
    document.body.append(probe);
  }
  probe.style.color = `var(--${name})`;
  return getComputedStyle(probe).color;
}

/** The same, so transparent. */
function translucent(name, opacity) {
  return colour(name).replace(/^rgb\((.*)\)$/, `rgba($1, ${opacity})`);
}

/** Calls `repaint` whenever colours change. */
function onRepaint(repaint) {
  repainted.add(repaint);
}

function repaintAll() {
  for (const repaint of repainted) repaint();
}

/** The button that goes round the themes. */
function themeButton() {
  const state = h("span", {}, "auto");
  let at = 0;
  const turn = () => {
    at = (at + 1) % THEMES.length;
    state.textContent = THEMES[at];
    if (THEMES[at] === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = THEMES[at];
    repaintAll();
  };
  return h("button", { type: "button", class: "theme", onclick: turn }, "Theme: ", state);
}

darkPreferred.addEventListener("change", repaintAll);

// How a configuration looks in every chart: colour, dashes and symbol go round at different rates, so that no two of the
// forty that can be drawn look the same, and neighbours differ in all three.
const COLOURS = 8;
const DASHES = [null, [7, 3], [2, 2.5], [9, 3, 2, 3]];
const SYMBOLS = ["circle", "rect", "triangle", "diamond", "emptyCircle", "emptyRect", "emptyTriangle"];

function mark(at) {
  const name = `mark-${at % COLOURS}`;
  return { name, colour: colour(name), dash: DASHES[(at + Math.floor(at / COLOURS)) % DASHES.length], symbol: SYMBOLS[at % SYMBOLS.length] };
}

const OUTLINES = {
  circle: () => s("circle", { cx: 17, cy: 6, r: 3.6 }),
  rect: () => s("rect", { x: 13.6, y: 2.6, width: 6.8, height: 6.8 }),
  triangle: () => s("path", { d: "M17 1.8 21.2 9.4H12.8Z" }),
  diamond: () => s("path", { d: "M17 1.4 21.4 6 17 10.6 12.6 6Z" }),
};

/** A piece of line as the charts draw it for configuration `at`. */
function swatch(at) {
  const dash = DASHES[(at + Math.floor(at / COLOURS)) % DASHES.length];
  const symbol = SYMBOLS[at % SYMBOLS.length];
  const hollow = symbol.startsWith("empty");
  const outline = OUTLINES[hollow ? symbol.slice(5).toLowerCase() : symbol]();
  outline.setAttribute("class", hollow ? "hollow" : "full");
  return s("svg", { class: "swatch", width: 34, height: 12, viewBox: "0 0 34 12", "aria-hidden": "true", style: `color: var(--mark-${at % COLOURS})` },
    s("line", { x1: 1, y1: 6, x2: 33, y2: 6, stroke: "currentColor", "stroke-width": 2, "stroke-dasharray": dash?.join(" ") }), outline);
}
