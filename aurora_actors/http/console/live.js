// A live query: documents appear, change and vanish as it happens.

import { Conditions } from "./conditions.js";
import { Editor } from "./editor.js";
import { empty, field, fill, h, icon, segments, select } from "./dom.js";
import { cell, clock, columnsOf, number } from "./format.js";
import { schemaOf } from "./query.js";

const VANISH_MS = 1000;
const MOST_EVENTS = 200;
const WORDS = { added: ["appeared", "good"], modified: ["changed", "warn"], removed: ["vanished", "bad"] };

export function showLive({ api, main }, given) {
  let schema = {};
  let stop = null;
  let view = null;
  let mode = "form";
  const state = h("span.badge", "not running");
  const button = h("button.button.primary", { type: "button", onclick: () => (stop ? end() : begin()) }, icon("play"), "Watch");
  const source = h("div");
  const output = h("div.stack", empty("live", "Nothing watched yet", "Choose a collection, or write a subscription, and watch it."));
  const announce = h("p.visually-hidden", { role: "status" });
  const text = new Editor({ label: "AQL subscription", short: true, schema: () => schema, value: "", onrun: () => begin() });
  const limit = h("input", { type: "number", min: 1, max: 1000, value: "50", placeholder: "all", name: "limit" });
  const order = h("input", { value: "-id", placeholder: "-age,name", name: "order", spellcheck: false, autocomplete: "off" });
  let collection = select([], undefined);
  let conditions = new Conditions({}, () => { if (stop) begin(); });

  main.append(h("div.head", h("div.titles", h("h1", "Live"), h("p", "The result of a query, as it changes")), h("div.actions", state, button)),
    h("div.stack",
      h("section.card", { "aria-label": "What to watch" }, h("header", h("h2", "What to watch"), segments("Written as", [["form", "Query"], ["text", "AQL"]], mode, (chosen) => { mode = chosen; drawSource(); })), source),
      output), announce);

  schemaOf(api).then((found) => {
    schema = found;
    const names = Object.keys(found);
    collection = select(names, names.includes(given) ? given : names[0], { name: "collection", onchange: () => { changeCollection(); if (stop) begin(); } });
    text.value = names.length ? `subscription @live {\n  ${names[0]} { id }\n}` : "";
    changeCollection();
    if (given) begin();
  }).catch((error) => fill(output, h("div.alert", { role: "alert" }, error.message)));

  function changeCollection() {
    conditions = new Conditions(schema[collection.value] ?? {}, () => { if (stop) begin(); });
    drawSource();
  }

  function drawSource() {
    if (mode === "text") fill(source, h("div.body", text.element, h("p.soft.small", "A subscription with @live: the present result, then its changes.")));
    else {
      fill(source, h("div.body", h("div.grid2", field("Collection", collection), field("Order", order), field("At most", limit)),
        h("div.actions", conditions.addButton, conditions.modeButton)), conditions.element);
    }
  }

  function frame() {
    if (mode === "text") return { op: "subscribe", query: text.value };
    const made = { op: "watch", collection: collection.value, order: order.value.trim(), limit: limit.value ? Number(limit.value) : undefined };
    const where = conditions.value;
    return where ? { ...made, where } : made;
  }

  function begin() {
    end();
    let asked;
    try {
      asked = frame();
    } catch (error) {
      fill(output, h("div.alert", { role: "alert" }, `The condition is no JSON: ${error.message}`));
      return;
    }
    view = new Result(mode === "text" ? {} : schema[collection.value] ?? {}, announce);
    fill(output, view.element);
    say("connecting", "warn");
    stop = api.streams.start(asked, (update) => {
      if (update.type === "open") say("live", "good");
      else if (update.type === "disconnected") say("reconnecting", "warn");
      else if (update.type === "error") {
        if (update.retryable) { say("waiting", "warn"); return; }
        end();
        fill(output, h("div.alert.mono", { role: "alert" }, update.detail));
      } else view.take(update);
    });
    fill(button, icon("stop"), "Stop");
  }

  function end() {
    stop?.();
    stop = null;
    say("not running", "");
    fill(button, icon("play"), "Watch");
  }

  function say(words, kind) {
    state.className = `badge ${kind}`;
    state.textContent = words;
  }
  return () => stop?.();
}

