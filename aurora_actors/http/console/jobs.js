// Jobs: queues with their rates, the jobs themselves, and what can be done about dead letters.

import { Chart } from "./chart.js";
import { busy, confirm, dialog, dialogHead, empty, fill, h, icon, rowKeys, select, toast } from "./dom.js";
import { ago, compact, number, toJson } from "./format.js";

const EVERY_MS = 2000;
const MOST = 150;
const KINDS = { pending: "", running: "info", completed: "good", failed: "warn", dead_letter: "bad", cancelled: "" };
const SHOWN = ["running", "pending", "failed", "dead_letter", "completed"];
const word = (status) => status.replace("_", " ");

export function showJobs({ api, main }) {
  let timer = null;
  let isOver = false;
  let looks = 0;
  const samples = [];
  const queues = h("div");
  const list = h("div");
  const chart = new Chart("Jobs ended and waiting", { format: compact });
  const status = select([["", "All"], ...Object.keys(KINDS).map((each) => [each, word(each)])], "", { "aria-label": "Status", name: "status", onchange: () => look() });
  const queue = select([["", "All queues"]], "", { "aria-label": "Queue", name: "queue", onchange: () => look() });
  const isAdmin = api.may("admin");
  main.append(h("div.head", h("div.titles", h("h1", "Jobs"), h("p", "Queues, rates and dead letters"))),
    h("div.stack", h("div.split",
      h("section.card", { "aria-label": "Queues" }, h("header", h("h2", "Queues")), queues), chart.element),
    h("section.card", { "aria-label": "Jobs" }, h("header", h("h2", "Jobs"), h("div.actions", queue, status)), list)));

  async function look() {
    const asked = (looks += 1); // a look that another has overtaken ends without a trace
    clearTimeout(timer);
    try {
      const parameters = new URLSearchParams({ limit: "50" });
      if (status.value) parameters.set("status", status.value);
      if (queue.value) parameters.set("queue", queue.value);
      const [stats, { jobs }] = await Promise.all([api.get("/queues"), api.get(`/jobs?${parameters}`)]);
      if (isOver || asked !== looks) return;
      sample(stats);
      drawQueues(stats);
      drawJobs(jobs);
    } catch (error) {
      if (isOver || asked !== looks) return;
      fill(list, h("div.empty", h("div.alert", { role: "alert" }, error.message)));
    }
    timer = setTimeout(look, EVERY_MS);
  }

  function sample(stats) {
    const sum = (name) => Object.values(stats.queues).reduce((all, each) => all + each[name], 0);
    samples.push({ at: Date.now(), ended: sum("completed") + sum("dead_letter"), waiting: sum("pending") + sum("failed"), dead: sum("dead_letter") });
    if (samples.length > MOST) samples.shift();
    const rate = (i) => (i === 0 ? null : Math.max(0, ((samples[i].ended - samples[i - 1].ended) * 1000) / (samples[i].at - samples[i - 1].at)));
    chart.update(samples.map(({ at }) => at), [
      { name: "ended per second", values: samples.map((_, i) => rate(i)) },
      { name: "waiting", values: samples.map(({ waiting }) => waiting) },
    ]);
  }

  function drawQueues(stats) {
    const names = Object.keys(stats.queues);
    const known = [...queue.options].map(({ value }) => value);
    for (const name of names) if (!known.includes(name)) queue.append(h("option", { value: name }, name));
    if (!names.length) { fill(queues, empty("jobs", "No queues yet", "A queue appears with its first job.")); return; }
    fill(queues, h("div.scroll", h("table", h("thead", h("tr", h("th", "Queue"), h("th.wide", "Now"), ["Waiting", "Running", "Dead"].map((each) => h("th.number", each)), h("th", h("span.visually-hidden", "Actions")))),
      h("tbody", names.map((name) => {
        const each = stats.queues[name];
        const total = SHOWN.reduce((all, kind) => all + each[kind], 0) || 1;
        const bars = h("div.bars", { role: "img", "aria-label": SHOWN.map((kind) => `${each[kind]} ${word(kind)}`).join(", ") }, SHOWN.filter((kind) => each[kind]).map((kind) => {
          const part = h(`span.${kind}`);
          part.style.width = `${(each[kind] / total) * 100}%`;
          return part;
        }));
        return h("tr", h("td", name, each.paused ? h("span.badge.warn", "paused") : null), h("td.wide", bars), h("td.number", number(each.pending + each.failed)), h("td.number", number(each.running)),
          h("td.number", each.dead_letter ? h("span.badge.bad", number(each.dead_letter)) : "0"),
          h("td.number", h("div.actions", isAdmin ? [
            h("button.button.small", { type: "button", onclick: (event) => act(event, `/queues/${encodeURIComponent(name)}/${each.paused ? "resume" : "pause"}`) }, each.paused ? "Resume" : "Pause"),
            each.dead_letter ? h("button.button.small", { type: "button", "aria-label": `Retry the dead letters of ${name}`, onclick: (event) => retryAll(event, name, each.dead_letter) }, "Retry") : null] : null)));
      })))));
    main.querySelector(".titles p").textContent = `${number(stats.workers)} ${stats.workers === 1 ? "worker holds" : "workers hold"} a lease`;
  }

  async function retryAll(event, name, count) {
    const button = event.currentTarget;
    if (!(await confirm(`Retry ${number(count)} dead letters?`, `All dead letters of the queue ${name} wait again, from their first attempt.`, "Retry them"))) return;
    await busy(button, async () => {
      const { changed } = await api.post(`/queues/${encodeURIComponent(name)}/retry`);
      toast(`${number(changed)} jobs wait again.`);
      await look();
    });
  }

  function act(event, path) {
    return busy(event.currentTarget, async () => { await api.post(path); await look(); });
  }

  function drawJobs(jobs) {
    if (document.activeElement?.closest("tr.row") && list.contains(document.activeElement)) {
      const focused = document.activeElement.dataset.job;
      drawRows(jobs);
      list.querySelector(`[data-job="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
    } else drawRows(jobs);
  }

  function drawRows(jobs) {
    if (!jobs.length) { fill(list, empty("jobs", "No jobs", "No job fits this choice.")); return; }
    const body = h("tbody", jobs.map((job) => h("tr.row", { tabIndex: 0, "data-job": job.id, "aria-label": `Job ${job.job_type} ${job.id}`, onclick: () => open(job.id) },
      h("td", h("b", job.job_type), h("div.soft.small.mono.cut", job.id)), h("td", h("span.badge", { class: KINDS[job.status] ?? "" }, word(job.status))),
      h("td.wide", job.queue), h("td.number.wide", `${job.attempt} of ${job.max_retries + 1}`), h("td.nowrap.wide", ago(job.created_at)),
      h("td.value", job.error ?? (job.progress === null || job.progress === undefined ? "" : `${Math.round(job.progress * 100)} %`)))));
    rowKeys(body);
    fill(list, h("div.scroll", h("table", h("thead", h("tr", h("th", "Job"), h("th", "Status"), h("th.wide", "Queue"), h("th.number.wide", "Attempt"), h("th.wide", "Enqueued"), h("th", "Last error"))), body)));
  }

  async function open(id) {
    const job = await busy(null, () => api.get(`/jobs/${encodeURIComponent(id)}`));
    if (!job) return;
    await dialog((close) => {
      const failure = h("div");
      const doing = (what, said) => (event) => busy(event.currentTarget, async () => {
        await api.post(`/jobs/${encodeURIComponent(id)}/${what}`);
        toast(said);
        close();
        await look();
      }, failure);
      const facts = [["Status", h("span.badge", { class: KINDS[job.status] ?? "" }, word(job.status))], ["Queue", job.queue], ["Priority", job.priority], ["Attempts", `${job.attempt} of ${job.max_retries + 1}`],
        ["Enqueued", job.created_at], ["Not before", job.run_at], ["Ended", job.finished_at], ["Progress", job.progress === null ? null : `${Math.round(job.progress * 100)} % ${job.note ?? ""}`], ["Worker", job.worker]];
      const ended = ["completed", "dead_letter", "cancelled"].includes(job.status);
      return h("div.sheet", dialogHead(job.job_type, close, job.id), h("div.body",
        h("dl.facts", facts.filter(([, value]) => value !== null && value !== undefined && value !== "").flatMap(([name, value]) => [h("dt", name), h("dd", value)])),
        h("h3", "Arguments"), h("pre", toJson(job.payload, 2)),
        job.result === null || job.result === undefined ? null : [h("h3", "Result"), h("pre", toJson(job.result, 2))],
        job.errors?.length ? [h("h3", "Errors"), job.errors.map((error) => h("div.stack", h("div.alert.mono", `Attempt ${error.attempt}: ${error.error_type ? `${error.error_type}: ` : ""}${error.message}`), error.traceback ? h("pre.soft", error.traceback) : null))] : null, failure),
      h("footer", isAdmin && !ended ? h("button.button.danger", { type: "button", onclick: doing("cancel", "The job is cancelled.") }, "Cancel the job") : null,
        isAdmin && ["dead_letter", "cancelled", "failed"].includes(job.status) ? h("button.button.primary", { type: "button", onclick: doing("retry", "The job waits again.") }, icon("refresh"), "Retry") : null,
        h("button.button", { type: "button", autofocus: true, onclick: () => close() }, "Close")));
    }, { drawer: true, label: `Job ${job.job_type}` });
  }

  if (!api.may("write")) {
    fill(main, empty("jobs", "Not for this token", "Jobs are shown to tokens that may write."));
    return null;
  }
  look();
  return () => { isOver = true; clearTimeout(timer); };
}
