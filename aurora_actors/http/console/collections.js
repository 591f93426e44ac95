// The list of collections, and the dialog that makes one.

import { busy, dialog, dialogHead, empty, field, fill, h, icon, newId, select, toast } from "./dom.js";
import { number } from "./format.js";

export const TYPES = ["String", "Int", "Float", "Boolean", "DateTime", "Date", "Time", "Uuid", "Bytes", "Object", "Any",
  "[String]", "[Int]", "[Float]", "[Boolean]", "[DateTime]", "[Uuid]", "[Any]"];

export const typeName = (type) => (typeof type === "string" ? type : `{ ${Object.keys(type).join(" ")} }`);

export function showCollections({ api, main, go }) {
  const list = h("div.card", h("div.empty", "Loading …"));
  const make = api.grant.role === "admin"
    ? h("button.button.primary", { type: "button", onclick: () => create() }, icon("plus"), "New collection") : null;
  main.append(h("div.head", h("div.titles", h("h1", "Collections"), h("p", "Documents, their fields and indexes")), h("div.actions", make)), list);

  async function create() {
    const name = await newCollection(api);
    if (name) {
      toast(`Made the collection ${name}.`);
      go(`collections/${name}`);
    }
  }

  async function load() {
    const { collections } = await api.get("/collections");
    if (!collections.length) {
      fill(list, empty("collections", "No collections yet", "A collection holds documents; its fields can be declared or left open.",
        make ? h("button.button", { type: "button", onclick: create }, icon("plus"), "Make the first one") : null));
      return;
    }
    fill(list, h("div.scroll", h("table", h("thead", h("tr", h("th", "Name"), h("th.number", "Documents"), h("th.wide", "Fields"), h("th", "Kind"))),
      h("tbody", collections.map((each) => h("tr.row", { onclick: () => go(`collections/${each.name}`) },
        h("td", h("a", { href: `#/collections/${each.name}` }, each.name)),
        h("td.number", number(each.count)),
        h("td.value.soft.wide", Object.entries(each.fields).map(([field_, { type }]) => `${field_}: ${typeName(type)}`).join(", ") || "–"),
        h("td", each.open ? h("span.badge.info", "open") : h("span.badge", "declared"))))))));
  }
  load().catch((error) => fill(list, h("div.empty", h("div.alert", { role: "alert" }, error.message))));
}

/** The dialog for a new collection; resolves with its name. */
function newCollection(api) {
  return dialog((close) => {
    const name = h("input", { name: "name", required: true, pattern: "[A-Za-z_][A-Za-z0-9_]{0,63}", autocomplete: "off", spellcheck: false, autofocus: true, title: "A letter, then letters, digits and _" });
    const open = h("input", { type: "checkbox", name: "open" });
    const rows = new FieldRows();
    const failure = h("div", { "aria-live": "assertive" });
    rows.add();
    const submit = h("button.button.primary", { type: "submit" }, "Create");
    return h("form", {
      onsubmit: (event) => {
        event.preventDefault();
        busy(submit, async () => {
          await api.post("/collections", { name: name.value, open: open.checked, fields: rows.value });
          close(name.value);
        }, failure);
      },
    }, dialogHead("New collection", close),
    h("div.body", field("Name", name),
      h("fieldset", h("legend.label", "Fields"), rows.element,
        h("button.button.small", { type: "button", onclick: () => rows.add(true) }, icon("plus"), "Add field")),
      h("label.check", open, h("span", "Open: take other fields, too")), failure),
    h("footer", h("button.button", { type: "button", onclick: () => close() }, "Cancel"), submit));
  }, { label: "New collection" });
}

/** Rows in which fields are declared. */
export class FieldRows {
  constructor() {
    this.element = h("div");
    this.rows = [];
  }

  add(focus = false) {
    const number_ = this.rows.length + 1;
    const name = h("input", { name: "field", "aria-label": `Name of field ${number_}`, placeholder: "name", autocomplete: "off", spellcheck: false });
    const type = select(TYPES, "String", { name: "type", "aria-label": `Type of field ${number_}` });
    const flags = {};
    const check = (key, text) => {
      flags[key] = h("input", { type: "checkbox", id: newId("flag"), name: key });
      return h("label.check.small", flags[key], text);
    };
    const row = h("div.field-row", name, type,
      h("div.checks", check("required", "required"), check("unique", "unique"), check("indexed", "indexed")),
      h("button.button.quiet.square", {
        type: "button", "aria-label": "Remove this field",
        onclick: () => { this.rows = this.rows.filter((each) => each.row !== row); row.remove(); },
      }, icon("close")));
    this.rows.push({ row, name, type, flags });
    this.element.append(row);
    if (focus) name.focus();
  }

  get value() {
    const fields = {};
    for (const { name, type, flags } of this.rows) {
      const key = name.value.trim();
      if (key) fields[key] = { type: type.value, nullable: !flags.required.checked, unique: flags.unique.checked, indexed: flags.indexed.checked };
    }
    return fields;
  }
}
