// A table that sorts, filters, chooses its columns, turns pages and can be copied.

const PAGE_SIZES = [50, 200, 1000];

/**
 * `columns`: `{ key, label, unit, kind, at, show(row, index), order(row), csv: [[key, at]…] }`, of which only `key`, `label`,
 * `kind` and `at` (its cell in a row) are needed. `shown`: keys of those shown at first; `header`: key of the one that heads
 * its row. `noun`: what a row is.
 */
function dataTable({ caption, columns, rows, shown, header, noun, rowClass }) {
  const state = { columns, rows, caption, noun, header, rowClass, shown: new Set(shown), sort: null, descending: false, filter: "", page: 0, size: PAGE_SIZES[0], texts: null };
  const parts = {
    head: h("thead"),
    body: h("tbody"),
    said: h("span", { class: "note", role: "status" }),
    pages: h("div", { class: "pages" }),
  };
  const table = h("table", { class: "data" }, h("caption", { class: "unseen" }, caption), parts.head, parts.body);
  const refresh = () => {
    renderHead(state, parts, refresh);
    renderBody(state, parts, refresh);
  };
  refresh();
  return h("div", { class: "data-table" },
    h("div", { class: "controls" }, rows.length > 5 ? filterBox(state, refresh) : null, columnChooser(state, refresh), copyButton(state, parts), parts.said),
    scrollBox(caption, table), parts.pages);
}

function filterBox(state, refresh) {
  const id = freshId("filter");
  const input = h("input", { id, type: "search", autocomplete: "off", spellcheck: "false", oninput: () => {
    state.filter = input.value;
    state.page = 0;
    refresh();
  } });
  return h("span", { class: "control" }, h("label", { for: id }, "Filter"), input);
}

function columnChooser(state, refresh) {
  if (state.columns.length < 3) return null;
  const details = h("details", { class: "chooser" }, h("summary", {}, "Columns"));
  const fill = () => {
    if (details.querySelector("fieldset")) return;
    details.append(h("fieldset", {}, h("legend", { class: "unseen" }, "Columns shown"), state.columns.map((column) =>
      column.key === state.header ? null : toggle(column.label, state.shown.has(column.key), (on) => {
        if (on) state.shown.add(column.key);
        else state.shown.delete(column.key);
        refresh();
      }))));
  };
  details.addEventListener("toggle", () => details.open && fill());
  details.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !details.open) return;
    details.open = false;
    details.querySelector("summary").focus();
  });
  return details;
}

function copyButton(state, parts) {
  return h("button", { type: "button", onclick: async () => {
    const rows = chosenRows(state);
    const copied = await copyText(csvOf(shownColumns(state), rows));
    parts.said.textContent = copied ? `${count(rows.length, state.noun)} copied` : "the browser did not allow copying";
  } }, "Copy as CSV");
}

/** The rows with all that lies behind the columns shown. */
function csvOf(columns, rows) {
  const cells = columns.flatMap((column) => column.csv ?? [[column.key, column.at]]);
  const lines = [cells.map(([key]) => csvCell(key)), ...rows.map((row) => cells.map(([, at]) => csvCell(row[at])))];
  return lines.map((line) => `${line.join(",")}\n`).join("");
}

// Pages opened from a folder are not everywhere allowed the clipboard's newer interface.
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = h("textarea", { class: "unseen", "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    return copied;
  }
}

function shownColumns(state) {
  return state.columns.filter((column) => state.shown.has(column.key) || column.key === state.header);
}

function chosenRows(state) {
  const terms = state.filter.toLocaleLowerCase().split(/\s+/).filter(Boolean);
  let rows = state.rows;
  if (terms.length > 0) {
    state.texts ??= new Map(state.rows.map((row) => [row, row.filter((cell) => cell !== null).join("\u0000").toLocaleLowerCase()]));
    rows = rows.filter((row) => terms.every((term) => state.texts.get(row).includes(term)));
  }
  const column = state.columns.find(({ key }) => key === state.sort);
  return column === undefined ? rows : sorted(rows, column.order ?? ((row) => row[column.at]), state.descending);
}

// What is unknown comes last, whichever way.
function sorted(rows, valueOf, descending) {
  const unknown = (value) => value === null || value === undefined || value === "";
  const order = (one, other) => (typeof one === "number" && typeof other === "number" ? one - other : COLLATOR.compare(String(one), String(other)));
  return rows.map((row) => [valueOf(row), row]).sort(([one], [other]) => {
    if (unknown(one) || unknown(other)) return unknown(one) - unknown(other);
    return descending ? order(other, one) : order(one, other);
  }).map(([, row]) => row);
}

const COLLATOR = new Intl.Collator("en", { numeric: true });

