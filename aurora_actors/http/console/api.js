// The gateway as the console uses it: requests with the token, problems as errors, one WebSocket for streams.

import { parseJson, toJson } from "./format.js";

export class Problem extends Error {
  constructor(status, body) {
    super(body.detail ?? `The gateway answered ${status}.`);
    this.status = status;
    this.code = body.code ?? "";
    this.context = body.context ?? {};
  }
}

export class Api extends EventTarget {
  constructor(token) {
    super();
    this.token = token;
    this.grant = null;
    this.streams = new Streams(this);
  }

  async request(method, path, body, { headers = {}, signal } = {}) {
    let response;
    try {
      response = await fetch(path, {
        method, signal, cache: "no-store",
        headers: {
          Authorization: `Bearer ${this.token}`,
          ...(body === undefined ? {} : { "Content-Type": "application/json" }), ...headers,
        },
        body: body === undefined ? undefined : toJson(body),
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Problem(0, { detail: "The gateway cannot be reached.", code: "unreachable" });
    }
    const text = await response.text();
    let found = null;
    if (text) {
      try { found = parseJson(text); } catch { found = { detail: text.slice(0, 200) }; }
    }
    if (!response.ok) {
      if (response.status === 401) this.dispatchEvent(new Event("signedout"));
      throw new Problem(response.status, found ?? {});
    }
    return { data: found, etag: response.headers.get("ETag"), status: response.status };
  }

  async get(path, options) { return (await this.request("GET", path, undefined, options)).data; }
  async post(path, body, options) { return (await this.request("POST", path, body, options)).data; }
  async patch(path, body, options) { return (await this.request("PATCH", path, body, options)).data; }
  async delete(path, options) { return (await this.request("DELETE", path, undefined, options)).data; }

  role(collection) {
    const names = ["none", "read", "write", "admin"];
    return names.indexOf(this.grant.collections[collection] ?? this.grant.role);
  }

  may(role, collection) { return this.role(collection) >= ["none", "read", "write", "admin"].indexOf(role); }
}

export const path = (...parts) => parts.map((part, i) => (i % 2 ? encodeURIComponent(part) : part)).join("/");
export const docs = (collection, id) =>
  `/collections/${encodeURIComponent(collection)}/docs${id === undefined ? "" : `/${encodeURIComponent(id)}`}`;

/** Streams over one WebSocket; after a break they go on behind the last event they saw. */
class Streams {
  constructor(api) {
    this.api = api;
    this.open = new Map();
    this.count = 0;
    this.socket = null;
    this.wait = 250;
  }

  /** Begins a stream; `on` gets its frames. Returns what ends it. */
  start(frame, on) {
    const stream = String(++this.count);
    const entry = { frame: { ...frame, stream }, on, token: frame.since ?? null };
    this.open.set(stream, entry);
    this.connect();
    if (this.isReady) this.send(entry);
    return () => {
      if (!this.open.delete(stream)) return;
      if (this.isReady) this.socket.send(toJson({ op: "stop", stream }));
      if (!this.open.size) this.close();
    };
  }

  get isReady() { return this.socket?.readyState === WebSocket.OPEN; }

  send(entry) {
    const since = entry.token ? { since: entry.token } : {};
    this.socket.send(toJson({ ...entry.frame, ...since }));
  }

  connect() {
    if (this.socket) return;
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`);
    this.socket = socket;
    socket.onopen = () => {
      this.wait = 250;
      socket.send(toJson({ op: "auth", token: this.api.token }));
      for (const entry of this.open.values()) this.send(entry);
    };
    socket.onmessage = (event) => this.take(parseJson(event.data));
    socket.onclose = (event) => {
      if (this.socket !== socket) return;
      this.socket = null;
      for (const { on } of this.open.values()) on({ type: "disconnected" });
      if (event.code === 1008) this.api.dispatchEvent(new Event("signedout"));
      else if (this.open.size) {
        setTimeout(() => { if (this.open.size) this.connect(); }, this.wait);
        this.wait = Math.min(this.wait * 2, 5000);
      }
    };
  }

  take(frame) {
    const entry = this.open.get(frame.stream);
    if (!entry) return;
    if (frame.token) entry.token = frame.token;
    if (frame.type === "error" && !frame.retryable) this.open.delete(frame.stream);
    entry.on(frame);
  }

  close() {
    const socket = this.socket;
    this.socket = null;
    this.open.clear();
    socket?.close();
  }
}
