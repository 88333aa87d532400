// What report_test.py asks of the page, from inside it.

window.inPage = {
  labelled(section, words) {
    for (const label of document.querySelectorAll(`${section} .controls label`)) {
      if (label.textContent.trim().startsWith(words)) return label.control;
    }
    return null;
  },

  rows(section) {
    return [...document.querySelectorAll(`${section} table.data tbody tr`)].map((row) => row.innerText);
  },

  column(section, at) {
    return [...document.querySelectorAll(`${section} table.data tbody tr`)].map((row) => row.cells[at].innerText);
  },

  // A number as the page writes it; of "a ± b", a.
  parsed(text) {
    const plain = text.trim().split(" ± ")[0].replaceAll(",", "").replaceAll("\u2212", "-");
    const raised = /^(?:(-?[\d.]+)×)?10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)$/u.exec(plain);
    if (raised) return Number(raised[1] ?? 1) * 10 ** Number([...raised[2]].map((digit) => (digit === "⁻" ? "-" : "⁰¹²³⁴⁵⁶⁷⁸⁹".indexOf(digit))).join(""));
    const unit = /^(-?[\d.]+)\s*(µs|ms|s|min|h|KiB|MiB|GiB)?\b/u.exec(plain);
    if (!unit) return null;
    const hours = /^(\d+) h (\d+) min/.exec(plain);
    if (hours) return Number(hours[1]) * 3600 + Number(hours[2]) * 60;
    return Number(unit[1]) * ({ µs: 1e-6, ms: 1e-3, min: 60, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 }[unit[2]] ?? 1);
  },

  // What the last digit of a number as the page writes it is worth.
  resolution(text) {
    const value = this.parsed(text);
    const digits = /[\d,]+(?:\.(\d+))?/.exec(text.trim().split(" ± ")[0]);
    if (value === null || digits === null) return 0;
    const written = Number(digits[0].replaceAll(",", ""));
    return 10 ** -(digits[1]?.length ?? 0) * (written === 0 ? 1 : Math.abs(value) / written);
  },

  chart(section) {
    const svg = document.querySelector(`${section} .chart svg`);
    const paths = [...svg.querySelectorAll("path")].filter((path) => path.getAttribute("stroke-width") === "2" && path.getAttribute("fill") === "none" && /[LC]|\d [-\d.]+ [-\d.]+/.test(path.getAttribute("d")));
    return { lines: paths.length, bars: svg.querySelectorAll("path[fill^='rgb']").length, texts: [...svg.querySelectorAll("text")].map((text) => text.textContent) };
  },

  // How far, in pixels, the ticks of the vertical axis are from a linear and from a logarithmic scale.
  axisFit(section) {
    const svg = document.querySelector(`${section} .chart svg`);
    const columns = new Map();
    for (const text of svg.querySelectorAll("text[text-anchor='end']")) {
      const right = Math.round(text.getBoundingClientRect().right);
      columns.set(right, [...(columns.get(right) ?? []), text]);
    }
    const axis = [...columns.values()].sort((one, other) => other.length - one.length)[0] ?? [];
    const ticks = axis.map((text) => [this.parsed(text.textContent), text.getBoundingClientRect().top]).filter(([value]) => value !== null);
    const residual = (points) => {
      const n = points.length;
      if (n < 2) return 0;
      const [mx, my] = [0, 1].map((at) => points.reduce((sum, point) => sum + point[at], 0) / n);
      const slope = points.reduce((sum, [x, y]) => sum + (x - mx) * (y - my), 0) / points.reduce((sum, [x]) => sum + (x - mx) ** 2, 0);
      return Math.max(...points.map(([x, y]) => Math.abs(y - my - slope * (x - mx))));
    };
    const rounded = (value) => Math.round(value * 10) / 10;
    return { ticks: ticks.length, linear: rounded(residual(ticks)), logarithmic: rounded(residual(ticks.filter(([value]) => value > 0).map(([value, y]) => [Math.log(value), y]))) };
  },

  firstTextColour() {
    const text = document.querySelector(".chart svg text");
    return text === null ? null : getComputedStyle(text).fill;
  },

  // Columns of a table of which a reader who has not scrolled does not see all.
  outOfSight(section, keys) {
    const box = document.querySelector(`${section} .scroll`).getBoundingClientRect();
    const heading = (key) => document.querySelector(`${section} th button[data-key='${key}']`)?.closest("th");
    return keys.filter((key) => heading(key)?.getBoundingClientRect().right > box.right + 1);
  },

  // Labels of ticks that touch the one before them.
  touchingTicks() {
    return [...document.querySelectorAll("svg.ticks")].flatMap((svg) => {
      const texts = [...svg.querySelectorAll("text")].map((text) => [text.textContent, text.getBoundingClientRect()]);
      return texts.filter(([, rect], at) => at > 0 && rect.left < texts[at - 1][1].right + 2).map(([text]) => text);
    });
  },

  widerThan(width) {
    return [...document.querySelectorAll("body *")].filter((element) => element.closest(".scroll") === null && element.checkVisibility() && element.getBoundingClientRect().right > width + 1)
      .slice(0, 4).map((element) => `${element.tagName}.${element.className}`);
  },

  name(element) {
    const place = [...document.querySelectorAll("*")].indexOf(element);
    return `${element.tagName.toLowerCase()} ${(element.innerText || element.ariaLabel || element.id || "").trim().slice(0, 30)} #${place}`;
  },

  // All that the tab key must reach.
  controls() {
    return [...document.querySelectorAll("a[href], button:not(:disabled), select, input, summary, [tabindex='0']")].filter((element) => element.checkVisibility()).map((element) => this.name(element));
  },

  // What has the focus, and whether that is to be seen.
  focused() {
    const element = document.activeElement;
    if (element === document.body || element === null) return [null, true];
    const style = getComputedStyle(element);
    return [this.name(element), style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1 || element.matches("input[type='checkbox']")];
  },

  faults() {
    return [...this.unnamed(), ...this.headings(), ...this.twins(), ...this.pale(), ...this.landmarks()];
  },

  unnamed() {
    const controls = document.querySelectorAll("a[href], button, select, input, textarea, summary, [role='region'], [role='img'], [role='group'], nav, table");
    return [...controls].filter((element) => element.checkVisibility()).filter((element) => {
      const labels = element.labels ? [...element.labels].map((label) => label.textContent).join("") : "";
      const by = (element.getAttribute("aria-labelledby") ?? "").split(" ").filter(Boolean).map((id) => document.getElementById(id)?.textContent ?? "").join("");
      const own = element.matches("table") ? element.caption?.textContent ?? element.closest("[aria-label]")?.ariaLabel ?? "" : element.matches("[role], nav") ? "" : element.textContent;
      return (labels + by + (element.getAttribute("aria-label") ?? "") + own).trim() === "";
    }).map((element) => `without a name: ${element.outerHTML.slice(0, 120)}`);
  },

  headings() {
    const levels = [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")].map((heading) => Number(heading.tagName[1]));
    const faults = levels.filter((level) => level === 1).length === 1 && levels[0] === 1 ? [] : [`headings begin with ${levels.slice(0, 3)}`];
    for (let at = 1; at < levels.length; at += 1) if (levels[at] > levels[at - 1] + 1) faults.push(`a heading of level ${levels[at]} follows one of ${levels[at - 1]}`);
    return faults;
  },

  twins() {
    const ids = [...document.querySelectorAll("[id]")].map(({ id }) => id);
    return ids.filter((id, at) => ids.indexOf(id) !== at).map((id) => `two elements are called ${id}`);
  },

  landmarks() {
    return ["header", "nav", "main"].filter((tag) => document.querySelectorAll(tag).length !== 1).map((tag) => `there is not one ${tag}`);
  },

  // Text of less contrast than WCAG's 4.5 to what lies behind it (3 of large text).
  pale() {
    const seen = new Map();
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node !== null; node = walker.nextNode()) {
      const element = node.parentElement;
      if (node.textContent.trim() === "" || element.closest("script, style, noscript, option, .unseen, :disabled, .skip") || !element.checkVisibility()) continue;
      const style = getComputedStyle(element);
      const inSvg = element.closest("svg") !== null;
      const text = this.rgb(inSvg ? style.fill : style.color);
      const behind = this.behind(element);
      if (text === null) continue;
      const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && Number(style.fontWeight) >= 700);
      const contrast = this.contrast(text, behind);
      if (contrast < (large ? 3 : 4.5)) seen.set(`${text} on ${behind}`, `contrast ${contrast.toFixed(2)} of ${text} on ${behind}: ${node.textContent.trim().slice(0, 40)}`);
    }
    return [...seen.values()];
  },

  rgb(colour) {
    const parts = /rgba?\(([^)]*)\)/.exec(colour)?.[1].split(",").map(Number);
    return parts === undefined || parts[3] === 0 ? null : parts.slice(0, 3);
  },

  behind(element) {
    for (let at = element; at !== null; at = at.parentElement) {
      const background = this.rgb(getComputedStyle(at).backgroundColor);
      if (background !== null) return background;
    }
    return [255, 255, 255];
  },

  contrast(one, other) {
    const light = (rgb) => {
      const [r, g, b] = rgb.map((part) => (part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const [high, low] = [light(one), light(other)].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
  },
};
