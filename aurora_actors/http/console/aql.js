// What the editor knows of AQL: tokens to colour, and words to complete at a place in a text.

const TOKEN = /(?<comment>#[^\n]*)|(?<string>"""[\s\S]*?(?:"""|$)|"(?:[^"\\\n]|\\.)*"?)|(?<variable>\$\w*)|(?<directive>@\w*)|(?<number>-?\b\d[\d.eE+-]*\b)|(?<name>[A-Za-z_]\w*)|(?<mark>[^\s\w])/g;
const WORDS = new Set(["query", "mutation", "subscription", "schema", "migrate", "fragment", "on", "define", "alter", "drop", "collection", "add", "rename", "modify", "to", "if", "not", "exists", "data", "in", "set", "where", "true", "false", "null", "ASC", "DESC"]);
const START = ["query", "mutation", "subscription", "schema", "migrate", "fragment"];
const ARGUMENTS = ["where", "orderBy", "limit", "offset", "first", "after", "last", "before", "id", "distinct"];
const OPERATORS = ["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin", "between", "contains", "startsWith", "endsWith", "containsIgnoreCase", "matches", "containsAny", "containsAll", "isEmpty", "size", "isNull", "isNotNull"];
const MUTATIONS = ["insertInto", "insertMany", "update", "upsert", "deleteFrom", "enqueueJob", "enqueueJobs"];
const INSIDE = ["id", "aggregate", "groupBy", "edges", "pageInfo", "totalCount", "lookup"];
const AGGREGATES = ["count", "sum", "avg", "min", "max", "stddev", "distinct"];

export function tokens(text) {
  const found = [];
  for (const match of text.matchAll(TOKEN)) {
    let kind = Object.entries(match.groups).find(([, value]) => value !== undefined)[0];
    if (kind === "name" && WORDS.has(match[0])) kind = "word";
    else if (kind === "name" && /^\s*:/.test(text.slice(match.index + match[0].length))) kind = "argument";
    found.push({ kind, text: match[0], at: match.index });
  }
  return found;
}

/** What may stand at `at`: {from, items: [{text, note}]}. `schema` is name -> fields. */
export function complete(text, at, schema) {
  const word = /[A-Za-z_]*$/.exec(text.slice(0, at))[0];
  const from = at - word.length;
  const items = candidates(text.slice(0, from), schema)
    .filter(({ text: each }) => each.toLowerCase().startsWith(word.toLowerCase()) && each !== word);
  return { from, items: items.slice(0, 40) };
}

function candidates(before, schema) {
  const stack = [];
  let last = "";
  let mentioned;
  let operation = "query";
  for (const { kind, text } of tokens(before)) {
    if (kind === "comment") continue;
    if (!stack.length && kind === "word") operation = text;
    if (text.replaceAll('"', "") in schema) mentioned = text.replaceAll('"', "");
    if ("{([".includes(text)) stack.push({ open: text, owner: last });
    else if ("})]".includes(text)) last = stack.pop()?.owner ?? "";  // what follows arguments is their field's
    else if (kind === "name" || kind === "argument" || kind === "word") last = text;
    else if (kind === "string") last = text.replaceAll('"', "");
  }
  const said = (words, note) => words.map((each) => ({ text: each, note }));
  if (!stack.length) return said(START, "operation");
  const collection = stack.map(({ owner }) => owner).findLast((owner) => owner in schema) ?? mentioned;
  const fields = () => said(Object.keys(schema[collection] ?? {}), collection ?? "").concat(said(["id"], "id"));
  const top = stack.at(-1);
  if (stack.length === 1 && top.open === "{") {
    if (operation === "mutation") return said(MUTATIONS, "mutation");
    if (operation === "schema") return said(["define collection", "alter collection", "drop collection"], "statement");
    return said(Object.keys(schema), "collection").concat(said(["__schema"], "introspection"));
  }
  if (operation === "mutation" && top.open === "(") return said(["collection", "data", "where", "all"], "argument").concat(said(Object.keys(schema), "collection"));
  if (top.open === "(") return said(top.owner in schema ? ARGUMENTS : ["field", "fields", "interval", "having", "orderBy", "limit"], "argument");
  if (stack.some(({ open }) => open === "(")) {
    if (top.owner in (schema[collection] ?? {}) && top.open === "{") return said(OPERATORS, "operator");
    return [...fields(), ...said(["and", "or", "not"], "logic"), ...said(OPERATORS, "operator"), ...said(["ASC", "DESC"], "order")];
  }
  if (top.owner === "aggregate") return said(AGGREGATES, "aggregate");
  return [...fields(), ...said(INSIDE.slice(1), "selection"), ...said(["cursor", "node", "key", "count"], "page, group")];
}