function renderHead(state, parts, refresh) {
  const focused = parts.head.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  const row = h("tr", {}, shownColumns(state).map((column) => {
    if (column.unsorted) return h("th", { scope: "col" }, h("span", { class: "unseen" }, column.label));
    const sort = state.sort === column.key ? (state.descending ? "descending" : "ascending") : "none";
    const turn = () => {
      if (state.sort !== column.key) Object.assign(state, { sort: column.key, descending: false });
      else if (!state.descending) state.descending = true;
      else Object.assign(state, { sort: null, descending: false });
      state.page = 0;
      refresh();
    };
    return h("th", { scope: "col", "aria-sort": sort, class: alignment(state, column) },
      h("button", { type: "button", class: "sort", "data-key": column.key, onclick: turn }, column.label,
        h("span", { class: "arrow", "aria-hidden": "true" }, { none: "", ascending: " ▲", descending: " ▼" }[sort])),
      // Headings that are repeated on the next sheet of paper have no buttons: what was one would be empty there.
      h("span", { class: "printed" }, column.label));
  }));
  parts.head.replaceChildren(row);
  if (focused !== null) [...parts.head.querySelectorAll("button")].find((button) => button.dataset.key === focused)?.focus();
}

function renderBody(state, parts, refresh) {
  const rows = chosenRows(state);
  const columns = shownColumns(state);
  const from = Math.min(state.page * state.size, Math.max(0, rows.length - 1));
  const page = rows.slice(from, from + state.size);
  parts.body.replaceChildren(...page.map((row) => h("tr", { class: state.rowClass?.(row) }, columns.map((column) => tableCell(state, column, row)))));
  parts.said.textContent = rows.length === state.rows.length ? count(rows.length, state.noun) : `${number(rows.length)} of ${count(state.rows.length, state.noun)}`;
  const focused = parts.pages.contains(document.activeElement) ? [...parts.pages.querySelectorAll("button, select")].indexOf(document.activeElement) : -1;
  parts.pages.replaceChildren(...pager(state, rows.length, from, page.length, refresh));
  if (focused >= 0) parts.pages.querySelectorAll("button, select")[focused]?.focus();
}

function tableCell(state, column, row) {
  const content = column.show ? column.show(row) : column.kind === "text" ? cell(bdi(cellText(row[column.at], column))) : cellText(row[column.at], column);
  if (column.key === state.header) return h("th", { scope: "row" }, content);
  return h("td", { class: column.prose ? "prose" : alignment(state, column) }, content);
}

// Figures stand to the right, except where they name what the row is about.
function alignment(state, column) {
  return column.kind === "text" || column.kind === "boolean" || column.names || column.key === state.header ? null : "figure";
}

/** What a cell of text holds: as wide as its text, up to where it wraps. */
function cell(...content) {
  return h("div", { class: "cell" }, content);
}

function pager(state, all, from, here, refresh) {
  if (state.rows.length <= PAGE_SIZES[0]) return [];
  const turn = (by) => () => {
    state.page += by;
    refresh();
  };
  const sizes = PAGE_SIZES.filter((size, at) => at === 0 || PAGE_SIZES[at - 1] < state.rows.length);
  return [
    h("button", { type: "button", disabled: from === 0, onclick: turn(-1) }, "Previous"),
    h("button", { type: "button", disabled: from + here >= all, onclick: turn(1) }, "Next"),
    h("span", { class: "note" }, here === 0 ? "no row" : `${number(from + 1)} to ${number(from + here)} of ${number(all)}`),
    chooser("Rows a page", sizes.map((size) => [String(size), number(size)]), String(state.size), (size) => {
      Object.assign(state, { size: Number(size), page: 0 });
      refresh();
    }),
  ].filter(Boolean);
}

/** The columns of a TABLE as this table wants them. Values of the varied keys are names, and stand as the sweep file has them. */
function plainColumns(report, table) {
  const axes = new Set(report.axes.map(({ key }) => key));
  return table.columns.map((column, at) => (axes.has(column.key)
    ? { ...column, at, names: true, show: (row) => cell(bdi(nameText(row[at]))) }
    : { ...column, at, label: withUnit(column), prose: column.key === "reason" }));
}

function nameText(value) {
  return value === null || value === "" ? UNKNOWN : String(value);
}

// Seconds and bytes are written with their cells; other units stand in the heading.
function withUnit({ label, unit }) {
  return !unit || ["s", "bytes", "bytes/s"].includes(unit) || label.includes(unit) ? label : `${label} (${unit})`;
}

/** Keys of the columns in which some row has a value. */
function filledKeys(table) {
  return new Set(table.columns.filter((_, at) => table.rows.some((row) => row[at] !== null && row[at] !== "")).map(({ key }) => key));
}
