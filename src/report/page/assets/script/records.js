// Single runs: those that failed and why, all of them, and where everything came from.

const FAILURES_AT_FIRST = 12;

function failuresSection(report) {
  const { failures } = report;
  if (failures.length === 0) return null;
  const groups = failuresAlike(failures);
  const list = h("ul", { class: "failures" }, groups.slice(0, FAILURES_AT_FIRST).map((group) => failureEntry(report, group)));
  const more = groups.length > FAILURES_AT_FIRST ? h("button", { type: "button", onclick: () => {
    list.append(...groups.slice(FAILURES_AT_FIRST).map((group) => failureEntry(report, group)));
    more.remove();
  } }, `Show all ${number(groups.length)}`) : null;
  return section("failures", "Runs that did not finish", list, more,
    report.failures_left_out > 0 ? h("p", { class: "note" }, `Logs of the first ${number(failures.length)}; ${number(report.failures_left_out)} more are in the table of runs.`) : null);
}

// Seeds of one configuration that ended for one reason are one entry.
function failuresAlike(failures) {
  const groups = new Map();
  for (const failure of failures) {
    const key = JSON.stringify([failure.configuration, failure.status, failure.reason]);
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(failure);
  }
  return [...groups.values()];
}

function failureEntry(report, group) {
  const [{ configuration, status, reason }] = group;
  const seeds = `, seed${group.length === 1 ? "" : "s"} ${group.map(({ seed }) => seed ?? UNKNOWN).join(", ")}`;
  const head = [h("span", { class: `state ${status}` }, status), " ", bdi(report.labels[configuration] ?? ""), seeds,
    h("span", { class: "reason", dir: "auto" }, breakable(reason || "no reason given"))];
  if (group.every(({ log }) => !log)) return h("li", { class: "failure" }, head, h("p", { class: "note" }, runCodes(group)));
  return h("li", {}, h("details", { class: "failure" }, h("summary", {}, head), group.map((failure) => failureLog(failure))));
}

function runCodes(group) {
  return group.map(({ run }, at) => [at > 0 ? ", " : "", h("code", {}, run)]);
}

function failureLog({ run, log }) {
  if (!log) return h("p", { class: "note" }, "Run ", h("code", {}, run), " wrote no error.");
  return [h("p", { class: "note" }, "Run ", h("code", {}, run), ", the last lines of its standard error:"),
    h("pre", { class: "log", tabindex: 0, dir: "auto", role: "region", "aria-label": `Log of ${run}` }, log)];
}

function runsSection(report) {
  const table = report.runs;
  if (!table || table.rows.length === 0) return null;
  const axes = report.axes.map(({ key }) => key);
  const filled = filledKeys(table);
  const metrics = [report.metric.name, "val_loss", "train_loss", "epochs_to_target", "wall_s"].filter((key, at, all) => filled.has(key) && all.indexOf(key) === at);
  const byAxes = axes.length > 0 && axes.length <= MOST_AXES;
  const columns = namedColumns(report, table).map((column) => (column.key === "status" ? { ...column, show: (row) => h("span", { class: `state ${row[column.at]}` }, row[column.at] ?? UNKNOWN) } : column));
  return section("runs", "Runs", dataTable({ caption: "Runs", columns, rows: table.rows, header: "run_id", noun: "run",
    shown: ["run_id", ...(byAxes ? axes : ["configuration"]), "seed", "status", "reason", "epochs_done", ...metrics].filter((key) => filled.has(key)) }));
}

function provenanceSection(report) {
  const about = report.provenance;
  if (!about) return null;
  const entries = [
    ["sweep", report.sweep.name],
    ["written", about.written], ["gridlane", about.gridlane ?? report.sweep.version], ["numerics of the engine", about.engine_numerics],
    ["runs", isNumber(about.run_ids) ? number(about.run_ids) : null], ["seeds", about.seeds?.join(", ")],
    ["changes on the command line", (about.overrides?.length > 0 ? about.overrides : report.sweep.changes ?? []).map((change) => h("code", {}, change))],
    ["data", about.data?.map(({ dataset, fingerprint }) => h("div", {}, bdi(dataset), " ", h("code", {}, breakable(fingerprint))))],
    ["machines", about.hosts?.map((host) => h("div", {}, bdi(host)))],
  ].filter(([, value]) => value !== null && value !== undefined && value !== "" && value.length !== 0);
  return section("provenance", "Where this comes from",
    h("dl", { class: "facts" }, entries.map(([word, value]) => [h("dt", {}, word), h("dd", {}, value)])),
    about.sweep_file ? h("details", {}, h("summary", {}, "The sweep file"), h("pre", { class: "log", tabindex: 0, role: "region", "aria-label": "The sweep file" }, about.sweep_file)) : null);
}
