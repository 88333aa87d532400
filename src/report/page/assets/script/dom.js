// Elements from values. All text goes through text nodes: nothing of the document is ever read as HTML.

const SVG = "http://www.w3.org/2000/svg";

/** An element: `h("p", { class: "note", onclick: f }, "text", child, null)`. */
function h(tag, properties = {}, ...children) {
  return furnish(document.createElement(tag), properties, children);
}

/** The same for SVG. */
function s(tag, properties = {}, ...children) {
  return furnish(document.createElementNS(SVG, tag), properties, children);
}

function furnish(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** A name of the sweep's: of any script, either direction, breakable where it is long. */
function bdi(text) {
  return h("bdi", {}, breakable(text));
}

// A chance to break after the characters that join keys and values, where no space is.
function breakable(text) {
  return String(text).split(/(?<=[=_,/])/u).flatMap((part, at) => (at === 0 ? [part] : [h("wbr"), part]));
}

let lastId = 0;

/** An id that no other element has. */
function freshId(stem) {
  lastId += 1;
  return `${stem}-${lastId}`;
}

/** A labelled choice of one: `options` are `[value, words]`. Null where there is nothing to choose. */
function chooser(label, options, chosen, onchange) {
  if (options.length < 2) return null;
  const id = freshId("choose");
  const select = h("select", { id, onchange: () => onchange(select.value) },
    options.map(([value, words]) => h("option", { value, selected: value === chosen }, words)));
  return h("span", { class: "control" }, h("label", { for: id }, label), select);
}

/** A labelled check box. */
function toggle(label, checked, onchange) {
  const box = h("input", { type: "checkbox", onchange: () => onchange(box.checked) });
  box.checked = checked;
  return h("label", { class: "control check" }, box, label);
}

/** A section of the page with its heading, which also enters the contents. */
function section(id, title, ...children) {
  return h("section", { id, "aria-labelledby": `${id}-title` }, h("h2", { id: `${id}-title` }, title), children);
}

/** Calls `sooner` when the browser has nothing better to do, or soon. */
function whenIdle(sooner) {
  (globalThis.requestIdleCallback ?? ((call) => setTimeout(call, 30)))(sooner);
}
