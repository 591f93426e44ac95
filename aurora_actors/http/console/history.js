// What the processes have done lately: /tree is asked every two seconds and kept for ten minutes.

const EVERY_MS = 2000;
const MOST = 300;

export class History extends EventTarget {
  constructor(api) {
    super();
    this.api = api;
    this.samples = [];
    this.failure = null;
    this.timer = null;
  }

  start() {
    const look = async () => {
      await this.look();
      if (this.timer !== null) this.timer = setTimeout(look, EVERY_MS);
    };
    this.timer = 0;
    look();
  }

  stop() {
    clearTimeout(this.timer);
    this.timer = null;
  }

  get last() { return this.samples.at(-1) ?? null; }

  get isReady() { return this.last?.tree.actors.every((actor) => actor.state === "ready") ?? false; }

  async look() {
    try {
      const tree = await this.api.get("/tree");
      this.failure = null;
      this.samples.push({ at: Date.now(), tree, rates: rates(this.last, tree) });
      if (this.samples.length > MOST) this.samples.shift();
    } catch (error) {
      this.failure = error;
    }
    this.dispatchEvent(new Event("sample"));
  }
}

/** What has changed since the sample before, by the second; nothing across a restart. */
function rates(before, tree) {
  const found = {};
  const old = new Map((before?.tree.actors ?? []).map((actor) => [actor.name, actor]));
  const seconds = before ? (Date.now() - before.at) / 1000 : 0;
  for (const actor of tree.actors) {
    const past = old.get(actor.name);
    if (!past || past.pid !== actor.pid || seconds <= 0) continue;
    const rate = (name) => Math.max(0, ((actor.values[name] ?? 0) - (past.values[name] ?? 0)) / seconds);
    found[actor.name] = {
      cpu: actor.cpu_seconds === null || past.cpu_seconds === null ? null : Math.max(0, ((actor.cpu_seconds - past.cpu_seconds) / seconds) * 100),
      of: rate,
    };
  }
  return found;
}

/** The sum of a counter's rate over the actors whose names begin so; null before there are two samples. */
export function rateOf(sample, actor, ...names) {
  let sum = null;
  for (const [name, rate] of Object.entries(sample.rates)) {
    if (name.startsWith(actor)) sum = (sum ?? 0) + names.reduce((all, each) => all + rate.of(each), 0);
  }
  return sum;
}
