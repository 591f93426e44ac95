// The AQL editor: run, explain, results as a table or JSON, and the texts that were run before.

import { Editor } from "./editor.js";
import { empty, fill, h, icon, segments } from "./dom.js";
import { cell, number, parseJson, toJson } from "./format.js";

const KEPT = "aurora.queries";
const MOST = 30;
const FIRST = "query {\n  \n}\n";

/** The collections and their fields, for completion. */
export async function schemaOf(api) {
  const { collections } = await api.get("/collections");
  return Object.fromEntries(collections.map((each) => [each.name, each.fields]));
}

const past = () => { try { return JSON.parse(sessionStorage.getItem(KEPT) ?? "[]"); } catch { return []; } };

export function showQuery({ api, main }) {
  let schema = {};
  let shape = "table";
  let shown = null;
  let running = null;
  schemaOf(api).then((found) => {
    schema = found;
    const [first] = Object.keys(found);
    if (first && editor.value === FIRST) editor.value = `query {\n  ${first}(limit: 20)\n}\n`;
  }).catch(() => {});
  const editor = new Editor({ label: "AQL text", value: past()[0]?.text ?? FIRST, schema: () => schema, onrun: () => run(false) });
  const variables = new Editor({ label: "Variables as JSON", value: past()[0]?.variables ?? "", short: true, onrun: () => run(false) });
  const runButton = h("button.button.primary", { type: "button", onclick: () => run(false) }, icon("play"), "Run");
  const explainButton = h("button.button", { type: "button", onclick: () => run(true) }, "Explain");
  const status = h("span.soft.small", { role: "status" });
  const results = h("div.stack", empty("query", "No result yet", "Write a text and run it. Ctrl+Space completes."));
  const older = h("ul");
  const shapes = segments("Show results as", [["table", "Table"], ["json", "JSON"]], shape, (chosen) => { shape = chosen; if (shown) draw(shown); });

  main.append(h("div.head", h("div.titles", h("h1", "Query"), h("p", "Any AQL: queries, mutations, schema blocks, migrations")),
    h("div.actions", status, explainButton, runButton)),
  h("div.stack",
    h("div.split",
      h("section.card", { "aria-label": "Text" }, h("header", h("h2", "AQL"), h("span.soft.small", h("kbd", "Ctrl"), " ", h("kbd", "Enter"), " runs, ", h("kbd", "Ctrl"), " ", h("kbd", "Space"), " completes")), h("div.body", editor.element)),
      h("div.stack",
        h("section.card", { "aria-label": "Variables" }, h("header", h("h2", "Variables"), h("span.soft.small", "JSON")), h("div.body", variables.element)),
        h("section.card", { "aria-label": "Earlier texts" }, h("header", h("h2", "Earlier")), h("div.scroll", older)))),
    h("section.card", { "aria-label": "Results" }, h("header", h("h2", "Results"), shapes), h("div.body", results))));
  drawOlder();
  editor.area.focus();

  async function run(explain) {
    running?.abort();
    running = new AbortController();
    const began = performance.now();
    status.textContent = "Running …";
    let given;
    try {
      given = variables.value.trim() ? parseJson(variables.value) : undefined;
      const found = await api.post("/aql", { query: editor.value, ...(given ? { variables: given } : {}), explain }, { signal: running.signal });
      status.textContent = `${(performance.now() - began).toFixed(0)} ms`;
      keep(editor.value, variables.value);
      shown = found;
      draw(found);
      // On a narrow screen they are below all the rest.
      results.scrollIntoView({ block: "nearest", behavior: "instant" });
      if (found.results?.some(({ type }) => type !== "query")) schema = await schemaOf(api);
    } catch (error) {
      if (error.name === "AbortError") return;
      status.textContent = "Refused";
      shown = null;
      fill(results, h("div.alert.mono", { role: "alert" }, error.message));
      results.scrollIntoView({ block: "nearest", behavior: "instant" });
      const { line, column } = error.context ?? {};
      if (line) place(line, column ?? 1);
    }
  }

  /** Puts the cursor where an error is. */
  function place(line, column) {
    const lines = editor.value.split("\n");
    const at = lines.slice(0, line - 1).reduce((sum, each) => sum + each.length + 1, 0) + column - 1;
    editor.area.focus({ preventScroll: true });
    editor.area.setSelectionRange(at, at);
  }

  function draw(found) {
    if (found.plans) fill(results, found.plans.map(planOut));
    else fill(results, found.results.map((result) => resultOut(result, found.data[result.name], shape)));
  }

  function keep(text, given) {
    const all = [{ text, variables: given }, ...past().filter((each) => each.text !== text)].slice(0, MOST);
    sessionStorage.setItem(KEPT, JSON.stringify(all));
    drawOlder();
  }

  function drawOlder() {
    const all = past();
    fill(older, all.length ? all.slice(0, 8).map((each) => h("li", h("button.button.quiet.small", {
      type: "button", title: each.text,
      onclick: () => { editor.value = each.text; variables.value = each.variables; editor.area.focus(); },
    }, h("code", shortened(each.text))))) : h("li.empty", "Texts that were run appear here."));
  }
  return () => running?.abort();
}

