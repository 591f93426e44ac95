// One collection: its documents with filter, order and pages; its schema; its indexes.

import { docs } from "./api.js";
import { FieldRows, typeName } from "./collections.js";
import { busy, confirm, dialog, dialogHead, empty, field, fill, h, icon, rowKeys, select, toast } from "./dom.js";
import { Conditions } from "./conditions.js";
import { editDocument } from "./document.js";
import { cell, columnsOf, number, toJson } from "./format.js";

export function showCollection({ api, main, go }, name, tab = "documents") {
  const count = h("span.badge", "…");
  const body = h("div");
  const tabs = [["documents", "Documents"], ["schema", "Schema"], ["indexes", "Indexes"]];
  main.append(
    h("nav.crumbs", { "aria-label": "Path" }, h("a", { href: "#/collections" }, "Collections"), "/", h("span", name)),
    h("div.head", h("div.titles", h("h1", name)), h("div.actions", count,
      api.may("admin", name) ? h("button.button.danger", { type: "button", onclick: drop }, icon("trash"), "Drop") : null)),
    h("nav.tabs", { "aria-label": `Parts of ${name}` }, tabs.map(([key, text]) =>
      h("a", { href: `#/collections/${encodeURIComponent(name)}/${key}`, "aria-current": key === tab ? "page" : undefined }, text))),
    body);

  async function drop() {
    if (!(await confirm(`Drop ${name}?`, "All its documents go with it. This cannot be undone.", "Drop it"))) return;
    await busy(null, async () => {
      await api.delete(`/collections/${encodeURIComponent(name)}`);
      toast(`Dropped ${name}.`);
      go("collections");
    });
  }

  async function load() {
    const definition = await api.get(`/collections/${encodeURIComponent(name)}`);
    count.textContent = `${number(definition.count)} ${definition.count === 1 ? "document" : "documents"}`;
    const show = { documents: showDocuments, schema: showSchema, indexes: showIndexes }[tab] ?? showDocuments;
    fill(body);
    show({ api, body, definition, reload: load, setCount: (n) => { count.textContent = `${number(n)} ${n === 1 ? "document" : "documents"}`; } });
  }
  load().catch((error) => fill(body, empty("collections", "It cannot be shown", error.message)));
}

// ------------------------------------------------------------------ documents
function showDocuments({ api, body, definition, setCount }) {
  const state = { order: "", offset: 0, limit: 25, total: 0, documents: [], asked: 0 };
  const conditions = new Conditions(definition.fields, () => { state.offset = 0; load(); });
  const table = h("div", { "aria-live": "off" });
  const range = h("span", { role: "status" });
  const previous = h("button.button.small", { type: "button", onclick: () => page(-1) }, icon("back"), "Previous");
  const next = h("button.button.small", { type: "button", onclick: () => page(1) }, "Next", icon("next"));
  const size = select(["10", "25", "50", "100"], "25", { "aria-label": "Documents on a page", onchange: () => { state.limit = Number(size.value); state.offset = 0; load(); } });
  const failure = h("div");
  const may = api.may("write", definition.name);
  body.append(h("section.card", { "aria-label": "Documents" },
    h("header", h("div.actions", conditions.addButton, conditions.modeButton),
      h("div.actions", h("button.button.square", { type: "button", "aria-label": "Refresh", title: "Refresh", onclick: () => load() }, icon("refresh")),
        may ? h("button.button.primary", { type: "button", onclick: () => edit(null) }, icon("plus"), "New document") : null)),
    conditions.element, failure, table,
    h("div.pager", range, h("div.actions", h("label.small", "Per page "), size, previous, next))));

  function page(step) {
    state.offset = Math.max(0, state.offset + step * state.limit);
    load();
  }

  async function edit(document) {
    if (await editDocument(api, definition, document)) load();
  }

  function sort(column) {
    state.order = state.order === column ? `-${column}` : state.order === `-${column}` ? "" : column;
    state.offset = 0;
    load();
  }

  async function load() {
    const asked = (state.asked += 1); // answers may overtake one another: only the last counts
    fill(failure);
    const parameters = new URLSearchParams({ limit: state.limit, offset: state.offset, count: "true" });
    try {
      const where = conditions.value;
      if (where) parameters.set("where", toJson(where));
      if (state.order) parameters.set("order", state.order);
      const found = await api.get(`${docs(definition.name)}?${parameters}`);
      if (asked !== state.asked) return;
      if (!where) setCount(found.count);
      Object.assign(state, { documents: found.documents, total: found.count });
      draw();
    } catch (error) {
      if (asked === state.asked) fill(failure, h("div.body", h("div.alert", { role: "alert" }, error.message)));
    }
  }

  function draw() {
    const { documents, total, offset, order } = state;
    previous.disabled = offset === 0;
    next.disabled = offset + documents.length >= total;
    range.textContent = total ? `${number(offset + 1)}–${number(offset + documents.length)} of ${number(total)}` : "Nothing found";
    if (!documents.length) {
      fill(table, conditions.isEmpty
        ? empty("collections", "No documents yet", may ? "Insert one with “New document”." : "Nothing has been inserted so far.")
        : empty("filter", "Nothing matches", "No document fits these conditions."));
      return;
    }
    const columns = columnsOf(documents, definition.fields);
    const head = columns.map((column) => {
      const direction = order === column ? "ascending" : order === `-${column}` ? "descending" : undefined;
      return h("th", { scope: "col", "aria-sort": direction }, h("button", { type: "button", onclick: () => sort(column) }, column));
    });
    const rows = h("tbody", documents.map((document) => h("tr.row", { tabIndex: 0, "aria-label": `Document ${document.id}`, onclick: () => edit(document) },
      columns.map((column) => {
        const value = document[column];
        const missing = value === undefined || value === null;
        return h("td.value", { class: missing ? "null" : "", title: missing ? undefined : cell(value) }, cell(value));
      }))));
    rowKeys(rows);
    fill(table, h("div.scroll", h("table", h("thead", h("tr", head)), rows)));
  }
  load();
}

