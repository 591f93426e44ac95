// Charts over time: lines with an area, drawn as SVG; the pointer or the arrow keys read values.

import { fill, h, s } from "./dom.js";
import { clock } from "./format.js";

const WIDTH = 600;
const HEIGHT = 120;

/** A chart; update(times, series) draws [{name, values}], where null is a gap. */
export class Chart {
  constructor(title, { format, floor = 1, base = 10 }) {
    this.title = title;
    this.format = format;
    this.floor = floor;
    this.base = base;
    this.times = [];
    this.series = [];
    this.output = h("output", "");
    this.drawing = s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", tabindex: "0" });
    this.legend = h("ul.legend");
    this.element = h("figure.card.chart", h("figcaption", h("b", title), this.output), this.drawing, this.legend);
    this.at = null;
    this.drawing.addEventListener("pointermove", (event) => {
      const box = this.drawing.getBoundingClientRect();
      this.point(Math.round(((event.clientX - box.left) / box.width) * (this.times.length - 1)));
    });
    this.drawing.addEventListener("pointerleave", () => this.point(null));
    this.drawing.addEventListener("blur", () => this.point(null));
    this.drawing.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      this.point((this.at ?? this.times.length - 1) + step);
    });
  }

  point(at) {
    this.at = at === null ? null : Math.max(0, Math.min(this.times.length - 1, at));
    this.draw();
  }

  update(times, series) {
    this.times = times;
    this.series = series;
    this.draw();
  }

  draw() {
    const { times, series } = this;
    const top = nice(Math.max(this.floor, ...series.flatMap((each) => each.values.filter((value) => value !== null))), this.base);
    const x = (i) => (times.length < 2 ? WIDTH : (i / (times.length - 1)) * WIDTH);
    const y = (value) => HEIGHT - (value / top) * (HEIGHT - 8);
    const parts = [0.5, 1].map((share) => s("line", { class: "grid", x1: 0, x2: WIDTH, y1: y(top * share), y2: y(top * share), "vector-effect": "non-scaling-stroke" }));
    parts.push(s("line", { class: "grid", x1: 0, x2: WIDTH, y1: HEIGHT, y2: HEIGHT, "vector-effect": "non-scaling-stroke" }));
    series.forEach((each, i) => {
      const line = pathOf(each.values, x, y);
      if (series.length <= 2 && line) {
        const first = each.values.findIndex((value) => value !== null);
        parts.push(s("path", { class: `area s${i % 8}`, d: `${line} L${x(each.values.length - 1)},${HEIGHT} L${x(first)},${HEIGHT} Z` }));
      }
      parts.push(s("path", { class: `line s${i % 8}`, d: line }));
    });
    if (this.at !== null) parts.push(s("line", { class: "cursor", x1: x(this.at), x2: x(this.at), y1: 0, y2: HEIGHT, "vector-effect": "non-scaling-stroke" }));
    fill(this.drawing, parts);
    this.tell(top);
  }

  tell(top) {
    const at = this.at ?? this.times.length - 1;
    const said = (each) => (each.values[at] === null || each.values[at] === undefined ? "–" : this.format(each.values[at]));
    fill(this.legend, this.series.map((each, i) => h("li", { class: `s${i % 8}` }, h("i"), `${each.name} `, h("b", said(each)))));
    this.output.textContent = this.at === null ? `up to ${this.format(top)}` : clock(new Date(this.times[at]));
    const now = this.series.map((each) => `${each.name} ${said(each)}`).join(", ");
    this.drawing.setAttribute("aria-label", `${this.title}: ${now}. Arrow keys read earlier values.`);
  }
}

function pathOf(values, x, y) {
  let path = "";
  let isDown = false;
  values.forEach((value, i) => {
    if (value === null) { isDown = false; return; }
    path += `${isDown ? "L" : "M"}${x(i).toFixed(1)},${y(value).toFixed(1)}`;
    isDown = true;
  });
  return path;
}

/** The next round number, in thousands or in 1024s. */
function nice(value, base) {
  const unit = base === 1024 ? 1024 ** Math.floor(Math.log(value) / Math.log(1024)) : 1;
  const size = 10 ** Math.floor(Math.log10(value / unit));
  return [1, 2, 2.5, 5, 10].map((step) => step * size * unit).find((step) => step >= value);
}