function shortened(text) {
  const line = text.replace(/\s+/g, " ");
  return line.length > 44 ? `${line.slice(0, 43)}…` : line;
}

function resultOut(result, value, shape) {
  const facts = [result.type];
  if (result.affected_count !== undefined) facts.push(`${number(result.affected_count)} affected`);
  if (result.status) facts.push(result.status);
  if (Array.isArray(value)) facts.push(`${number(value.length)} ${value.length === 1 ? "row" : "rows"}`);
  const head = h("div.actions", h("h3", result.name), facts.map((each) => h("span.badge", each)));
  const rows = Array.isArray(value) && value.every((each) => each && typeof each === "object") ? value : null;
  const body = shape === "table" && rows?.length ? tableOf(rows) : h("pre", toJson(value, 2));
  return h("div.stack", head, result.explain ? planOut(result.explain) : null, body);
}

function tableOf(rows) {
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  return h("div.scroll", { tabIndex: 0, role: "region", "aria-label": "Rows" }, h("table", h("thead", h("tr", columns.map((each) => h("th", { scope: "col" }, each)))),
    h("tbody", rows.slice(0, 500).map((row) => h("tr", columns.map((each) => h("td.value", { class: row[each] === null ? "null" : "", title: cell(row[each]) }, cell(row[each]))))))),
  rows.length > 500 ? h("p.soft.small", `The first 500 of ${number(rows.length)} rows; JSON shows all.`) : null);
}

const WAYS = { primary_key: "by id", unique_lookup: "unique look-up", index: "index", index_order: "index, in order", column_scan: "column scan", document_scan: "document scan" };

function planOut(plan) {
  const fast = !["column_scan", "document_scan"].includes(plan.access);
  const facts = [["Collection", plan.collection], ["Field", plan.index_field], ["Tested of each", plan.filter === "true" ? null : plan.filter],
    ["Order", plan.order || null], ["Limit", plan.limit], ["Where it ran", plan.where === "caller" ? "in the asking process" : "in an executor"],
    ["Rows expected", number(plan.estimated_rows)], ["Rows found", plan.actual_rows === null ? null : number(plan.actual_rows)], ["Rows read", number(plan.rows_read)]];
  return h("section.stack", { "aria-label": `Plan for ${plan.collection}` },
    h("div.actions", h("h3", "Plan"), h(fast ? "span.badge.good" : "span.badge.warn", WAYS[plan.access] ?? plan.access)),
    h("div.split",
      h("ol.plan", plan.steps.map((step, i) => h("li", h("span.n", i + 1), h("span", step.name), h("span.soft.nowrap", `${number(step.rows)} rows`), h("span.nowrap", `${step.milliseconds.toFixed(2)} ms`)))),
      h("dl.facts", facts.filter(([, value]) => value !== null && value !== undefined).flatMap(([name, value]) => [h("dt", name), h("dd", String(value))]))));
}
