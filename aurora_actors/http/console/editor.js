// A text area that colours AQL and completes words: a layer below shows what is typed above.

import { complete, tokens } from "./aql.js";
import { fill, h, newId } from "./dom.js";

export class Editor {
  constructor({ label, value = "", schema = null, short = false, onrun }) {
    this.schema = schema;
    this.shown = h("pre", { "aria-hidden": "true" });
    this.list = h("ul.completions", { id: newId("completions"), role: "listbox", "aria-label": "Completions", hidden: true });
    this.area = h("textarea", { "aria-label": label, spellcheck: false, autocapitalize: "off", autocomplete: "off", role: schema ? "combobox" : undefined, "aria-expanded": schema ? "false" : undefined, "aria-controls": schema ? this.list.id : undefined, "aria-autocomplete": schema ? "list" : undefined });
    this.area.value = value;
    this.element = h(short ? "div.editor.short" : "div.editor", h("div.layers", this.shown, this.area), this.list);
    this.items = [];
    this.at = 0;
    this.onrun = onrun;
    this.area.addEventListener("input", () => { this.draw(); this.suggest(); });
    this.area.addEventListener("keydown", (event) => this.key(event));
    this.area.addEventListener("blur", () => this.hide());
    this.area.addEventListener("click", () => this.hide());
    this.draw();
  }

  get value() { return this.area.value; }
  set value(text) { this.area.value = text; this.draw(); }

  draw() {
    const text = this.area.value;
    const parts = [];
    let done = 0;
    for (const token of tokens(text)) {
      parts.push(text.slice(done, token.at), h(`span.tok-${token.kind}`, token.text));
      done = token.at + token.text.length;
    }
    fill(this.shown, parts, text.slice(done), "\n");
  }

  key(event) {
    if ((event.ctrlKey || event.metaKey) && event.key === "Enter") {
      event.preventDefault();
      this.hide();
      this.onrun?.();
    } else if (event.ctrlKey && event.key === " ") {
      event.preventDefault();
      this.suggest(true);
    } else if (!this.list.hidden && this.choose(event.key)) {
      event.preventDefault();
      event.stopPropagation();
    } else if (event.key === "Enter") {
      const line = this.area.value.slice(0, this.area.selectionStart).split("\n").at(-1);
      const indent = /^\s*/.exec(line)[0] + (/[{([]\s*$/.test(line) ? "  " : "");
      if (indent) { event.preventDefault(); this.insert(`\n${indent}`); }
    }
  }

  choose(key) {
    const last = this.items.length - 1;
    if (key === "ArrowDown") this.mark(this.at === last ? 0 : this.at + 1);
    else if (key === "ArrowUp") this.mark(this.at === 0 ? last : this.at - 1);
    else if (key === "Escape") this.hide();
    else if (key === "Enter" || key === "Tab") this.take(this.items[this.at]);
    else return false;
    return true;
  }

  insert(text, from = this.area.selectionStart) {
    this.area.setRangeText(text, from, this.area.selectionEnd, "end");
    this.draw();
  }

  take(item) {
    this.insert(item.text, this.from);
    this.hide();
  }

  suggest(asked = false) {
    if (!this.schema) return;
    const at = this.area.selectionStart;
    const { from, items } = complete(this.area.value, at, this.schema());
    if (!items.length || (!asked && at - from < 1)) { this.hide(); return; }
    this.items = items;
    this.from = from;
    fill(this.list, items.map((item) => h("li", {
      role: "option", id: newId("option"),
      onmousedown: (event) => { event.preventDefault(); this.take(item); },
    }, item.text, h("small", item.note))));
    this.list.hidden = false;
    this.area.setAttribute("aria-expanded", "true");
    this.mark(0);
    this.place(from);
  }

  mark(at) {
    this.at = at;
    [...this.list.children].forEach((each, i) => each.setAttribute("aria-selected", String(i === at)));
    this.area.setAttribute("aria-activedescendant", this.list.children[at].id);
    this.list.children[at].scrollIntoView({ block: "nearest" });
  }

  /** Puts the list below the word: the layer below is measured where the word begins. */
  place(from) {
    const range = document.createRange();
    let left = from;
    const walker = document.createTreeWalker(this.shown, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      if (left <= node.length) { range.setStart(node, left); break; }
      left -= node.length;
    }
    range.collapse(true);
    const box = range.getBoundingClientRect();
    const width = this.list.offsetWidth;
    this.list.style.left = `${Math.max(8, Math.min(box.left, innerWidth - width - 8))}px`;
    this.list.style.top = `${Math.min(box.bottom + 4, innerHeight - 120)}px`;
  }

  hide() {
    this.list.hidden = true;
    this.area.setAttribute("aria-expanded", "false");
    this.area.removeAttribute("aria-activedescendant");
  }
}