// ------------------------------------------------------------------ schema
function showSchema({ api, body, definition, reload }) {
  const may = api.may("admin", definition.name);
  const path = `/collections/${encodeURIComponent(definition.name)}`;
  const rows = Object.entries(definition.fields).flatMap(([name, each]) => [
    h("tr", h("td", h("code", name)), h("td", h("span.type", typeName(each.type))), h("td", marks(each)),
      may ? h("td.number", h("button.button.quiet.small.danger", { type: "button", "aria-label": `Drop the field ${name}`, onclick: () => dropField(name) }, icon("trash"))) : null),
    ...(typeof each.type === "object" ? Object.entries(each.type).map(([inner, part]) =>
      h("tr", h("td", h("code.soft", `${name}.${inner}`)), h("td", h("span.type", typeName(part.type))), h("td", marks(part)), may ? h("td") : null)) : []),
  ]);
  body.append(h("section.card", { "aria-label": "Schema" },
    h("header", h("p.soft", definition.open ? "Open: fields that are not declared are taken, too." : "Fields that are not declared are refused."),
      may ? h("button.button.primary", { type: "button", onclick: add }, icon("plus"), "Add fields") : null),
    rows.length ? h("div.scroll", h("table", h("thead", h("tr", h("th", "Field"), h("th", "Type"), h("th", "Rules"), may ? h("th", h("span.visually-hidden", "Actions")) : null)), h("tbody", rows)))
      : empty("collections", "No declared fields", "Documents may have any fields.")));

  function marks(each) {
    return h("span.badges", each.nullable ? null : h("span.badge", "required"), each.unique ? h("span.badge.info", "unique") : null, each.indexed ? h("span.badge.good", "indexed") : null);
  }

  async function dropField(field_) {
    if (!(await confirm(`Drop the field ${field_}?`, "Its values are removed from all documents. This cannot be undone.", "Drop it"))) return;
    await busy(null, async () => { await api.patch(path, { drop: [field_] }); await reload(); });
  }

  function add() {
    return dialog((close) => {
      const fields = new FieldRows();
      fields.add();
      const failure = h("div");
      const submit = h("button.button.primary", { type: "submit" }, "Add");
      return h("form", {
        onsubmit: (event) => {
          event.preventDefault();
          busy(submit, async () => { await api.patch(path, { add: fields.value }); close(); await reload(); }, failure);
        },
      }, dialogHead("Add fields", close, definition.name),
      h("div.body", fields.element, h("button.button.small", { type: "button", onclick: () => fields.add(true) }, icon("plus"), "Another one"), failure),
      h("footer", h("button.button", { type: "button", onclick: () => close() }, "Cancel"), submit));
    }, { label: "Add fields" });
  }
}

// ------------------------------------------------------------------ indexes
function showIndexes({ api, body, definition, reload }) {
  const may = api.may("admin", definition.name);
  const path = `/collections/${encodeURIComponent(definition.name)}/indexes`;
  const section = h("section.card", { "aria-label": "Indexes" }, h("div.empty", "Loading …"));
  body.append(section);

  async function remove(fields) {
    if (!(await confirm(`Remove the index on ${fields.join(", ")}?`, "Queries give the same answers without it, only slower.", "Remove it"))) return;
    await busy(null, async () => { await api.delete(`${path}/${fields.map(encodeURIComponent).join(",")}`); await load(); });
  }

  function make() {
    return dialog((close) => {
      const fields = h("input", { name: "fields", required: true, placeholder: "role, age", autofocus: true, spellcheck: false });
      const failure = h("div");
      const submit = h("button.button.primary", { type: "submit" }, "Make it");
      return h("form", {
        onsubmit: (event) => {
          event.preventDefault();
          const names = fields.value.split(",").map((each) => each.trim()).filter(Boolean);
          busy(submit, async () => { await api.post(path, { fields: names }); close(); await load(); }, failure);
        },
      }, dialogHead("New index", close, definition.name),
      h("div.body", field("Fields", fields, "One, or several in their order, separated by commas; dots reach into objects."), failure),
      h("footer", h("button.button", { type: "button", onclick: () => close() }, "Cancel"), submit));
    }, { label: "New index" });
  }

  async function load() {
    const { indexes } = await api.get(path);
    fill(section, h("header", h("p.soft", "Answers are the same with an index and without."),
      may ? h("button.button.primary", { type: "button", onclick: make }, icon("plus"), "New index") : null),
    indexes.length ? h("div.scroll", h("table", h("thead", h("tr", h("th", "Fields"), h("th", "Kind"), h("th.number", "Entries"), h("th", "State"), h("th", h("span.visually-hidden", "Actions")))),
      h("tbody", indexes.map((index) => h("tr", h("td", h("code", index.fields.join(", "))), h("td", index.kind),
        h("td.number", index.entries === null ? "–" : number(index.entries)),
        h("td", index.is_ready ? h("span.badge.good", "ready") : h("span.badge.warn", "being filled")),
        h("td.number", may && !index.is_declared ? h("button.button.quiet.small.danger", { type: "button", "aria-label": `Remove the index on ${index.fields.join(", ")}`, onclick: () => remove(index.fields) }, icon("trash")) : h("span.soft.small", index.is_declared ? "declared" : "")))))))
      : empty("filter", "No indexes", "Declare fields indexed or unique, or make an index here."));
  }
  load().catch((error) => fill(section, h("div.empty", h("div.alert", { role: "alert" }, error.message))));
  void reload;
}
