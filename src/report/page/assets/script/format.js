// Numbers as words. Unknown is an en dash, here and everywhere.

const UNKNOWN = "\u2013";
const MINUS = "\u2212";

function isNumber(value) {
  return typeof value === "number" && Number.isFinite(value);
}

function withMinus(text) {
  return text.replace("-", MINUS);
}

/** Four significant digits, thousands apart; powers of ten where it is very large or small. */
function number(value, digits = 4) {
  if (!isNumber(value)) return UNKNOWN;
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e7 || size < 1e-4)) return powerOfTen(value, Math.min(digits, 3) - 1);
  if (Number.isInteger(value) || size >= 10 ** (digits - 1)) return withMinus(Math.round(value).toLocaleString("en"));
  const decimals = Math.max(0, digits - 1 - Math.floor(Math.log10(size)));
  return withMinus(trimmed(value.toFixed(Math.min(decimals, 6))));
}

const RAISED = { "-": "\u207b", 0: "\u2070", 1: "\u00b9", 2: "\u00b2", 3: "\u00b3", 4: "\u2074", 5: "\u2075", 6: "\u2076", 7: "\u2077", 8: "\u2078", 9: "\u2079" };

// 4.76×10⁻⁵
function powerOfTen(value, decimals) {
  const [factor, power] = value.toExponential(decimals).replace("e+", "e").split("e");
  const ten = `10${[...power].map((digit) => RAISED[digit]).join("")}`;
  return trimmed(factor) === "1" ? ten : `${withMinus(trimmed(factor))}\u00d7${ten}`;
}

function trimmed(text) {
  return text.includes(".") ? text.replace(/0+$/, "").replace(/\.$/, "") : text;
}

/** With so many decimals: numbers in a column then stand under one another. */
function fixed(value, decimals) {
  return isNumber(value) ? withMinus(value.toLocaleString("en", { minimumFractionDigits: decimals, maximumFractionDigits: decimals })) : UNKNOWN;
}

/** How many decimals show two significant digits of `size`; from 0 to 6. */
function decimalsFor(size) {
  if (!isNumber(size) || size <= 0) return 4;
  return Math.min(6, Math.max(0, 1 - Math.floor(Math.log10(size))));
}

const BYTES = ["bytes", "KiB", "MiB", "GiB", "TiB"];

function bytes(value) {
  if (!isNumber(value)) return UNKNOWN;
  let power = 0;
  while (Math.abs(value) >= 1024 && power < BYTES.length - 1) {
    value /= 1024;
    power += 1;
  }
  return `${number(value, 3)} ${BYTES[power]}`;
}

function seconds(value) {
  if (!isNumber(value)) return UNKNOWN;
  const size = Math.abs(value);
  if (size === 0) return "0 s";
  if (size < 1e-3) return `${number(value * 1e6, 3)} µs`;
  if (size < 1) return `${number(value * 1e3, 3)} ms`;
  if (size < 120) return `${number(value, 3)} s`;
  const minutes = Math.round(size / 60);
  if (minutes < 120) return `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** A number in its column's unit. */
function quantity(value, unit) {
  if (unit === "s") return seconds(value);
  if (unit === "bytes") return bytes(value);
  if (unit === "bytes/s") return isNumber(value) ? `${bytes(value)}/s` : UNKNOWN;
  return number(value);
}

/** Mean and half of its interval, to two digits of the latter. */
function plusMinus(mean, low, high, unit) {
  if (!isNumber(mean)) return UNKNOWN;
  if (!isNumber(low) || !isNumber(high)) return quantity(mean, unit);
  const half = (high - low) / 2;
  if (unit === "s" || unit === "bytes") return half === 0 ? quantity(mean, unit) : `${quantity(mean, unit)} ± ${quantity(half, unit)}`;
  if (half === 0) return number(mean);
  if (Math.abs(mean) >= 1e7 || half < 1e-5) return `${number(mean)} ± ${number(half, 2)}`;
  const decimals = decimalsFor(half);
  return `${fixed(mean, decimals)} ± ${fixed(half, decimals)}`;
}

/** A p-value, never as 0. */
function probability(value) {
  if (!isNumber(value)) return UNKNOWN;
  if (value < 0.0001) return "< 0.0001";
  return trimmed(value.toFixed(value < 0.001 ? 4 : 3));
}

function percent(share) {
  return isNumber(share) ? `${number(share * 100, 3)} %` : UNKNOWN;
}

/** "3 seeds", "1 seed". */
function count(n, noun) {
  return `${number(n)} ${noun}${n === 1 ? "" : "s"}`;
}

/** A cell of any kind of column. */
function cellText(value, column) {
  if (value === null || value === undefined || value === "") return UNKNOWN;
  if (column.kind === "boolean") return value === true || value === "yes" ? "yes" : "no";
  if (/(^|_)p(_value)?(_holm|_permutation)?$/.test(column.key) && isNumber(value)) return probability(value);
  if (column.kind === "integer" && column.unit !== "bytes") return isNumber(value) ? withMinus(column.key === "seed" ? String(value) : value.toLocaleString("en")) : String(value);
  if (column.kind === "number" || column.kind === "integer") return isNumber(value) ? quantity(value, column.unit) : String(value);
  return String(value);
}

/** A cell of a CSV: quoted where it must be, and defused where a spreadsheet would compute it. */
function csvCell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "boolean") return value ? "yes" : "no";
  let text = String(value);
  if (typeof value !== "number" && /^[=+\-@\t\r]/.test(text)) text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
