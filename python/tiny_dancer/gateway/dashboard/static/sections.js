// What each part of the page shows of the data it is given.
import { Chart, colours } from "./charts.js";
import { byId, el, put, table } from "./dom.js";
import * as format from "./format.js";

const { clock, count, decimal, moment, money, seconds, share } = format;
const sum = (values) => values.reduce((all, value) => all + (value || 0), 0);
const EMPTY = "No requests in this range.";

const spend = new Chart(byId("spend"), EMPTY);
const requests = new Chart(byId("requests"), EMPTY);
const latency = new Chart(byId("latency"), EMPTY);
const failures = new Chart(byId("failures"), "No errors and no fallbacks in this range.");
const calibration = new Chart(byId("calibration"), "No feedback about routed requests in this range. Clients give it by /v1/feedback.");
const confidence = new Chart(byId("confidence"), "No routed requests in this range.");

const NONE = { model: "no model served", router: "not routed", routed_by: "not routed" };
const word = (by) => by.replace("_", " ");
const shown = (by, group) =>
  (group.rest ? plural(group.of, "other") : group.group === null ? "removed" : group.name || NONE[by] || `no ${word(by)}`);

export function total(data) {
  const t = data.total;
  if (!t) {
    put(byId("total"), figure("Requests", "0", "None in this range yet."));
    return;
  }
  const spent = t.guessed_cost ? `${money(t.guessed_cost)} of it guessed` : t.unpriced ? `${plural(t.unpriced, "request")} without a price` : "every request has a price";
  const gone = t.unknown ? `; ${count(t.unknown)} removed since, not counted` : "";
  put(byId("total"),
    figure("Spent", money(t.spent), spent),
    figure(t.saved < 0 ? "Lost by routing" : "Saved", t.compared ? money(Math.abs(t.saved)) : "–",
      t.compared ? `${share(t.saved_share)} of ${money(t.baseline_cost)}, the strongest model’s` : "nothing to compare"),
    figure("Requests", count(t.requests), `${count(t.input_tokens)} tokens in, ${count(t.output_tokens)} out${gone}`),
    figure("Failed", share(t.requests ? t.errors / t.requests : 0), `${plural(t.errors, "error")}, ${plural(t.fallbacks, "fallback")}`),
    figure("Median latency", seconds(t.latency_p50), t.latency_p50 === null ? "not known of removed requests" : `p90 ${seconds(t.latency_p90)}, p99 ${seconds(t.latency_p99)}`),
    figure("Feedback", t.feedback ? decimal(t.score) : "–", t.feedback ? `${decimal(t.score_low)} to ${decimal(t.score_high)}, from ${count(t.feedback)}` : "none given"),
    figure("Guaranteed", share(t.guarded_share), t.guarded ? `${plural(t.guarded, "request")} under a certificate` : "no certificate covers these"));
}

const plural = (n, word) => `${count(n)} ${word}${n === 1 ? "" : "s"}`;

const figure = (title, value, note) =>
  el("div", {}, el("dt", {}, title), el("dd", { class: "value" }, value), el("dd", { class: "note" }, note));

export function traffic(data) {
  const { starts, step, groups, by } = data;
  const common = {
    x: starts, step, time: true, from: data.since, to: Math.max(data.until, data.since + step),
    axis: "From", at: (place) => moment(starts[place], step),
  };
  const coloured = colours(by, groups.filter((group) => !group.rest).map((group) => group.group));
  const stacked = (field, write) => groups.map((group) => ({
    name: shown(by, group), colour: group.rest ? "c0" : coloured.get(group.group), values: group[field], amount: write(sum(group[field])),
  })).filter((each) => each.values.some((value) => value));
  const spent = sum(groups.map((group) => sum(group.spent)));
  const asked = sum(groups.map((group) => sum(group.requests)));
  const per = `per ${seconds(step).replace(/^24 h$/, "day").replace(/^60\.0 s$/, "minute")}`;
  spend.show({ ...common, stacked: true, series: stacked("spent", money), write: money, unit: `USD ${per}`, whole: `${money(spent)} in all`,
    sentence: `Spend by ${word(by)} over time: ${money(spent)} in all. ${first(groups, by, "spent", money)}` });
  requests.show({ ...common, stacked: true, series: stacked("requests", count), write: count, unit: `requests ${per}`, whole: `${count(asked)} in all`,
    sentence: `Requests by ${word(by)} over time: ${count(asked)} in all. ${first(groups, by, "requests", count)}` });
  const { p50, p90, p99 } = data.latency;
  latency.show({ ...common, write: seconds, unit: "median, 90th and 99th percentile", whole: "",
    series: [["p99", p99, "p99"], ["p90", p90, "p90"], ["p50", p50, "p50"]].map(([name, values, colour]) => ({ name, values, colour, line: true })),
    points: starts.filter((_, place) => p50[place] !== null).length < 40,
    sentence: `Latency over time: the slowest step's median is ${seconds(Math.max(...p50.map((v) => v ?? 0)))}.` });
  const failed = sum(data.errors), fell = sum(data.fallbacks);
  failures.show({ ...common, stacked: true, write: count, unit: `requests ${per}`, whole: `${count(failed)} errors, ${count(fell)} fallbacks`,
    series: [{ name: "errors", colour: "c6", values: data.errors, amount: count(failed) }, { name: "fallbacks", colour: "c3", values: data.fallbacks, amount: count(fell) }].filter((each) => sum(each.values)),
    sentence: `Errors and fallbacks over time: ${count(failed)} errors, ${count(fell)} requests that another model than the first served.` });
  breakdown(data);
}

