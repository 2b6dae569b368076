// What the interactive figures share: controls, text that is read aloud, and charts that follow the page's width.
"use strict";

const interactive = {
  // Where the page has the figure of this name, build(data, ui) adds its controls and charts and returns update(),
  // which draws and returns [what to read aloud, more text]. It runs after every change.
  figure(name, build) {
    for (const root of document.querySelectorAll(`[data-figure="${name}"]`)) {
      const ui = new Panel(root), update = build(JSON.parse(root.nextElementSibling.textContent), ui);
      ui.refresh = () => ui.say(update());
      let width = 0;
      new ResizeObserver(() => {
        if (root.clientWidth === width) return;
        width = root.clientWidth;
        ui.refresh();
      }).observe(root);
      root.closest(".interactive").classList.add("running"); // hides the drawing
    }
  },

  // A number with a few digits: 1.3, -0.25, 2.2e-16.
  short(value, digits = 2) {
    const rounded = Number(value.toPrecision(digits));
    return rounded && Math.abs(rounded) < 1e-3 ? rounded.toExponential() : rounded.toString();
  },
};

// An element of HTML or, with a namespace, of SVG.
function element(name, attributes = {}, children = [], space = "http://www.w3.org/1999/xhtml") {
  const made = document.createElementNS(space, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...[children].flat());
  return made;
}

class Panel {
  constructor(root) {
    this.root = root;
    this.controls = element("div", { class: "controls" });
    this.charts = element("div");
    this.status = element("p", { class: "status", role: "status", "aria-live": "polite" });
    this.more = element("p", { class: "more" });
    root.append(this.controls, this.charts, this.status, this.more);
  }

  // A row of the controls: a label, the control, what else stands beside it.
  control(text, parts) {
    parts[0].id = `${this.root.dataset.figure}-${this.controls.childElementCount}`;
    const row = element("div", { class: "control" }, [element("label", { for: parts[0].id }, text), ...parts]);
    this.controls.append(row);
    return row;
  }

  // A labelled slider; show(value) is what stands beside it.
  slider(text, { min, max, step = 1, value, show = String }) {
    const input = element("input", { type: "range", min, max, step, value });
    const output = element("output", { "aria-live": "off" }); // the slider itself tells its value
    const changed = () => input.setAttribute("aria-valuetext", (output.value = show(+input.value)));
    input.addEventListener("input", () => (changed(), this.refresh()));
    this.control(text, [input, output]);
    changed();
    return input;
  }

  check(text, checked) {
    const input = element("input", { type: "checkbox" });
    input.checked = checked;
    input.addEventListener("input", () => this.refresh());
    this.control(text, [input]).classList.add("check");
    return input;
  }

  choice(text, options) {
    const select = element("select", {}, options.map((name) => element("option", {}, name)));
    select.addEventListener("input", () => this.refresh());
    this.control(text, [select]);
    return select;
  }

  // A chart as wide as the page allows: draw(chart) adds to it.
  chart(height, draw) {
    const place = element("div", { class: "chart" });
    this.charts.append(place);
    return () => {
      const chart = new Chart(this.root.clientWidth || 640, height, this.root.dataset.alt);
      draw(chart);
      place.replaceChildren(chart.svg);
    };
  }

  say([status, more = ""]) {
    this.status.textContent = status;
    this.more.textContent = more;
  }
}

// An SVG picture in pixels. Classes give the colours, so it follows light and dark.
class Chart {
  constructor(width, height, alt) {
    [this.width, this.height, this.left, this.right, this.top, this.bottom] = [width, height, 44, width - 6, 8, height - 34];
    this.svg = this.make("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": alt });
  }

  make(name, attributes, children = []) {
    return element(name, attributes, children, "http://www.w3.org/2000/svg");
  }

  add(name, attributes, children) {
    const made = this.make(name, attributes, children);
    this.svg.append(made);
    return made;
  }

  // The scales: values to pixels.
  scale(x0, x1, y0, y1) {
    this.x = (v) => this.left + ((v - x0) / (x1 - x0)) * (this.right - this.left);
    this.y = (v) => this.bottom - ((v - y0) / (y1 - y0)) * (this.bottom - this.top);
  }

  // Points [x, y] in values, joined.
  line(points, kind, style = "") {
    const d = points.map(([x, y]) => `${this.x(x).toFixed(1)},${this.y(y).toFixed(1)}`).join(" ");
    return this.add("polyline", { points: d, class: kind, style });
  }

  dot(x, y, kind, r = 3) {
    return this.add("circle", { cx: this.x(x), cy: this.y(y), r, class: kind });
  }

  text(x, y, words, attributes = {}) {
    return this.add("text", { x, y, ...attributes }, words);
  }

  // A rectangle between two corners in values.
  bar(x0, y0, x1, y1, kind) {
    const [left, top, right, bottom] = [this.x(x0), this.y(y1), this.x(x1), this.y(y0)];
    const [y, height] = [Math.min(top, bottom), Math.abs(bottom - top)];
    return this.add("rect", { x: left, y, width: right - left, height, class: kind });
  }

  // Ticks {value: words} along an axis, and its name.
  axis(side, ticks, name) {
    for (const [value, words] of ticks) {
      if (side === "x") this.text(this.x(value), this.bottom + 15, words, { "text-anchor": "middle" });
      else this.text(this.left - 6, this.y(value) + 4, words, { "text-anchor": "end" });
    }
    if (side === "x") this.text((this.left + this.right) / 2, this.bottom + 30, name, { "text-anchor": "middle" });
    else this.text(12, (this.top + this.bottom) / 2, name, {
      "text-anchor": "middle", transform: `rotate(-90 12 ${(this.top + this.bottom) / 2})`,
    });
  }
}
