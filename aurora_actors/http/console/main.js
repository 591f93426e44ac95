// The console: log-in, frame, routes. Each view is a function (context) -> what ends it, if anything.

import { Api } from "./api.js";
import { fill, h, icon, newId, toast } from "./dom.js";
import { History } from "./history.js";
import { showCollections } from "./collections.js";
import { showCollection } from "./collection.js";
import { showJobs } from "./jobs.js";
import { showLive } from "./live.js";
import { showQuery } from "./query.js";
import { showSystem } from "./system.js";

const KEY = "aurora.token";
const THEME = "aurora.theme";
const VIEWS = [
  ["collections", "Collections", showCollections],
  ["query", "Query", showQuery],
  ["live", "Live", showLive],
  ["jobs", "Jobs", showJobs],
  ["system", "System", showSystem],
];

const app = document.getElementById("app");
let api = null;
let history = null;
let leave = null;

// ------------------------------------------------------------------ theme
function applyTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
}
function isDark() {
  const theme = document.documentElement.dataset.theme;
  return theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}
function themeButton() {
  const button = h("button.button.quiet.square", { type: "button" });
  const draw = () => {
    const next = isDark() ? "light" : "dark";
    button.setAttribute("aria-label", `Use the ${next} theme`);
    button.title = `Use the ${next} theme`;
    fill(button, icon(isDark() ? "sun" : "moon"));
  };
  button.addEventListener("click", () => {
    const next = isDark() ? "light" : "dark";
    localStorage.setItem(THEME, next);
    applyTheme(next);
    draw();
  });
  draw();
  return button;
}

// ------------------------------------------------------------------ log-in
function showLogin(message) {
  for (const box of document.querySelectorAll("dialog")) box.close();
  leave?.();
  leave = null;
  history?.stop();
  document.title = "Log in · Aurora console";
  const token = h("input", { type: "password", name: "token", autocomplete: "current-password", required: true, autofocus: true, spellcheck: false, placeholder: "aur.name.secret" });
  const remember = h("input", { type: "checkbox", name: "remember" });
  const failure = h("div", { "aria-live": "assertive" }, message ? h("div.alert", message) : null);
  const button = h("button.button.primary", { type: "submit" }, "Log in");
  const id = newId("token");
  token.id = id;
  const form = h("form", {
    "aria-labelledby": "login-title",
    onsubmit: async (event) => {
      event.preventDefault();
      button.disabled = true;
      fill(failure);
      try {
        await begin(token.value.trim(), remember.checked);
      } catch (error) {
        fill(failure, h("div.alert", { role: "alert" }, error.message));
        token.setAttribute("aria-invalid", "true");
        token.select();
        token.focus();
      }
      button.disabled = false;
    },
  }, h("div.brand", h("img", { src: "icon.svg", alt: "" }), h("div", h("span", { id: "login-title" }, "Aurora console"), h("small", location.host))),
  h("div.field", h("label", { htmlFor: id }, "Token"), token,
    h("span.hint", "Make one with ", h("code", "aurora token create"), ".")),
  h("label.check", remember, "Remember it in this browser"), failure, button);
  fill(app, h("div.login", form));
  token.focus();
}

async function begin(token, remember) {
  const candidate = new Api(token);
  candidate.grant = await candidate.get("/whoami");
  (remember ? localStorage : sessionStorage).setItem(KEY, token);
  api = candidate;
  api.addEventListener("signedout", () => signOut("The token is not valid any more."));
  history = new History(api);
  if (api.may("read")) history.start();
  showFrame();
}

function signOut(message) {
  if (!api) return;
  api.streams.close();
  api = null;
  sessionStorage.removeItem(KEY);
  localStorage.removeItem(KEY);
  showLogin(message);
}

// ------------------------------------------------------------------ frame
function showFrame() {
  const links = VIEWS.map(([name, label]) =>
    h("a", { href: `#/${name}`, "data-view": name }, icon(name), h("span", label)));
  const role = api.grant.role === "none" ? "single collections" : api.grant.role;
  const dot = h("span.dot.good");
  const state = h("span", "Connected");
  history.addEventListener("sample", () => {
    dot.className = `dot ${history.failure ? "bad" : history.isReady ? "good" : "warn"}`;
    state.textContent = history.failure ? "Not reachable" : history.isReady ? "All processes serve" : "A process is restarting";
  });
  fill(app, h("div.frame",
    h("aside.side",
      h("div.brand", h("img", { src: "icon.svg", alt: "" }), h("div", "Aurora", h("small", location.host))),
      h("nav.nav", { "aria-label": "Views" }, links),
      h("div.foot", h("div.link-state", { role: "status" }, dot, state),
        h("div.who", h("div", h("div.name", api.grant.name), h("div.soft.small", role)),
          h("div.actions", themeButton(),
            h("button.button.quiet.square", { type: "button", title: "Log out", "aria-label": "Log out", onclick: () => signOut() }, icon("out")))))),
    h("main", { id: "main", tabIndex: -1 })));
  route();
}

function route() {
  if (!api) return;
  for (const box of document.querySelectorAll("dialog")) box.close();
  const [view, ...rest] = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  const found = VIEWS.find(([name]) => name === view) ?? VIEWS[0];
  leave?.();
  leave = null;
  for (const link of document.querySelectorAll(".nav a")) {
    if (link.dataset.view === found[0]) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const main = document.getElementById("main");
  main.replaceChildren();
  const context = { api, history, main, go: (to) => { location.hash = `#/${to}`; } };
  const show = found[0] === "collections" && rest[0] ? showCollection : found[2];
  document.title = `${rest[0] ?? found[1]} · Aurora console`;
  leave = show(context, ...rest) ?? null;
  window.scrollTo(0, 0);
}

addEventListener("hashchange", () => {
  route();
  document.getElementById("main")?.focus({ preventScroll: true });
});

// Alt and a digit go to a view.
addEventListener("keydown", (event) => {
  if (!api || !event.altKey || event.ctrlKey || event.metaKey) return;
  const view = VIEWS[Number(event.key) - 1];
  if (view) {
    event.preventDefault();
    location.hash = `#/${view[0]}`;
  }
});

applyTheme(localStorage.getItem(THEME));
const kept = sessionStorage.getItem(KEY) ?? localStorage.getItem(KEY);
if (kept) {
  begin(kept, localStorage.getItem(KEY) !== null).catch((error) => {
    showLogin(error.status === 401 ? undefined : error.message);
    if (error.status !== 401) toast(error.message, true);
  });
} else {
  showLogin();
}
