// Which configurations a chart shows, and the legend that switches them on and off.

/** At most so many are shown before the reader asks for more. */
const SHOWN_AT_FIRST = 6;
const FEW = 8;

/** `members`: `{ at, name }`, `at` naming the look. `foremost`: of many, those to begin with. */
function selectionOf(members, foremost = []) {
  const wanted = members.filter(({ at }) => foremost.includes(at));
  const some = wanted.length > 1 ? wanted : members.slice(0, SHOWN_AT_FIRST);
  const first = members.length <= FEW ? members : some;
  // The legend scrolls where it is long: what is drawn comes first.
  const ordered = [...first, ...members.filter((member) => !first.includes(member))];
  return { members: ordered, first, shown: new Set(first.map((member) => member.at)), listeners: [] };
}

function showOnly(selection, members) {
  selection.shown = new Set(members.map((member) => member.at));
  selection.listeners.forEach((listen) => listen());
}

function switchOne(selection, at) {
  if (!selection.shown.delete(at)) selection.shown.add(at);
  selection.listeners.forEach((listen) => listen());
}

/** The legend. `noun`: what its members are, in the plural. */
function legend(selection, noun = "configurations") {
  const buttons = selection.members.map((member) => {
    const button = h("button", { type: "button", class: "key", title: member.name, onclick: () => switchOne(selection, member.at) }, swatch(member.at), h("bdi", {}, member.name));
    return { button, member };
  });
  const tell = h("span", { class: "note" });
  const refresh = () => {
    for (const { button, member } of buttons) button.setAttribute("aria-pressed", String(selection.shown.has(member.at)));
    tell.textContent = `${selection.shown.size} of ${selection.members.length} ${noun} shown`;
  };
  selection.listeners.push(refresh);
  refresh();
  const few = selection.members.length <= FEW;
  return h("div", { class: "legend" },
    h("div", { class: "keys", role: "group", "aria-label": `${noun} shown` }, buttons.map(({ button }) => button)),
    selection.members.length > 2 ? h("p", { class: "legend-choices" },
      few ? null : h("button", { type: "button", onclick: () => showOnly(selection, selection.first) }, "As at first"),
      h("button", { type: "button", onclick: () => showOnly(selection, selection.members) }, "All"),
      h("button", { type: "button", onclick: () => showOnly(selection, []) }, "None"), tell) : null);
}