function first(groups, by, field, write) {
  const best = [...groups].sort((a, b) => sum(b[field]) - sum(a[field]))[0];
  return best ? `Most: ${shown(by, best)}, ${write(sum(best[field]))}.` : "";
}

function breakdown({ by, groups }) {
  put(byId("h-groups"), `By ${word(by)}`);
  if (!groups.length) {
    put(byId("groups"), el("p", { class: "quiet" }, EMPTY));
    return;
  }
  put(byId("groups"), table([
    [word(by)[0].toUpperCase() + word(by).slice(1), (g) => shown(by, g), false],
    ["Requests", (g) => count(g.sums.requests), true],
    ["Failed", (g) => (g.sums.errors ? `${count(g.sums.errors)} (${share(g.sums.errors / g.sums.requests)})` : "0"), true],
    ["Tokens in", (g) => count(g.sums.input_tokens), true],
    ["Tokens out", (g) => count(g.sums.output_tokens), true],
    ["Spent", (g) => money(g.sums.spent), true],
    ["Saved", (g) => (g.sums.compared ? money(g.sums.saved) : "–"), true],
    ["p50", (g) => seconds(g.sums.latency_p50), true],
    ["p99", (g) => seconds(g.sums.latency_p99), true],
    ["Score", (g) => (g.sums.feedback ? `${decimal(g.sums.score)} of ${count(g.sums.feedback)}` : "–"), true],
  ], groups, { caption: `Sums of the range by ${word(by)}` }));
}

export function calibrated(data) {
  const bins = data.bins.filter((bin) => bin.feedback);
  const all = sum(bins.map((bin) => bin.feedback));
  const place = (bin) => `${decimal(bin.low, 1)} to ${decimal(bin.high, 1)}: of ${count(bin.feedback)}`;
  calibration.show({
    x: bins.map((bin) => bin.expected), step: 0, time: false, from: 0, to: 1, fixed: [0, 1], axis: "Expected quality", at: (at) => place(bins[at]),
    write: (x) => decimal(x, 2), axisWrite: (x) => decimal(x, 2), unit: "score given, by quality expected", whole: `${count(all)} with feedback`, points: true,
    series: [
      { name: "mean score, with its 95 % interval", colour: "c1", line: true, values: bins.map((bin) => bin.score) },
    ],
    draw: (plot, colour) => reliability(plot, bins, colour),
    sentence: `Reliability: mean score given against the quality expected of the model that served, over ${count(all)} requests with feedback. ` +
      bins.map((bin) => `Expected ${decimal(bin.expected)}, got ${decimal(bin.score)} (${decimal(bin.score_interval[0])} to ${decimal(bin.score_interval[1])}) on ${count(bin.feedback)}.`).join(" "),
  });
  const decided = sum(data.confidence);
  const width = 1 / data.confidence.length;
  confidence.show({
    x: data.confidence.map((_, at) => at * width), step: width, time: false, from: 0, to: 1, axis: "From", at: (at) => `confidence ${decimal(at * width, 1)} to ${decimal((at + 1) * width, 1)}`,
    stacked: true, write: count, unit: "requests, by confidence of the decision", whole: `${count(decided)} decided`,
    series: [{ name: "requests", colour: "c1", values: data.confidence, amount: count(decided) }],
    sentence: `Confidence of ${count(decided)} decisions: chance that no other model would have been better.`,
  });
}

