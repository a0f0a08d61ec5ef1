// Charts by uPlot, each with a sentence for those who do not see it, a legend, a read-out and a table.
import { el, put, table } from "./dom.js";
import * as format from "./format.js";

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const FONT = "11px system-ui, sans-serif";
const HEIGHT = 200;
const charts = new Set();

function axes(time, write) {
  const line = { stroke: colour("grid"), width: 1 };
  const common = { stroke: colour("quiet"), font: FONT, ticks: { show: false } };
  return [
    { ...common, grid: { show: false }, size: 28, space: 56, values: (_, at, _axis, _space, every) => at.map((x) => (time ? tick(x, every) : x.toFixed(1))) },
    { ...common, grid: line, space: 36, size: 62, values: (_, at) => at.map((y) => write(y)) },
  ];
}

// One chart in a section. `show(model)` draws what is new; the chart itself is kept while its series stay.
export class Chart {
  constructor(section, empty) {
    this.empty = empty;
    this.readout = el("div", { class: "readout", "aria-hidden": "true" });
    this.holder = el("div", { class: "chart", role: "img" });
    this.none = el("p", { class: "none", hidden: true }, empty);
    this.legend = el("ul", { class: "legend" });
    this.table = el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table" });
    this.details = el("details", { ontoggle: () => this.tabulate() }, el("summary", {}, "As a table"), this.table);
    section.append(this.readout, this.holder, this.none, this.legend, this.details);
    this.plot = null;
    this.model = null;
    new ResizeObserver(() => this.fit()).observe(this.holder);
    charts.add(this);
  }

  fit() {
    const width = this.holder.clientWidth;
    if (this.plot && width && width !== this.plot.width) this.plot.setSize({ width, height: HEIGHT });
  }

  show(model) {
    this.model = model;
    const nothing = !model || !model.series.some((each) => each.values.some((v) => v));
    this.holder.hidden = this.legend.hidden = this.details.hidden = this.readout.hidden = nothing;
    this.none.hidden = !nothing;
    if (nothing) {
      this.drop();
      return;
    }
    this.holder.setAttribute("aria-label", model.sentence);
    const shape = JSON.stringify([model.stacked, model.x.length > 1 ? model.step : 0, model.series.map((each) => [each.name, each.colour, each.line])]);
    const data = drawn(model);
    if (this.plot && shape === this.shape) this.plot.setData(data);
    else {
      this.drop();
      this.shape = shape;
      this.plot = new uPlot(options(this), data, this.holder);
    }
    this.say(null);
    put(this.legend, model.series.map((each) =>
      el("li", {}, el("span", { class: each.line ? "swatch line" : "swatch", colour: colour(each.colour) }),
        el("span", { class: "name" }, each.name), each.amount ? el("span", { class: "amount" }, each.amount) : null)));
    this.tabulate();
  }

  drop() {
    this.plot?.destroy();
    this.plot = null;
    this.shape = null;
  }

  again() {
    if (this.model) {
      this.drop();
      this.show(this.model);
    }
  }

  // What the pointer is at, in words; the whole range where it is nowhere.
  say(place) {
    const { model } = this;
    if (place === null || place === undefined || place >= model.x.length) {
      put(this.readout, el("span", {}, model.unit), el("span", {}, model.whole ?? ""));
      return;
    }
    const there = model.series.filter((each) => each.values[place]).slice(0, 4);
    const said = there.map((each) => `${short(each.name)} ${model.write(each.values[place])}`).join(" · ");
    put(this.readout, el("span", {}, model.at(place)), el("span", {}, said || "nothing"));
  }

  tabulate() {
    if (!this.details.open || !this.model) return;
    const { model } = this;
    const rows = model.x.map((_, place) => place);
    put(this.table, table(
      [[model.axis, model.at, false], ...model.series.map((each) => [each.name, (place) => model.write(each.values[place]), true])],
      rows, { caption: model.sentence }));
  }
}

// Of a time axis: days by their date, within a day the hour; midnight says which day begins.
function tick(t, every) {
  const [day, hour] = [format.day(t), format.clock(t)];
  return every >= 86400 || hour === "00:00:00" ? day : every >= 60 ? hour.slice(0, 5) : hour;
}

const short = (name) => (name.length > 22 ? `${name.slice(0, 21)}…` : name);

// What is stacked is drawn from the top down, each bar over the one before it.
function drawn(model) {
  if (!model.stacked) return [model.x, ...model.series.map((each) => each.values)];
  const heights = new Array(model.x.length).fill(0);
  const columns = [];
  for (const each of [...model.series].reverse()) {
    each.values.forEach((value, place) => (heights[place] += value || 0));
    columns.unshift([...heights]);
  }
  return [model.x, ...columns];
}

function options(chart) {
  const { model } = chart;
  const bars = uPlot.paths.bars({ size: [0.86, 28], align: model.axis === "From" ? 1 : 0 });
  return {
    width: chart.holder.clientWidth || 300,
    height: HEIGHT,
    tzDate: (t) => uPlot.tzDate(new Date(1000 * t), "UTC"),
    legend: { show: false },
    padding: [10, 14, 0, 0],
    cursor: { y: false, points: { show: !model.stacked, size: 7 }, drag: { x: false, y: false } },
    scales: {
      x: { time: model.time, range: () => [chart.model.from, chart.model.to] },
      y: { range: (_, low, high) => chart.model.fixed ?? [0, Number.isFinite(high) && high > 0 ? 1.08 * high : 1] },
    },
    axes: axes(model.time, (y) => (chart.model.axisWrite ?? chart.model.write)(y)),
    series: [{}, ...model.series.map((each) => each.line
      ? { stroke: colour(each.colour), width: 2, spanGaps: false, points: { show: model.points ?? false, size: 7, fill: colour(each.colour) }, dash: each.dash }
      : { fill: colour(each.colour), stroke: colour("card"), width: 1, paths: bars, points: { show: false } })],
    hooks: { setCursor: [(plot) => chart.say(plot.cursor.idx)], draw: [(plot) => chart.model.draw?.(plot, colour)] },
  };
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach((each) => each.again()));

// Colours follow who is shown, not the place: another range does not repaint those that stay. Of those that are shown
// together, eight at most, no two have the same; a newcomer gets one that nobody had, else of one who is not shown.
const COLOURS = ["c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8"];
const taken = new Map();
export function colours(kind, names) {
  const known = taken.get(kind) ?? taken.set(kind, new Map()).get(kind);
  for (const name of names) {
    if (known.has(name)) continue;
    const had = [...known.values()], here = names.map((each) => known.get(each));
    const free = COLOURS.find((each) => !had.includes(each)) ?? COLOURS.find((each) => !here.includes(each));
    for (const [other, colour] of known) if (colour === free) known.delete(other);
    known.set(name, free);
  }
  return known;
}
