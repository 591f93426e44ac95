// A filter that is put together from rows, or written as JSON.

import { fill, h, icon, newId, select } from "./dom.js";
import { parseJson, toJson } from "./format.js";

const OPERATORS = [["eq", "is"], ["ne", "is not"], ["gt", ">"], ["gte", "≥"], ["lt", "<"], ["lte", "≤"], ["contains", "contains"],
  ["startsWith", "starts with"], ["endsWith", "ends with"], ["matches", "matches"], ["in", "is one of"], ["isNull", "is empty"], ["isNotNull", "is not empty"]];
const NO_VALUE = new Set(["isNull", "isNotNull"]);

export class Conditions {
  constructor(fields, onchange) {
    this.fields = fields;
    this.onchange = onchange;
    this.rows = [];
    this.json = null;
    this.element = h("div.filters", { role: "search", "aria-label": "Filter", hidden: true });
    this.addButton = h("button.button", { type: "button", onclick: () => this.add() }, icon("filter"), "Filter");
    this.modeButton = h("button.button.quiet.small", { type: "button", hidden: true, onclick: () => this.toggle() }, "as JSON");
  }

  get isEmpty() { return this.value === null; }

  /** The condition, or null. */
  get value() {
    if (this.json) return this.json.value.trim() ? parseJson(this.json.value) : null;
    const parts = this.rows.map((row) => this.part(row)).filter(Boolean);
    return parts.length === 0 ? null : parts.length === 1 ? parts[0] : { and: parts };
  }

  part({ name, operator, value }) {
    if (!name.value) return null;
    const type = this.fields[name.value]?.type;
    if (NO_VALUE.has(operator.value)) return { [name.value]: { [operator.value]: true } };
    if (operator.value === "in") return { [name.value]: { in: value.value.split(",").map((each) => typed(each.trim(), type)) } };
    return { [name.value]: { [operator.value]: typed(value.value, type) } };
  }

  add() {
    const id = newId("names");
    const name = h("input", { list: id, "aria-label": "Field", placeholder: "field", autocomplete: "off", spellcheck: false, name: "condition-field" });
    name.setAttribute("list", id);
    const names = h("datalist", { id }, ["id", ...Object.keys(this.fields)].map((each) => h("option", { value: each })));
    const operator = select(OPERATORS, "eq", { "aria-label": "Comparison", name: "condition-operator" });
    const value = h("input", { "aria-label": "Value", placeholder: "value", autocomplete: "off", spellcheck: false, name: "condition-value" });
    const row = { name, operator, value };
    const changed = () => this.onchange();
    for (const input of [name, value]) input.addEventListener("change", changed);
    operator.addEventListener("change", () => { value.disabled = NO_VALUE.has(operator.value); changed(); });
    row.element = h("div.condition", h("span", name, names), operator, value,
      h("button.button.quiet.square", {
        type: "button", "aria-label": "Remove this condition",
        onclick: () => { this.rows = this.rows.filter((each) => each !== row); this.draw(); changed(); },
      }, icon("close")));
    this.rows.push(row);
    this.draw();
    name.focus();
  }

  toggle() {
    if (this.json) {
      this.json = null;
      this.rows = [];
      this.onchange();
    } else {
      const now = this.value;
      this.json = h("textarea.mono", { "aria-label": "Condition as JSON", rows: 3, spellcheck: false, onchange: () => this.onchange() });
      this.json.value = now ? toJson(now, 2) : '{"age": {"gte": 18}}';
    }
    this.draw();
    this.json?.focus();
  }

  draw() {
    this.element.hidden = !this.json && !this.rows.length;
    this.modeButton.hidden = this.element.hidden;
    this.modeButton.textContent = this.json ? "as rows" : "as JSON";
    this.addButton.hidden = Boolean(this.json);
    fill(this.addButton, icon("filter"), this.rows.length ? "And …" : "Filter");
    fill(this.element, this.json ?? this.rows.map((row) => row.element));
  }
}

/** A text as a value of a type; JSON where the type says nothing. */
function typed(text, type) {
  if (typeof type === "string" && /^\[?(String|Uuid|DateTime|Date|Time|Bytes)\]?$/.test(type)) return text;
  try { return parseJson(text); } catch { return text; }
}
