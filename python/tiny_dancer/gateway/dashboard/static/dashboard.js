// Asks the gateway every few seconds while somebody looks, and says so where it gets no answer.
import { byId, el, put } from "./dom.js";
import { clock } from "./format.js";
import * as sections from "./sections.js";

const EVERY = 5000, PATIENCE = 12000;
const parts = [
  ["standing", () => "standing", sections.standing],
  ["summary", () => `summary?${range()}`, sections.total],
  ["traffic", () => `traffic?${range()}&by=${encodeURIComponent(byId("by").value)}`, sections.traffic],
  ["calibration", () => `calibration?${range()}`, sections.calibrated],
  ["decisions", () => "decisions", sections.decisions],
  ["budgets", () => "budgets", sections.budgets],
  ["agents", () => "agents", sections.agents],
];
const NAMES = { standing: "how it stands", summary: "the figures", traffic: "the charts", calibration: "calibration", decisions: "the last requests", budgets: "budgets", agents: "agents" };
const shown = new Map();
let readAt = null, last = 0, timer = 0, round = 0, paused = false, custom = null;

const chosen = () => document.querySelector("#ranges input:checked").value;
const range = () => (chosen() === "custom" && custom ? `since=${custom[0]}&until=${custom[1]}` : `range=${chosen() === "custom" ? "24h" : chosen()}`);

async function ask(path) {
  const answer = await fetch(`/dashboard/data/${path}`, { signal: AbortSignal.timeout(PATIENCE), cache: "no-store", credentials: "same-origin" });
  if (answer.status === 401) {
    location.assign("/dashboard/login");
    return new Promise(() => {});
  }
  const text = await answer.text();
  if (!answer.ok) {
    let said = `It answered with ${answer.status}.`;
    try { said = JSON.parse(text).error.message; } catch { /* not ours */ }
    throw Object.assign(new Error(said), { answered: true });
  }
  return { text, data: JSON.parse(text) };
}

// One round asks for everything at once; what an older round still gets is left aside.
async function look() {
  clearTimeout(timer);
  const mine = ++round;
  const problems = [];
  let gone = 0, standing = null;
  await Promise.all(parts.map(async ([name, path, show]) => {
    const asked = path();
    try {
      const { text, data } = await ask(asked);
      if (mine !== round) return;
      if (name === "summary") readAt = data.read_at;
      if (name === "standing") {
        standing = data;
        offer(data.groupings);
        last = Date.now() / 1000;
        tell(0, [], standing);
      }
      if (shown.get(name) !== asked + text) {
        show(data);
        shown.set(name, asked + text);
      }
    } catch (error) {
      if (error.answered) problems.push(`${NAMES[name]}: ${error.message}`);
      else if (error instanceof TypeError || error.name === "TimeoutError" || error.name === "AbortError") gone += 1;
      else throw error;
    }
  }));
  if (mine !== round) return;
  if (gone < parts.length) last = Date.now() / 1000;
  tell(gone, problems, standing);
  schedule();
}

function schedule() {
  clearTimeout(timer);
  if (!paused && !document.hidden) timer = setTimeout(look, EVERY);
}

function tell(gone, problems, standing) {
  const notices = [];
  if (gone === parts.length) {
    say("bad", last ? `The gateway does not answer. Figures are from ${clock(last)}.` : "The gateway does not answer.");
  } else if (gone) {
    say("warn", "Some figures are late; they are older than the rest.");
  } else if (standing) {
    const ready = standing.workers.filter((each) => each.ready).length;
    const wanted = standing.expected_workers;
    if (!ready) say("bad", "The gateway is not ready to serve.");
    else if (ready < wanted) say("warn", `${ready} of ${wanted} workers serve.`);
    else if (problems.length) say("warn", "Serving; some figures cannot be read.");
    else say("good", wanted > 1 ? `Serving, ${wanted} workers.` : "Serving.");
    for (const each of standing.workers) for (const reason of each.reasons) notices.push(`Worker ${each.worker}: ${reason}.`);
    notices.push(...standing.notes);
    // Long ranges of many requests are kept as long as they took to read, ten times over.
    if (readAt !== null && standing.now - readAt > 30) notices.push(`This range is as it was at ${clock(readAt)}: it takes long to read.`);
  }
  notices.push(...problems.map((text) => `Not read: ${text}`));
  const text = JSON.stringify(notices);
  if (shown.get("notices") !== text) put(byId("notices"), notices.map((each) => el("p", { class: "notice" }, each)));
  shown.set("notices", text);
  asOf();
}

function offer(groupings) {
  const choice = byId("by");
  if (choice.options.length !== groupings.length) {
    put(choice, groupings.map((each) => el("option", { value: each, selected: each === choice.value }, each.replace("_", " "))));
  }
}

// Said once, when it changes: a screen reader is not told the same every five seconds.
function say(state, text) {
  const place = byId("state");
  if (place.textContent === text) return;
  place.dataset.state = state;
  place.textContent = text;
}

function asOf() {
  put(byId("asof"), last ? `${paused ? "Paused" : "As of"} ${clock(last)} UTC` : "");
}

byId("pause").addEventListener("click", () => {
  paused = !paused;
  byId("pause").setAttribute("aria-pressed", String(paused));
  byId("pause").textContent = paused ? "Go on" : "Pause";
  asOf();
  paused ? clearTimeout(timer) : look();
});
document.addEventListener("visibilitychange", () => (document.hidden || paused ? clearTimeout(timer) : look()));
addEventListener("pageshow", (event) => event.persisted && look());

const typed = (t) => new Date(1000 * t).toISOString().slice(0, 16);
const read = (id) => Date.parse(`${byId(id).value}:00Z`.replace(/(:\d\d:\d\d):00Z$/, "$1Z")) / 1000;
byId("ranges").addEventListener("change", () => {
  const own = chosen() === "custom";
  byId("custom").hidden = !own;
  if (own && !byId("since").value) {
    const now = Math.floor(Date.now() / 60000) * 60;
    byId("since").value = typed(now - 86400);
    byId("until").value = typed(now);
  }
  if (!own || custom) look();
});
byId("custom").addEventListener("submit", (event) => {
  event.preventDefault();
  const [since, until] = [read("since"), read("until")];
  const fine = since < until;
  put(byId("refusal"), fine ? "" : "The range ends before it begins.");
  if (!fine) return;
  custom = [since, until];
  look();
});
byId("by").addEventListener("change", look);

look();