/** The rows of a live result and the log of what happened to them. */
class Result {
  constructor(fields, announce) {
    this.fields = fields;
    this.announce = announce;
    this.rows = new Map();
    this.columns = columnsOf([], fields);
    this.isComplete = false;
    this.events = 0;
    this.head = h("thead");
    this.body = h("tbody");
    this.count = h("span.badge.info", "0 documents");
    this.log = h("ol.log", { tabIndex: 0, role: "log", "aria-live": "off", "aria-label": "What happened" }, h("li.empty", "Changes appear here."));
    this.rate = h("span.soft.small", "0 changes");
    this.element = h("div.split",
      h("section.card", { "aria-label": "The result now" }, h("header", h("h2", "The result now"), this.count), h("div.scroll", h("table", this.head, this.body))),
      h("section.card", { "aria-label": "Changes" }, h("header", h("h2", "Changes"), this.rate), this.log));
    this.drawHead();
  }

  take(update) {
    if (update.type === "initial_complete") { this.isComplete = true; this.tell(); return; }
    if (update.type === "history_lost") { this.rows.clear(); this.body.replaceChildren(); return; }
    if (!(update.type in WORDS)) return;
    const { document } = update;
    this.widen(document);
    if (update.type === "removed") this.remove(document.id);
    else this.put(document, update.position, update.type);
    if (this.isComplete) this.record(update.type, document.id);
    this.tell();
  }

  widen(document) {
    const more = Object.keys(document).filter((name) => !this.columns.includes(name));
    if (!more.length) return;
    this.columns.push(...more);
    this.drawHead();
    for (const { element, document: known } of this.rows.values()) fill(element, this.cells(known));
  }

  drawHead() { fill(this.head, h("tr", this.columns.map((column) => h("th", { scope: "col" }, column)))); }

  cells(document, before) {
    return this.columns.map((column) => {
      const value = document[column];
      const missing = value === undefined || value === null;
      const changed = before && cell(before[column]) !== cell(value);
      return h("td.value", { class: `${missing ? "null" : ""} ${changed ? "changed" : ""}`, title: missing ? undefined : cell(value) }, cell(value));
    });
  }

  put(document, position, type) {
    const known = this.rows.get(document.id);
    const element = known?.element ?? h("tr");
    fill(element, this.cells(document, known?.document));
    element.className = !known && this.isComplete && type === "added" ? "appeared" : "";
    this.rows.set(document.id, { element, document });
    if (position !== undefined) {
      const others = [...this.body.children].filter((each) => each !== element && !each.classList.contains("vanishing"));
      this.body.insertBefore(element, others[position] ?? null);
    } else if (!known) this.body.append(element);
  }

  remove(id) {
    const known = this.rows.get(id);
    if (!known) return;
    this.rows.delete(id);
    known.element.className = "vanishing";
    setTimeout(() => known.element.remove(), VANISH_MS);
  }

  record(type, id) {
    const [word, kind] = WORDS[type];
    if (!this.events) this.log.replaceChildren();
    this.events += 1;
    this.log.prepend(h("li", h("time.soft", clock()), h(`span.badge.${kind}`, word), h("span.id", { title: id }, id)));
    if (this.log.children.length > MOST_EVENTS) this.log.lastChild.remove();
    this.rate.textContent = `${number(this.events)} ${this.events === 1 ? "change" : "changes"}`;
  }

  tell() {
    const text = `${number(this.rows.size)} ${this.rows.size === 1 ? "document" : "documents"}`;
    if (this.count.textContent === text) return;
    this.count.textContent = text;
    if (this.isComplete) this.announce.textContent = text;
  }
}