// The diagonal, on which what is expected is what comes, and the intervals.
function reliability(plot, bins, colour) {
  const { ctx } = plot;
  const x = (v) => plot.valToPos(v, "x", true), y = (v) => plot.valToPos(v, "y", true);
  ctx.save();
  ctx.strokeStyle = colour("c0");
  ctx.lineWidth = devicePixelRatio;
  ctx.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]);
  ctx.beginPath();
  ctx.moveTo(x(0), y(0));
  ctx.lineTo(x(1), y(1));
  ctx.stroke();
  ctx.setLineDash([]);
  ctx.strokeStyle = colour("c1");
  ctx.lineWidth = 1.5 * devicePixelRatio;
  for (const bin of bins) {
    ctx.beginPath();
    ctx.moveTo(x(bin.expected), y(bin.score_interval[0]));
    ctx.lineTo(x(bin.expected), y(bin.score_interval[1]));
    ctx.stroke();
  }
  ctx.restore();
}

const PERIODS = { "1d": "daily", "1w": "weekly", "1mo": "monthly" };

export function budgets(data) {
  list(byId("budgets"), data, "No budgets are set. tiny-dancer budget set makes one.", (each) => {
    const used = each.limit > 0 ? each.spent / each.limit : 1;
    const held = each.limit > 0 ? (each.reserved || 0) / each.limit : 0;
    const worse = used >= 1 ? "bad" : used >= 0.8 ? "warn" : "";
    return el("li", {},
      el("div", { class: "top" }, el("strong", {}, each.name), el("span", {}, `${money(each.spent)} of ${money(each.limit)}`)),
      el("div", { class: `meter ${worse}`, role: "img", "aria-label": `${share(used)} spent` },
        el("i", { width: `${100 * Math.min(used, 1)}%` }), el("i", { class: "held", width: `${100 * Math.min(held, Math.max(1 - used, 0))}%` })),
      el("p", { class: "quiet" }, [
        each.left > 0 ? `${money(each.left)} left` : "nothing left",
        each.reserved ? `${money(each.reserved)} reserved` : null, PERIODS[each.period] ?? each.period,
        each.soft ? "soft: it refuses nothing" : null,
        each.ends ? `${each.period.startsWith("rolling") ? "money comes back" : "starts anew"} ${moment(each.ends, 60)}` : null].filter(Boolean).join(" · ")),
      each.forecast && each.left > 0 ? el("p", { class: "quiet" }, ahead(each.forecast)) : null);
  });
}

// When it runs out, as far as that can be told.
function ahead({ unknown, probability, runs_out, earliest, latest, until, level }) {
  if (unknown || probability === null) return `No forecast: ${unknown || "nothing to go by"}.`;
  if (runs_out === null) return `Lasts until ${format.date(until)}, by all likelihood: it runs out before with a chance of ${probability < 0.01 ? "less than 1 %" : share(probability)}.`;
  const later = latest === null ? "the end of the period or later" : moment(latest, 3600);
  return `Likely to run out ${moment(runs_out, 3600)}; between ${moment(earliest, 3600)} and ${later} at ${share(level)}.`;
}

