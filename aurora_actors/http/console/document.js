// The editor of one document: a form of the declared fields, or JSON; saved only over the version that was read.

import { docs } from "./api.js";
import { typeName } from "./collections.js";
import { busy, confirm, dialog, dialogHead, field, fill, h, icon, segments, select, toast } from "./dom.js";
import { parseJson, toJson } from "./format.js";

const PLACEHOLDERS = { DateTime: "2026-01-31T12:00:00Z", Time: "12:00:00", Uuid: "00000000-0000-0000-0000-000000000000", Bytes: "base64" };
const MULTILINE = /^(\[.*|Object|Any)$/;

/** Opens the drawer for `document` (null for a new one); resolves true when something was changed. */
export async function editDocument(api, definition, document) {
  let etag = null;
  if (document) {
    const read = await busy(null, () => api.request("GET", docs(definition.name, document.id)));
    if (!read) return true;
    document = read.data;
    etag = read.etag;
  }
  const may = api.may("write", definition.name);
  return dialog((close) => {
    const state = { mode: Object.keys(definition.fields).length ? "form" : "json", value: { ...(document ?? {}) } };
    const body = h("div.body");
    const failure = h("div", { "aria-live": "assertive" });
    let read = () => state.value;
    const draw = () => {
      const part = state.mode === "form" ? formOf(definition, state.value, document) : jsonOf(state.value);
      read = part.read;
      fill(body, part.element, failure);
      for (const control of body.querySelectorAll("input, select, textarea")) control.disabled = control.disabled || !may;
    };
    const mode = segments("Edit as", [["form", "Form"], ["json", "JSON"]], state.mode, (chosen) => {
      try {
        state.value = read();
        state.mode = chosen;
        fill(failure);
      } catch (error) {
        fill(failure, h("div.alert", { role: "alert" }, error.message));
        for (const each of mode.children) each.setAttribute("aria-pressed", String(each.textContent.toLowerCase() === state.mode));
        return;
      }
      draw();
    });
    const submit = may ? h("button.button.primary", { type: "submit" }, document ? "Save" : "Insert") : null;
    draw();

    async function save() {
      const { id, ...fields } = read();
      if (!document) {
        const made = await api.post(docs(definition.name), id === undefined || id === "" ? fields : { id, ...fields });
        toast(`Inserted ${made.id}.`);
      } else {
        await api.request("PUT", docs(definition.name, document.id), fields, { headers: { "If-Match": etag } })
          .catch((error) => { throw error.status === 412 ? new Error("Somebody has changed this document meanwhile. Close it and open it again to see their change.") : error; });
        toast(`Saved ${document.id}.`);
      }
      close(true);
    }

    async function remove() {
      if (!(await confirm("Remove this document?", document.id, "Remove it"))) return;
      await api.delete(docs(definition.name, document.id), { headers: { "If-Match": etag } });
      toast(`Removed ${document.id}.`);
      close(true);
    }

    return h("form", { onsubmit: (event) => { event.preventDefault(); busy(submit, save, failure); } },
      dialogHead(document ? "Document" : "New document", close, document ? document.id : definition.name),
      body,
      h("footer", h("span.left", mode),
        document && may ? h("button.button.danger", { type: "button", onclick: (event) => busy(event.currentTarget, remove, failure) }, icon("trash"), "Remove") : null,
        h(document ? "button.button.spare" : "button.button", { type: "button", onclick: () => close() }, "Cancel"), submit));
  }, { drawer: true, label: document ? `Document ${document.id}` : `New document in ${definition.name}` });
}

function jsonOf(value) {
  const text = h("textarea.mono", { rows: 22, spellcheck: false, "aria-label": "Document as JSON", autofocus: true, name: "json" });
  text.value = toJson(value, 2);
  return {
    element: text,
    read: () => {
      const found = parseJson(text.value);
      if (found === null || typeof found !== "object" || Array.isArray(found)) throw new Error("A document is a JSON object.");
      return found;
    },
  };
}

function formOf(definition, value, document) {
  const parts = [];
  const id = h("input", { name: "id", value: value.id ?? "", placeholder: "made if left empty", spellcheck: false, autocomplete: "off" });
  if (!document) parts.push({ name: "id", element: field("id", id), read: () => id.value || undefined });
  for (const [name, declared] of Object.entries(definition.fields)) parts.push(control(name, declared, value[name], !document));
  const rest = Object.fromEntries(Object.entries(value).filter(([name]) => name !== "id" && !(name in definition.fields)));
  if (definition.open || Object.keys(rest).length) {
    const more = h("textarea.mono", { rows: 4, spellcheck: false, name: "more" });
    more.value = Object.keys(rest).length ? toJson(rest, 2) : "";
    parts.push({ element: field("Other fields", more, "As a JSON object"), read: () => undefined, more });
  }
  return {
    element: h("div.form", parts.map((part) => part.element)),
    read: () => {
      const found = document ? { id: document.id } : {};
      for (const part of parts) {
        if (part.more) Object.assign(found, part.more.value.trim() ? parseJson(part.more.value) : {});
        else {
          const read = part.read();
          if (read !== undefined) found[part.name] = read;
        }
      }
      return found;
    },
  };
}

function control(name, { type, nullable }, value, isNew) {
  const label = h("span", name, " ", h("span.type", typeName(type), nullable ? "" : " · required"));
  const common = { name, spellcheck: false, autocomplete: "off", required: !nullable && type !== "String" };
  if (type === "Boolean") {
    const chosen = select([["", "–"], ["true", "true"], ["false", "false"]], value === undefined || value === null ? "" : String(value), common);
    return { name, element: field(label, chosen), read: () => (chosen.value === "" ? undefined : chosen.value === "true") };
  }
  if (typeof type === "object" || MULTILINE.test(type)) {
    const text = h("textarea.mono", { ...common, rows: 3 });
    text.value = value === undefined || value === null ? "" : toJson(value, 2);
    return { name, element: field(label, text, "JSON"), read: () => json(name, text.value) };
  }
  if (type === "Int" || type === "Float") {
    const input = h("input", { ...common, inputMode: "decimal", value: value ?? "" });
    return { name, element: field(label, input), read: () => json(name, input.value) };
  }
  const input = h("input", { ...common, type: type === "Date" ? "date" : "text", placeholder: PLACEHOLDERS[type] ?? "", value: value ?? "" });
  // An empty text is no value, unless the document has one or the field needs one.
  const keepsEmpty = type === "String" && (!nullable || (!isNew && value === ""));
  return { name, element: field(label, input), read: () => (input.value === "" && !keepsEmpty ? undefined : input.value) };
}

function json(name, text) {
  if (!text.trim()) return undefined;
  try {
    return parseJson(text);
  } catch {
    throw new Error(`${name}: this is no valid value (${text.slice(0, 40)}).`);
  }
}
