"""Put the figures of benchmarks/results into README.md, between its markers; medians, unless a row says otherwise.

    python tools/readme_figures.py            write them
    python tools/readme_figures.py --check    exit 1 where README.md says something else

After a benchmark has been run: this, and both are committed together. No figure of these parts is written by hand.
"""

from __future__ import annotations

import json
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
RESULTS = ROOT / "benchmarks" / "results"


Row = tuple[str, str, str, str]
"""Name of the results file, what was measured, figures, target."""


@cache
def result(name: str) -> Any:
    """The figures of one benchmark."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def three(value: float) -> str:
    """A score in [0, 1]: ``.592``."""
    return f"{value:.3f}".removeprefix("0")


def signed(found: list[float]) -> str:
    """A difference with its interval: ``+.023 [.011, .036]``."""
    estimate, low, high = (three(abs(value)) if value >= 0 else f"−{three(abs(value))}" for value in found)
    return f"{'+' if found[0] >= 0 else ''}{estimate} [{low}, {high}]"


def rounded(value: float) -> str:
    """Three digits at most, one of them after the point: ``4.4``, ``107``; 11,194 is ``11,200``."""
    if value >= 1000:
        digits = 10 ** (len(str(int(value))) - 3)
        return f"{round(value / digits) * digits:,}"
    return f"{value:.0f}" if value >= 20 else f"{value:.1f}"


def per_cent(value: float) -> str:
    """A share: ``6.0 %``, ``0``."""
    return "0" if value == 0 else f"{value * 100:.1f} %"


def table() -> str:
    """The table of "What is measured": a row is of one file, which it names with the day it was measured."""
    lines = ["| what | measured | target | file, date |", "| - | - | - | - |"]
    for name, *row in [*speed(), *quality(), *intents(), *tools(), *agents(), *candidates(), *kept()]:
        file = f"[{name}](benchmarks/results/{name}.json) {result(name)['origin']['date'][:10]}"
        lines.append(f"| {' | '.join([*row, file])} |".replace("|  |", "| |"))
    return "\n".join(lines)


def speed() -> list[Row]:
    """Decisions, loading and training."""
    decisions, runs = result("decisions"), result("training")["mmlu"]
    default, every, load = (
        decisions["default artifact"],
        decisions["artifact with all backends"],
        decisions["load_ms"],
    )
    short, long = decisions["tokens"]
    return [
        (
            "decisions",
            f"{short}-token prompt → decision object, from Python",
            f"{rounded(default['route_30_tokens_ratio'])} × numpy's `(100, 384) @ (384,)` "
            f"({rounded(default['route_30_tokens_us'])} µs); "
            f"{rounded(every['route_30_tokens_ratio'])} × with all backends",
            "≤ 10 ×",
        ),
        (
            "decisions",
            f"the same at {long} tokens",
            f"{rounded(default['route_200_tokens_ratio'])} ×; "
            f"{rounded(every['route_200_tokens_ratio'])} × with all backends",
            "≤ 40 ×",
        ),
        (
            "decisions",
            "`route_batch`, two cores",
            f"{rounded(default['batch_per_second'])} prompts/s; "
            f"{rounded(every['batch_per_second'])} with all backends",
            "≥ 100,000",
        ),
        (
            "decisions",
            "artifact load with self-checks / encoder, once a process",
            f"{rounded(load['artifact and self-checks'])} ms / {rounded(load['encoder, once a process'])} ms",
            "≤ 20 ms",
        ),
        ("decisions", "default artifact", f"{default['bytes'] / 1000:.0f} kB", "≤ 512 KiB"),
        (
            "training",
            "training on " + " / ".join(f"{each['rows']:,}" for each in runs) + " rows",
            " / ".join(f"{each['seconds']:.0f} s, {each['peak_mib']} MiB" for each in runs),
            "≤ 30 s / 3 min, 2 GiB",
        ),
    ]


def quality() -> list[Row]:
    """APGR, certificates and flips."""
    rows: list[Row] = []
    targets = {"mmlu": ("≥ .57", "≥ .59"), "gsm8k": ("≥ .65", "≥ .67")}
    for name, (few_target, folds_target) in targets.items():
        few, folds = result("apgr")[name]["few labels"], result("apgr")[name]["5-fold"]["mean of folds"]
        estimate, low, high = map(three, few["router"])
        others = f"(length {three(few['length'][0])}, TF-IDF ridge {three(few['tfidf'][0])})"
        label = f"{name.upper()}, {few['labels']:,} labels" + (", APGR" if name == "mmlu" else "")
        rows.append(("apgr", label, f"{estimate} [{low}, {high}] {others}", few_target))
        others = f"(length {three(folds['length'])}, TF-IDF ridge {three(folds['tfidf'])})"
        rows.append(("apgr", f"{name.upper()}, 5-fold", f"{three(folds['router'])} {others}", folds_target))
    mmlu, gsm8k = result("guarantee")["mmlu"], result("guarantee")["gsm8k"]
    used, at_delta = "calibrate (betting at delta / 4)", "betting at delta"

    def broken(found: Any, method: str) -> float:
        return float(found[method]["violations on test half"] / found["splits"])

    flips = {name: result("flips")[name] for name in ("mmlu", "gsm8k")}
    assert all(not found["router"][how] for found in flips.values() for how in ("case", "whitespace"))
    formats = (
        "options 1)",
        "options (i)",
        "options •",
        "options Option A:",
        "JSON",
        "XML",
        "Markdown",
        "five examples",
    )

    def gained(table: str) -> str:
        found = result("policy")[table]
        mean, low, high = map(three, found["balanced"]["minus best constant"])
        below = found["balanced"]["share of splits below -.002"]
        return f"{mean} [{low}, {high}], {per_cent(below)} of {found['splits']} below"

    def flipped(who: str, kind: str) -> str:
        return " / ".join(per_cent(found[who][kind]) for found in flips.values())

    def around(who: str) -> str:
        kinds = [kind for kind in flips["mmlu"]["router, held out"] if kind.startswith(("before", "after"))]
        assert len(kinds) == 10
        return " / ".join(
            per_cent(sum(found[f"{who}, held out"][kind] for kind in kinds) / len(kinds))
            for found in flips.values()
        )

    worst = {
        who: " / ".join(per_cent(max(found[who][kind] for kind in formats)) for found in flips.values())
        for who in ("router", "tfidf")
    }
    return [
        *rows,
        (
            "guarantee",
            f"certificates broken on a test half, δ = {three(mmlu['delta']).rstrip('0')}, {mmlu['splits']} splits "
            "(each tested at δ/4)",
            f"{per_cent(broken(mmlu, used))} (MMLU, ε = {three(mmlu['epsilon']).rstrip('0')}), "
            f"{per_cent(broken(gsm8k, used))} (GSM8K, ε = {three(gsm8k['epsilon']).rstrip('0')}); "
            f"tested at δ {broken(mmlu, at_delta) * 100:.0f} %, {broken(gsm8k, at_delta) * 100:.0f} %; "
            f"naive threshold {broken(mmlu, 'naive') * 100:.0f} %, {broken(gsm8k, 'naive') * 100:.0f} %",
            "≤ 10 %",
        ),
        (
            "guarantee",
            f"strong calls under them, MMLU, ε = {three(mmlu['epsilon']).rstrip('0')}",
            f"{mmlu[used]['mean share of strong calls'] * 100:.0f} % "
            f"(Hoeffding-Bentkus {mmlu['hoeffding-bentkus']['mean share of strong calls'] * 100:.0f} %, "
            f"Hoeffding {mmlu['hoeffding']['mean share of strong calls'] * 100:.0f} %)",
            "below Hoeffding-Bentkus",
        ),
        (
            "policy",
            "default policy − best constant, trained afresh on each split: zeroeval / llmrouter / bfcl / shaberi",
            " / ".join(gained(table) for table in ("zeroeval", "llmrouter", "bfcl", "shaberi")),
            "mean ≥ −.001, ≤ 10 % of splits below −.002",
        ),
        (
            "likeness",
            "unlike requests told at level .05, mean over twelve sets of rows; like ones flagged",
            "; ".join(
                f"{who} {three(found['unlike rows flagged, mean'])}, {three(found['like rows flagged, mean'])}"
                for who, found in result("likeness")["over all"].items()
            ),
            "≥ .9, ≤ .05",
        ),
        (
            "flips",
            "decisions flipped, MMLU / GSM8K: by the worst of eight formats (markers of options, JSON, XML, "
            "Markdown, five examples in front); by case or white space",
            f"{worst['router']} (TF-IDF {worst['tfidf']}); 0 / 0",
            "≤ 5 %",
        ),
        (
            "flips",
            "by a typo in 5 % of words; by options left out; by text around it of kinds the code was not made "
            "with, mean of ten",
            "; ".join(
                [
                    *(
                        f"{flipped('router', kind)} (TF-IDF {flipped('tfidf', kind)})"
                        for kind in ("typos in 5 % of words", "no options")
                    ),
                    f"{around('router')} (TF-IDF {around('tfidf')})",
                ]
            ),
            "≤ 3.5; 5; 10 %",
        ),
    ]


def intents() -> list[Row]:
    """Semantic routes, kinds of tasks, and choices nobody trained for."""
    routes, times, peer = result("routes"), result("routes_speed"), result("semantic_router")
    tables = ("clinc150", "clinc150, ten utterances", "banking77, five folds", "banking77, ten utterances")

    def each(of: str, names: tuple[str, ...] = tables) -> str:
        return " / ".join(three(routes[name][of]) for name in names)

    sources, families = (result("tasks")["splits"][each] for each in ("sources", "families"))
    ten = peer["clinc150, ten utterances"]
    theirs = ten["semantic-router"]["as it comes"], ten["semantic-router"]["calibrated"]
    sets = result("zero_shot")["sets"]
    return [
        (
            "routes",
            "semantic routes, accuracy: clinc150 / ten utterances an intent / banking77 / ten",
            f"{each('accuracy')} (TF-IDF {each('TF-IDF accuracy')})",
            "≥ .955 / .86 / .93 / .80",
        ),
        (
            "routes",
            "the same: calibration error; best route changed by a typo",
            f"{each('calibration error')}; {each('flips under typos')}",
            "≤ .02; ≤ .035",
        ),
        (
            "routes",
            "out of scope, clinc150 / ten utterances: AUROC, F1 at the fitted threshold",
            f"{each('out-of-scope AUROC', tables[:2])}, {each('out-of-scope F1', tables[:2])} "
            f"(TF-IDF's AUROC {each('TF-IDF out-of-scope AUROC', tables[:2])})",
            "≥ .965, ≥ .82",
        ),
        (
            "semantic_router",
            "beside semantic-router 1.1.1, same encoder, clinc150, ten utterances: accuracy, out-of-scope F1",
            f"{three(ten['ours']['accuracy'])}, {three(ten['ours']['out-of-scope F1'])} (as it comes "
            f"{three(theirs[0]['accuracy'])}, {three(theirs[0]['out-of-scope F1'])}; its thresholds fitted "
            f"{three(theirs[1]['accuracy'])}, {three(theirs[1]['out-of-scope F1'])})",
            "",
        ),
        (
            "routes_speed",
            "text → route of 150; vector → 1,000 routes; 10,000 over 1,000 (one prototype a route / three)",
            f"{rounded(times['text, 150 routes']['median'])} µs; "
            f"{rounded(times['vector, 1,000 routes of 1 prototype']['median'])} / "
            f"{rounded(times['vector, 1,000 routes of 3 prototypes']['median'])} µs; "
            f"{times['10,000 over 1,000 routes of 1 prototype']:.1f} / "
            f"{times['10,000 over 1,000 routes of 3 prototypes']:.1f} ×",
            "≤ 30; ≤ 40 µs; ≤ 8 ×",
        ),
        (
            "tasks",
            "kinds of tasks, macro-F1 on sources left out; on whole families of sources",
            " / ".join(
                f"{three(found['macro_f1'][0])} [{three(found['macro_f1'][1])}, {three(found['macro_f1'][2])}] "
                f"(TF-IDF {three(found['tfidf_lr'][0])})"
                for found in (sources, families)
            ),
            "≥ .70",
        ),
        (
            "zero_shot",
            "a choice nobody trained for, label set left out: accuracy (guessing), calibration error: "
            + " / ".join(sets),
            " / ".join(
                f"{three(found['at_random']['accuracy'])} ({three(found['at_random']['guessing'])}), "
                f"{three(found['at_random']['calibration_error'][0])}"
                for found in sets.values()
            ),
            "",
        ),
    ]


def tools() -> list[Row]:
    """Tool selection."""
    found, times = result("tools"), result("tools_speed")
    seal, meta = found["tools_seal, untrained"], found["tools_meta, untrained"]
    learned, plain = found["tools_meta, learned from half"], found["25 plain requests"]
    more = found["50 more plain requests"]

    def both(of: dict[str, Any], metric: str) -> str:
        return f"{three(of['ours'][metric][0])} (bm25s {three(of['bm25s'][metric][0])})"

    return [
        (
            "tools",
            "tools untrained: Seal-Tools (4,076) recall@5, all right ones in ten; MetaTool (199) recall@5",
            f"{both(seal, 'recall@5')}, {both(seal, 'all@10')}; {both(meta, 'recall@5')}",
            "≥ .91, .89; .68",
        ),
        (
            "tools",
            "learned from half of MetaTool's requests, top-1, by split",
            " / ".join(three(each["ours"]["top-1"][0]) for each in learned),
            "≥ .80",
        ),
        (
            "tools",
            "plain requests answered in the first five of 4,140 tools; 50 more, written before looking",
            f"{plain['ours']['found in five']} of {plain['requests']} (bm25s {plain['bm25s']['found in five']}); "
            f"{more['ours']['found in five']} (bm25s {more['bm25s']['found in five']})",
            "25 of 25",
        ),
        (
            "tools_speed",
            "text of 328 characters → 5 of 4,076 tools, engine; of 10,000",
            f"{rounded(times['text to five, engine, us']['median'])} µs "
            f"(bm25s {rounded(times['bm25s, us']['median'])}); "
            f"{rounded(times['10,000 tools, text to five, engine, us']['median'])} µs",
            "≤ 100 µs",
        ),
    ]


def candidates() -> list[Row]:
    """The candidate router and classifiers."""
    hundred, thousand = result("candidates_speed")["100 candidates"], result("candidates_speed")["1000 candidates"]
    ranked = result("candidates")
    mean, honest = ranked["mean over the six ways"], ranked["calibration on other conversations"]
    recall = {name: three(found["recall@5"]) for name, found in mean.items()}
    first, ten = (honest[f"mean confidence and share relevant, {which}"] for which in ("first", "first 10"))
    cell, clinc = result("fastgrnn")["an input"], result("fastgrnn_training")["clinc150"]
    int8 = next(each for each in clinc["phases"] if each["name"] == "int8")
    embedding, full = hundred["fastgrnn f32, embedding only"], hundred["fastgrnn f32"]
    step, text = "768 → 16, one step", "30 × 256 → 32"
    return [
        (
            "candidates_speed",
            "100 candidates × 384 → top 5, from Python: embeddings, FastGRNN, conformal",
            f"{rounded(embedding['p50_over_yardstick'])} × the same yardstick "
            f"({rounded(embedding['p50_us'])} µs); "
            f"{rounded(full['p50_over_yardstick'])} × with a question's text and metadata as well; "
            f"{rounded(hundred['default']['p50_over_yardstick'])} × by the combination without training",
            "≤ 5 ×",
        ),
        (
            "candidates_speed",
            "1,000 candidates, every feature, FastGRNN",
            f"{rounded(thousand['fastgrnn f32']['p50_over_yardstick'])} × numpy's `(1000, 384) @ (384,)`",
            "≤ 4 ×",
        ),
        (
            "candidates",
            "LoCoMo recall@5, trained on two conversations, tested on two, mean of the six ways",
            f"{recall['linear']} (words {recall['words']}, cosine {recall['cosine']}, untrained combination "
            f"{recall['default combination']}, {recall['default combination without recency']} without times)",
            "≥ .55",
        ),
        (
            "candidates",
            "its confidence on those: first candidate, mean / really relevant",
            f"{three(first[0])} / {three(first[1])}; ten first: {three(ten[0])} / {three(ten[1])}",
            "",
        ),
        (
            "fastgrnn",
            "FastGRNN 768 → 16, one step / 30 × 256 → 32, from Python",
            f"{rounded(cell[f'f32: {step}']['us'])} µs / {rounded(cell[f'f32: {text}']['us'])} µs; "
            f"int8 {rounded(cell[f'int8: {step}']['us'])} / {rounded(cell[f'int8: {text}']['us'])}",
            "≤ 2 / 25 µs",
        ),
        (
            "fastgrnn_training",
            f"clinc150, FastGRNN int8, {int8['bytes'] / 1000:.0f} kB; minus bag of embeddings (chosen among ten "
            "settings on these very rows)",
            f"{three(int8['accuracy'])}; {signed(clinc['fastgrnn_minus_bag'])}",
            "",
        ),
    ]


def agents() -> list[Row]:
    """Agents, budgets, and what has changed."""
    speed, found, budgets, race = (
        result(name) for name in ("agents_speed", "agent_search", "budgets", "budget_race")
    )
    batches, drift = speed["assigning 10,000 requests to 20 agents"], result("drift")
    unseen = [each["recall@3, 95 %"] for each in found["nothing chosen on"].values()]
    words = [each["BM25, recall@3, 95 %"] for each in found["nothing chosen on"].values()]
    rates = budgets["reserve and settle, per s"]
    theirs = race["litellm_router"]
    after = drift["known truth"]["decisions until it rings, after 1,000 like ones"]
    full = batches["the same at .8, capacities that are just enough"]
    return [
        (
            "agents_speed",
            "route among 10 / 500 agents with constraints, from Python",
            " / ".join(rounded(speed[f"choosing among {n}"]["us"]["constraints, answer read"]) for n in (10, 500))
            + " µs",
            "≤ 10 / ≤ 100 µs",
        ),
        (
            "agents_speed",
            "10,000 requests to 20 agents: least cost at a mean quality; capacities that are just enough; gap",
            f"{rounded(batches['least cost at mean quality .9']['ms'])} ms; {rounded(full['ms'])} ms; "
            f"{full['gap'] * 100:.3f} %",
            "≤ 100 ms; ≤ .1 %",
        ),
        (
            "agent_search",
            "one of 500 cards among the first three, requests nobody tuned to: A2A's / MCP's form",
            " / ".join(f"{three(each[0])} [{three(each[1])}, {three(each[2])}]" for each in unseen)
            + f" (BM25 {' / '.join(three(each[0]) for each in words)})",
            "≥ .95",
        ),
        (
            "budgets",
            "reserve + settle, SQLite, two processes: one budget; four at once",
            f"{rounded(rates['one budget']['median'])}/s, {rounded(rates['one budget']['x UPDATE, FULL'])} × an "
            f"UPDATE a step of the same durability; {rounded(rates['four budgets']['median'])}/s",
            "≥ 20,000/s",
        ),
        (
            "budgets",
            f"{budgets['reservations asked for under kills']:,} reservations, "
            f"{budgets['killed at random']['kills']} processes killed: overspent; forgotten",
            f"{max(budgets['killed at random']['overspent'].values()):g}; "
            f"{max(budgets['killed at random']['forgotten'].values()):g} USD",
            "0; 0",
        ),
        (
            "budget_race",
            "five requests at once against a budget that pays for one: let through; share of the budget spent",
            f"{race['tiny_dancer_2_workers']['admitted_of_five'][0]:.0f}; "
            f"{race['tiny_dancer_2_workers']['spent_of_the_budget'][0]:.2f} (LiteLLM's router "
            f"{theirs['admitted_of_five'][0]:.0f}; {theirs['spent_of_the_budget'][0]:.2f})",
            "1; ≤ 1",
        ),
        (
            "drift",
            "a watch where nothing has changed, six tables: false alarms a decision (PSI > .25, every 20th)",
            f"{drift['all tables, nothing has changed']['per decision'][0]:.1e} "
            f"(at most {drift['all tables, nothing has changed']['per decision'][2]:.1e}; "
            f"{drift['known truth']['others, nothing has changed']['PSI > .25']['per decision'][0]:.1e})",
            "≤ 1e-5",
        ),
        (
            "drift",
            "decisions until it rings, after 1,000 like ones: scores moved by one spread; by half",
            f"{after['scores move by 1']['median']}; {after['scores move by 1/2']['median']}",
            "",
        ),
    ]


def kept() -> list[Row]:
    """Storage."""
    storage = result("storage")
    sizes = [storage[f"{rows:,} x 384, k = 10"] for rows in (1_000, 10_000, 100_000)]
    record = storage["record_routing"]
    took = record["queue_us"]["p50"] + record["make_record_us"]["p50"]
    words = [result("memory_search")[f"{rows:,} memories, k = 5"] for rows in (10_000, 100_000)]
    peers = (("bm25s", "bm25s"), ("FTS5", "FTS5"), ("sqlite-vec", "sqlite-vec"))
    return [
        (
            "memory_search",
            "text → 5 of 10k / 100k stored memories, by words, character grams and embedding, live",
            " / ".join(rounded(each["text"]["median_us"]) for each in words)
            + " µs ("
            + "; ".join(
                f"{name} " + " / ".join(rounded(each[key]["median_us"]) for each in words) for name, key in peers
            )
            + ")",
            "≤ 500 / 8,000 µs",
        ),
        (
            "storage",
            "exact k-nearest, 1k / 10k / 100k × 384, SQLite mirrored in memory, medians",
            " / ".join(rounded(each["mirror"]["median_us"]) for each in sizes)
            + " µs (sqlite-vec "
            + " / ".join(rounded(each["sqlite-vec"]["median_us"]) for each in sizes)
            + ")",
            "≤ 60 / 500 / 8,000 µs",
        ),
        (
            "storage",
            "routing records, durable",
            f"{record['durable_per_s'] / 1000:.0f},000/s; "
            f"{took:.0f} µs to make and queue one with five candidates",
            "≥ 20,000/s, ≤ 10 µs",
        ),
    ]


def gateway() -> str:
    """What a request costs in the gateway."""
    load = result("gateway_load")
    ours, floor, peer, latency = load["gateway"], load["floor"], load["peer"].get("litellm"), load["latency"]
    # A run without the peer (--no-peer) says nothing of it.
    beside = f"; LiteLLM {rounded(peer['cpu_us_per_request'])} µs," if peer else ""
    return (
        f"On one core of a shared two-core machine a routed request costs "
        f"{rounded(ours['cpu_us_per_request'])} µs of processor time,\n"
        "decision, accounting, metrics and log included "
        f"({rounded(ours['requests_per_second'])} requests/s); a bare pass-through without any\nof that, on "
        f"uvicorn and pyreqwest, {rounded(floor['cpu_us_per_request'])} µs{beside} "
        f"in the same run. Latency added is\n{latency['added_p50_ms_sequential']:.1f} ms in the median; the 99th "
        f"percentile is {latency['p99_ms_at_half_load']:.1f} ms with clients that wait for their answers\n"
        f"({latency['half_load_share'] * 100:.0f} % load) and {latency['open_loop_p99_ms_at_half_load']:.1f} ms "
        "with clients that do not (half load). Memory is "
        f"{load['memory']['with_1000_open_streams_mb']:.0f} MB with 1,000\nstreams open "
        f"([figures](benchmarks/results/gateway_load.json) of {load['origin']['date'][:10]},\n"
        "`python benchmarks/load/bench_gateway.py`)."
    )


def paired() -> str:
    """How the router stands against TF-IDF."""
    few = {name: signed(result("apgr")[name]["few labels"]["router minus tfidf"]) for name in ("mmlu", "gsm8k")}
    pooled = {
        name: signed(result("apgr")[name]["5-fold"]["pooled router minus tfidf"]) for name in ("mmlu", "gsm8k")
    }
    return (
        f"Paired differences in APGR against TF-IDF, with few labels: {few['mmlu']} on MMLU, "
        f"{few['gsm8k']} on GSM8K;\n"
        f"in one pooled 5-fold run: {pooled['mmlu']} and {pooled['gsm8k']}."
    )


PARTS = {"gateway": gateway, "table": table, "paired": paired}


def rendered(text: str) -> str:
    """README.md with the parts between its markers written anew.

    Raises:
        ValueError: a marker is missing.
    """
    for name, part in PARTS.items():
        marked = re.compile(rf"(<!-- figures: {name} -->\n).*?(\n<!-- end of figures -->)", re.DOTALL)
        if not marked.search(text):
            raise ValueError(f"README.md has no part <!-- figures: {name} --> ... <!-- end of figures -->")
        text = marked.sub(lambda found, part=part: found[1] + part() + found[2], text, count=1)  # type: ignore[misc]
    return text


def main() -> int:
    """Writes or checks; 1 where README.md says something else."""
    before = README.read_text(encoding="utf-8")
    after = rendered(before)
    if "--check" in sys.argv[1:]:
        if before != after:
            print("README.md differs from benchmarks/results; run tools/readme_figures.py", file=sys.stderr)
        return int(before != after)
    README.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