export function standing(data) {
  list(byId("drift"), data.drift, "No router has counted decisions yet, or none watches its requests.", (each) => {
    const rung = each.since !== null;
    const far = way(each.capital, each.threshold);
    const alarms = each.alarms ?? [];
    const name = data.expected_workers > 1 ? `${each.router}, worker ${each.worker}` : each.router;
    return el("li", {},
      el("div", { class: "top" }, el("strong", {}, name),
        rung ? pill("bad", each.withdrawn ? "rung: guarantee withdrawn" : "rung") : pill("good", "quiet")),
      el("div", { class: rung ? "meter bad" : "meter", role: "img", "aria-label": `${share(far)} of the way to an alarm, on a logarithmic scale` }, el("i", { width: `${100 * far}%` })),
      el("p", { class: "quiet" }, rung
        ? `${told(alarms)}Since decision ${count(each.since)} of this watch its requests are unlike those it was calibrated on.`
        : `Betting against “nothing has changed” has made ${decimal(each.capital, each.capital < 10 ? 2 : 0)} of 1 over ${count(each.observed)} decisions; it rings at ${count(each.threshold)}.`),
      alarms.length ? keep(`drift/${name}`, el("details", {}, el("summary", {}, "Alarms and distances"),
        el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Alarms of ${name}` }, table([
          ["Alarm", (a) => a.name, false],
          ["", (a) => (a.since === null ? pill("good", "quiet") : pill("bad", `rung at ${count(a.since)}`)), false],
          ["Seen", (a) => count(a.observed), true],
          ["Capital", (a) => decimal(a.capital), true],
          ["Note", (a) => a.note || a.watches || "", false],
        ], alarms, { caption: `Alarms of ${name}` }), table([
          ["Measure", (m) => m.name, false],
          ["PSI", (m) => decimal(m.psi, 3), true],
          ["usual", (m) => decimal(m.psi_alike, 3), true],
          ["KS", (m) => decimal(m.ks, 3), true],
          ["p", (m) => decimal(m.ks_p, 3), true],
          ["Of", (m) => count(m.window), true],
        ], each.measures ?? [], { caption: `Distances of ${name}, to look at: they are no alarms` })))) : null);
  });
  const states = { closed: ["good", "closed"], half_open: ["warn", "half-open"], open: ["bad", "open"] };
  const place = byId("deployments").querySelector(".content");
  put(place, data.deployments.length ? el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Deployments" }, table([
    ["Model", (d) => d.model, false],
    ["Upstream", (d) => d.upstream, false],
    ["Breaker", (d) => pill(...(states[d.state] ?? ["warn", d.state])), false],
    ["Opened", (d) => count(d.openings), true],
    ["Serving", (d) => count(d.in_flight), true],
    ["Resting", (d) => (d.resting ? seconds(d.resting) : "–"), true],
  ], data.deployments, { caption: "Deployments and their breakers" })) : el("p", {}, "None is configured."));
  put(byId("version"), `Tiny Dancer ${data.version}. `, data.workers.map((w) =>
    `Worker ${w.worker}: process ${w.pid}, ${format.bytes(w.memory_bytes)}, ${count(w.in_flight)} in flight, ${count(w.queued)} records to write, ${count(w.dropped)} lost. `));
}

export function agents(data) {
  const place = byId("agents").querySelector(".content");
  put(place, data.length ? el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Agents" }, table([
    ["Agent", (a) => a.name, false],
    ["Type", (a) => a.type, false],
    ["", (a) => pill(a.active ? "good" : "", a.active ? "active" : "inactive"), false],
    ["Outcomes", (a) => count(a.outcomes), true],
    ["Success", (a) => share(a.success), true],
    ["Quality", (a) => decimal(a.quality), true],
    ["Latency", (a) => seconds(a.latency), true],
  ], data, { caption: "Agents of the registry" })) : el("p", {}, "The registry has no agents. tiny-dancer agents add makes one."));
}

// Which alarms have rung; nothing where the watch does not tell them apart.
function told(alarms) {
  const rung = alarms.filter((each) => each.since !== null).map((each) => each.name);
  return rung.length ? `Rung: ${rung.join(", ")}. ` : "";
}

// How far a watch is on its way to an alarm, on a logarithmic scale.
const way = (capital, threshold) => Math.min(Math.max(Math.log(Math.max(capital ?? 0, 1)) / Math.log(threshold), 0), 1);

// What somebody has opened stays open when it is drawn anew.
const opened = new Set();
function keep(name, details) {
  details.open = opened.has(name);
  details.addEventListener("toggle", () => (details.open ? opened.add(name) : opened.delete(name)));
  return details;
}

function list(section, items, empty, item) {
  const place = section.querySelector(".content");
  put(place, items.length ? el("ul", { class: "items" }, items.map(item)) : el("p", {}, empty));
}

const pill = (kind, text) => el("span", { class: `pill ${kind}` }, text);

const REASONS = {
  gain_worth_cost: "The dearer model was expected to be better by more than it costs.",
  gain_too_small: "The dearer model was not expected to be enough better for what it costs.",
  best_value: "It had the best value by the policy.",
  best_constant: "The router never chooses: this model is best throughout.",
  pinned: "The request named it.",
  next_feasible: "What would have been chosen was not allowed; this was the next best.",
  prompt_cached: "The conversation is cached there; leaving would cost more than it brings.",
};
// What removes models and agents, in words; what is missing here says itself.
const WORDS = {
  context_window: "too small for the prompt",
  max_cost: "dearer than max_cost allows",
  max_latency: "slower than max_latency allows",
  min_quality: "not sure to be as good as min_quality asks",
  budget_remaining: "too dear for what is left of a budget",
  budget_exceeded: "its budget is spent",
  not_for_this_key: "not for this key",
  excluded: "excluded by the request",
  breaker: "its breaker is open",
  resting: "its upstream asks to wait",
  limit: "its deployments are at their limits",
  max_concurrency: "has as many requests as it may have at once",
  requests_per_minute: "has had the requests it may have in a minute",
  tokens_per_minute: "has had the tokens it may have in a minute",
  endpoint: "does not serve this endpoint or role",
  not_configured: "not in the configuration",
};
const open = new Set();

export function decisions(data) {
  const place = byId("decisions");
  if (!data.length) {
    put(place, el("p", { class: "quiet" }, "No requests yet. What the gateway serves appears here."));
    return;
  }
  const focused = document.activeElement?.dataset?.request;
  for (const id of open) if (!data.some((each) => each.id === id)) open.delete(id);
  const newest = data[0].time;
  const rows = data.flatMap((each) => {
    const button = el("button", { class: "why", type: "button", "aria-expanded": open.has(each.id), "data-request": each.id,
      onclick: () => { open.has(each.id) ? open.delete(each.id) : open.add(each.id); decisions(data); } },
      newest - each.time > 43200 ? moment(each.time, 60) : clock(each.time));
    const failed = each.error || each.status >= 400;
    const row = el("tr", {}, el("th", { scope: "row" }, button), el("td", {}, each.model || "–"),
      el("td", {}, each.router ? `${each.router}: ${each.routed_by}` : each.routed_by || "–"),
      el("td", { class: "number" }, decimal(each.confidence)), el("td", { class: "number" }, money(each.cost)),
      el("td", { class: "number" }, each.cost !== null && each.baseline_cost !== null ? money(each.baseline_cost - each.cost) : "–"),
      el("td", { class: "number" }, seconds(each.latency)),
      el("td", {}, failed ? pill("bad", each.error || String(each.status)) : each.fallbacks ? pill("warn", `fallback ${each.fallbacks}`) : pill("good", String(each.status))));
    return open.has(each.id) ? [row, el("tr", { class: "detail" }, el("td", { colspan: "8" }, why(each)))] : [row];
  });
  put(place, el("table", {}, el("caption", { class: "unseen" }, "The last requests, newest first"),
    el("thead", {}, el("tr", {}, [["Time", 0], ["Model", 0], ["Decided by", 0], ["Confidence", 1], ["Cost", 1], ["Saved", 1], ["Took", 1], ["Result", 0]]
      .map(([title, number]) => el("th", { scope: "col", class: number ? "number" : null }, title)))),
    el("tbody", {}, rows)));
  if (focused) [...place.querySelectorAll("button")].find((each) => each.dataset.request === focused)?.focus({ preventScroll: true });
}

function why(each) {
  const asked = `${each.endpoint}, asked for ${each.asked || "nothing by name"}${each.key ? `, by key ${each.key}` : ""}, at ${moment(each.time)}: ` +
    `${count(each.input_tokens)} tokens in${each.cached_tokens ? ` (${count(each.cached_tokens)} cached)` : ""}, ${count(each.output_tokens)} out.`;
  const reason = REASONS[each.reason] ?? (each.reason ? `Reason: ${each.reason}.` : each.routed_by === "client" ? "The client named the model." : "No reason was recorded.");
  const lines = [reason];
  const removed = Object.entries(each.removed ?? {}).map(([name, by]) => (name ? `${name}: ${WORDS[by] ?? by}` : by));
  if (removed.length) lines.push(`Left out: ${removed.join("; ")}.`);
  if (each.hops) lines.push(`Steps of the chain: ${each.hops}.`);
  if (each.level) lines.push(`Routing failed; fallback level ${each.level} answered.`);
  if (each.attempts > 1 || each.fallbacks) lines.push(`${count(each.attempts)} calls to upstreams, ${count(each.fallbacks)} models tried before the one that served.`);
  if (each.guessed) lines.push("Its tokens or cost are guessed: the upstream did not say.");
  return el("div", { class: "inner" }, el("p", {}, lines.join(" ")), el("p", { class: "quiet" }, asked),
    each.models.length ? el("div", { class: "scroll" }, table([
      ["Model", (m) => m.model, false],
      ["Expected quality", (m) => (m.score === null ? "–" : [el("span", { class: "score" }, el("i", { width: `${100 * Math.min(Math.max(m.score, 0), 1)}%` })), decimal(m.score)]), true],
      [each.model ? "Cost, or what it would have been" : "Cost", (m) => money(m.cost), true],
      ["", (m) => (m.model === each.model ? "served" : each.removed?.[m.model] ? "left out" : ""), false],
    ], each.models, { caption: "Models, what was expected of each, and what each would have cost", rowClass: (m) => (m.model === each.model ? "chosen" : null) })) : null,
    el("p", { class: "quiet" }, `Request ${each.id}. Another model is reckoned with the same tokens, none of them cached.`));
}
