// The processes of the tree, and how they have done over the last ten minutes.

import { Chart } from "./chart.js";
import { empty, fill, h } from "./dom.js";
import { rateOf } from "./history.js";
import { bytes, compact, number, percent } from "./format.js";

const STATES = { ready: "good", starting: "warn", backoff: "bad", stopping: "warn", stopped: "bad" };
const ALARMS = { alarm_map_nearly_full: "The data file is nearly full", alarm_disk_nearly_full: "The disk is nearly full", alarm_readers_nearly_full: "Readers are nearly used up", alarm_old_snapshot: "An old snapshot keeps space" };
const perSecond = (value) => `${compact(value)}/s`;

export function showSystem({ api, history, main }) {
  const tiles = h("dl.tiles");
  const alarms = h("div.stack", { role: "status" });
  const table = h("div");
  const charts = chartsOf();
  main.append(h("div.head", h("div.titles", h("h1", "System"), h("p", "The processes of this database, every two seconds"))),
    h("div.stack", alarms, tiles, h("section.charts", { "aria-label": "Charts" }, charts.map(({ chart }) => chart.element)),
      h("section.card", { "aria-label": "Processes" }, h("header", h("h2", "Processes")), table)));
  if (!api.may("read")) {
    fill(main, empty("system", "Not for this token", "The processes are shown to tokens that may read in general."));
    return null;
  }

  function draw() {
    const sample = history.last;
    if (!sample) return;
    drawTiles(tiles, sample);
    const storage = sample.tree.actors.find(({ name }) => name === "storage");
    fill(alarms, Object.entries(ALARMS).filter(([name]) => storage?.values[name]).map(([, text]) => h("div.alert", { role: "alert" }, `${text}.`)));
    drawTable(table, sample);
    const times = history.samples.map(({ at }) => at);
    for (const { chart, series } of charts) chart.update(times, series(history.samples));
  }
  history.addEventListener("sample", draw);
  draw();
  return () => history.removeEventListener("sample", draw);
}

function chartsOf() {
  const lines = (...named) => (samples) => named.map(([name, of]) => ({ name, values: samples.map(of) }));
  const byActor = (of) => (samples) => {
    const names = samples.at(-1).tree.actors.map(({ name }) => name);
    return names.map((name) => ({ name, values: samples.map((sample) => {
      const actor = sample.tree.actors.find((each) => each.name === name);
      return actor ? of(actor, sample) ?? null : null;
    }) }));
  };
  const lag = (actor, sample) => (actor.name === "index_builder" || actor.name === "reactive_dispatcher" ? Math.max(0, sample.tree.lsn - actor.lsn) : null);
  return [
    { chart: new Chart("Work", { format: perSecond }), series: lines(
      ["writes", (each) => rateOf(each, "storage", "writes")],
      ["queries", (each) => rateOf(each, "query_executor", "queries", "statements")],
      ["events", (each) => rateOf(each, "reactive_dispatcher", "events")],
      ["requests", (each) => rateOf(each, "http_gateway", "responses_2xx", "responses_3xx", "responses_4xx", "responses_5xx")]) },
    { chart: new Chart("Processor time", { format: percent, floor: 10 }), series: byActor((actor, sample) => sample.rates[actor.name]?.cpu) },
    { chart: new Chart("Memory", { format: bytes, floor: 1 << 20, base: 1024 }), series: byActor((actor) => actor.rss_bytes) },
    { chart: new Chart("Changes behind storage", { format: compact, floor: 10 }), series: (samples) => byActor(lag)(samples).filter(({ name }) => name === "index_builder" || name === "reactive_dispatcher") },
  ];
}

function drawTiles(tiles, sample) {
  const { tree } = sample;
  const storage = tree.actors.find(({ name }) => name === "storage")?.values ?? {};
  const writes = rateOf(sample, "storage", "writes");
  const tile = (name, value, more) => h("div.tile", h("dt", name), h("dd", value, more ? h("small", ` ${more}`) : null));
  fill(tiles,
    tile("Documents", compact(storage.documents ?? 0), `in ${number(storage.collections ?? 0)} collections`),
    tile("LSN", number(tree.lsn), `timeline ${tree.timeline}`),
    tile("Writes", writes === null ? "–" : compact(writes), "per second"),
    tile("On disk", bytes(storage.data_bytes ?? 0), `${bytes(storage.disk_free_bytes ?? 0)} free`),
    tile("Clients", number(tree.clients)));
}

function drawTable(table, sample) {
  const { tree } = sample;
  const behind = { index_builder: true, reactive_dispatcher: true };
  const all = [{ name: "supervisor", pid: tree.supervisor_pid, state: "ready", ...tree.supervisor }, ...tree.actors];
  const columns = [["Process"], ["PID", "number wide"], ["State"], ["CPU", "number"], ["Memory", "number"], ["Behind", "number wide"], ["Mailbox", "number wide"], ["Restarts", "number wide"]];
  fill(table, h("div.scroll", { tabIndex: 0, role: "region", "aria-label": "Processes" }, h("table", h("thead", h("tr", columns.map(([text, kind]) => h("th", { scope: "col", class: kind ?? "" }, text)))),
    h("tbody", all.map((actor) => {
      const cpu = sample.rates[actor.name]?.cpu ?? null;
      const isRoot = actor.name === "supervisor";
      return h("tr", h("td.nowrap", isRoot ? h("b", actor.name) : [h("span.soft", { "aria-hidden": "true" }, "└ "), actor.name]), h("td.number.wide", actor.pid),
        h("td", h("span.badge", { class: STATES[actor.state] ?? "" }, actor.state)),
        h("td.number", cpu === null ? "–" : meter(cpu)),
        h("td.number", actor.rss_bytes ? bytes(actor.rss_bytes) : "–"),
        h("td.number.wide", behind[actor.name] ? number(Math.max(0, tree.lsn - actor.lsn)) : "–"),
        h("td.number.wide", isRoot ? "–" : number(actor.mailbox_depth)),
        h("td.number.wide", isRoot ? "–" : actor.restarts ? h("span.badge.warn", actor.restarts) : "0"));
    })))));
}

function meter(share) {
  const filled = h("span");
  filled.style.width = `${Math.min(100, share)}%`;
  return h("span.meter", h("span.bar", { "aria-hidden": "true" }, filled), percent(share));
}
