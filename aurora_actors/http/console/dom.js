// Small helpers to make elements, dialogs and notices. No inline styles: the page's policy forbids them.

const SVG = "http://www.w3.org/2000/svg";

const ICONS = {
  collections: "M4 6c0-1.7 3.6-3 8-3s8 1.3 8 3-3.6 3-8 3-8-1.3-8-3Zm0 0v12c0 1.7 3.6 3 8 3s8-1.3 8-3V6M4 12c0 1.7 3.6 3 8 3s8-1.3 8-3",
  query: "m6 8 4 4-4 4M13 16h6M4 3h16a1 1 0 0 1 1 1v16a1 1 0 0 1-1 1H4a1 1 0 0 1-1-1V4a1 1 0 0 1 1-1Z",
  live: "M3 12h4l3-8 4 16 3-8h4",
  jobs: "M4 7h16v13H4zM9 7V4h6v3M4 12h16",
  system: "M5 3h6v5H5zM13 16h6v5h-6zM5 16h6v5H5zM8 8v8M8 12h8v4",
  plus: "M12 5v14M5 12h14",
  close: "M6 6l12 12M18 6 6 18",
  filter: "M3 5h18l-7 9v5l-4 2v-7Z",
  refresh: "M20 11a8 8 0 1 0-2.3 6.3M20 5v6h-6",
  play: "M7 4v16l13-8Z",
  stop: "M6 6h12v12H6z",
  trash: "M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13M10 11v6M14 11v6",
  edit: "M4 20h4L19 9l-4-4L4 16zM13 7l4 4",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8ZM12 2v2M12 20v2M4.9 4.9l1.4 1.4M17.7 17.7l1.4 1.4M2 12h2M20 12h2M4.9 19.1l1.4-1.4M17.7 6.3l1.4-1.4",
  moon: "M20 14.5A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.5Z",
  out: "M14 4h5v16h-5M10 8l-4 4 4 4M6 12h10",
  back: "M15 5l-7 7 7 7",
  next: "M9 5l7 7-7 7",
};

/** Makes an element: h("button.button.primary", {onclick}, "Text", child). */
export function h(what, props, ...children) {
  const [tag, ...classes] = what.split(".");
  const element = document.createElement(tag || "div");
  if (classes.length) element.className = classes.join(" ");
  if (props !== null && (typeof props !== "object" || props instanceof Node || Array.isArray(props))) {
    children.unshift(props);
    props = {};
  }
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className += ` ${value}`;
    else if (name in element && !name.startsWith("aria") && name !== "list" && name !== "form") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  append(element, children);
  return element;
}

function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
}

/** Makes an SVG element. */
export function s(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  append(element, children);
  return element;
}

export function icon(name) {
  const drawn = s("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true" });
  drawn.append(s("path", { d: ICONS[name] }));
  return drawn;
}

export function fill(element, ...children) {
  element.replaceChildren();
  append(element, children);
  return element;
}

let ids = 0;
export const newId = (prefix) => `${prefix}-${++ids}`;

/** A labelled control: the label is bound to it, hints are its description. */
export function field(label, control, hint) {
  control.id ||= newId("field");
  const described = hint ? newId("hint") : null;
  if (described) control.setAttribute("aria-describedby", described);
  return h("div.field", h("label", { htmlFor: control.id }, label), control,
    hint ? h("span.hint", { id: described }, hint) : null);
}

export function select(options, value, props = {}) {
  const made = h("select", props, options.map((option) => {
    const [key, text] = Array.isArray(option) ? option : [option, option];
    return h("option", { value: key, selected: key === value }, text);
  }));
  if (value !== undefined) made.value = value;
  return made;
}

export function toast(text, bad = false) {
  const shown = h(bad ? "div.toast.bad" : "div.toast", text);
  document.getElementById("toasts").append(shown);
  setTimeout(() => shown.remove(), bad ? 9000 : 4000);
}

/** Opens a dialog and resolves with what it was closed with; Escape closes it with nothing. */
export function dialog(build, { drawer = false, label } = {}) {
  return new Promise((resolve) => {
    const box = h(drawer ? "dialog.drawer" : "dialog", { "aria-label": label });
    const close = (value) => { box.result = value; box.close(); };
    box.addEventListener("close", () => { box.remove(); resolve(box.result); });
    box.addEventListener("click", (event) => { if (event.target === box) close(); });
    box.append(build(close));
    document.body.append(box);
    box.showModal();
    box.querySelector("[autofocus]")?.focus();
  });
}

export function dialogHead(title, close, detail) {
  return h("header", h("div", h("h2", title), detail ? h("p.soft.small", detail) : null),
    h("button.button.quiet.square", { type: "button", onclick: () => close(), "aria-label": "Close" }, icon("close")));
}

/** Asks before something that cannot be undone. */
export function confirm(title, text, action) {
  return dialog((close) => h("form", { onsubmit: (event) => { event.preventDefault(); close(true); } },
    dialogHead(title, close), h("div.body", h("p", text)),
    h("footer", h("button.button", { type: "button", autofocus: true, onclick: () => close(false) }, "Keep"),
      h("button.button.danger", { type: "submit" }, action))), { label: title });
}

/** Runs an action of a button: busy meanwhile, errors as a notice or in `into`. */
export async function busy(button, action, into) {
  button?.setAttribute("aria-busy", "true");
  if (into) into.replaceChildren();
  try {
    return await action();
  } catch (error) {
    if (error.name === "AbortError") return undefined;
    if (into) into.append(h("div.alert", { role: "alert" }, error.message));
    else toast(error.message, true);
    return undefined;
  } finally {
    button?.removeAttribute("aria-busy");
  }
}

export function empty(name, title, text, ...actions) {
  return h("div.empty", icon(name), h("strong", title), h("p", text), actions);
}

export function segments(label, options, value, onchange) {
  const box = h("div.segments", { role: "group", "aria-label": label });
  for (const [key, text] of options) {
    box.append(h("button", {
      type: "button", "aria-pressed": String(key === value),
      onclick: (event) => {
        for (const each of box.children) each.setAttribute("aria-pressed", String(each === event.currentTarget));
        onchange(key);
      },
    }, text));
  }
  return box;
}

/** Arrow keys move among the rows of a table body; Enter opens one. */
export function rowKeys(body) {
  body.addEventListener("keydown", (event) => {
    const row = event.target.closest("tr.row");
    if (!row) return;
    if (event.key === "ArrowDown") (row.nextElementSibling ?? row).focus();
    else if (event.key === "ArrowUp") (row.previousElementSibling ?? row).focus();
    else if (event.key === "Enter" && event.target === row) row.click();
    else return;
    event.preventDefault();
  });
}
