// Values as people read them, and JSON whose integers have 64 bits.

const count = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export const number = (value) => count.format(value);
export const compact = (value) => (Math.abs(value) < 10_000 ? count.format(Math.round(value * 10) / 10) : short.format(value));

export function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) { value /= 1024; unit += 1; }
  return `${value >= 100 || unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

export const percent = (value) => `${value < 10 ? value.toFixed(1) : Math.round(value)} %`;

export function ago(text) {
  const seconds = (Date.now() - Date.parse(text)) / 1000;
  if (Number.isNaN(seconds)) return "";
  const past = Math.abs(seconds);
  const [size, unit] = past < 60 ? [1, "s"] : past < 3600 ? [60, "min"] : past < 86_400 ? [3600, "h"] : [86_400, "d"];
  const amount = `${Math.round(past / size)} ${unit}`;
  return seconds < 0 ? `in ${amount}` : `${amount} ago`;
}

export const clock = (at = new Date()) => at.toLocaleTimeString("en-GB");

/** Parses JSON; integers that a double cannot hold become BigInt. */
export function parseJson(text) {
  return JSON.parse(text, (_key, value, context) => {
    const source = context?.source;
    if (typeof value === "number" && source && !Number.isSafeInteger(value) && /^-?\d+$/.test(source)) return BigInt(source);
    return value;
  });
}

export function toJson(value, indent) {
  return JSON.stringify(value, (_key, each) => {
    if (typeof each !== "bigint") return each;
    return JSON.rawJSON ? JSON.rawJSON(String(each)) : Number(each);
  }, indent);
}

/** A value in a cell of a table. */
export function cell(value) {
  if (value === undefined || value === null) return "–";
  if (typeof value === "string") return value;
  return toJson(value);
}

/** The names of the columns of documents: declared fields first, then what else there is. */
export function columnsOf(documents, fields = {}) {
  const names = new Set(["id", ...Object.keys(fields)]);
  for (const document of documents) for (const name of Object.keys(document)) names.add(name);
  return [...names];
}
