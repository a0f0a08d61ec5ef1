"""Which agents a request is about, among 500 cards: how often the right one is among the first three.

    python benchmarks/quality/bench_agent_search.py

Sets that the way to search was chosen on: MetaTool's tools with requests of their own (without examples, and
with three requests as examples), intents of CLINC150 and Banking77 (by name alone, and with three examples),
Seal-Tools. Sets that nothing was chosen on: `unseen` in benchmarks/data/agent_requests_unseen.json, written
before they were first searched, 60 requests about 30 cards as A2A has them (two examples each) and 60 about 30
tools as MCP servers list them (none), mostly without a word of the card; and
benchmarks/data/agent_requests.json, whose requests were written first and whose cards' examples after a first
search, so that it is easier than requests of strangers. Cards are filled up to 500 with tools of Seal-Tools,
some of which do the same as the right one, which counts as an error all the same. Intervals are Wilson's, 95 %.
Beside: BM25 (bm25s) over all that a card says.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import SHARED, write
from tiny_dancer import Agent, AgentRegistry

DATA = Path(__file__).parents[1] / "data"
CARDS = 500
EXAMPLES = 3

Requests = list[tuple[str, str]]
Set = tuple[list[dict[str, Any]], Requests]


def rows(name: str) -> list[dict[str, Any]]:
    """Rows of a shared table."""
    import pyarrow.parquet as parquet

    found: list[dict[str, Any]] = parquet.read_table(SHARED / f"{name}.parquet").to_pylist()
    return found


def filled(agents: list[dict[str, Any]], others: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Cards with others, so that they are 500."""
    found, names = list(agents), {agent["name"] for agent in agents}
    for place in np.random.default_rng(0).permutation(len(others)):
        other = others[place]
        if len(found) == CARDS:
            break
        if other["name"] not in names:
            names.add(other["name"])
            found.append({"name": other["name"], "description": other.get("description", "")})
    return found


def tools(name: str, examples: int) -> Set:
    """A catalogue of tools with its requests for one tool, three a tool."""
    chance = np.random.default_rng(7)
    schemas = {row["tool_id"]: json.loads(row["schema"]) for row in rows(f"{name}")}
    asked: dict[str, list[str]] = defaultdict(list)
    for row in rows(f"{name}_queries"):
        if len(row["tool_ids"]) == 1:
            asked[row["tool_ids"][0]].append(row["query"])
    agents, requests = [], []
    for tool, schema in list(schemas.items()):
        texts = [str(text) for text in chance.permutation(asked.get(tool, []))]
        if not texts or len(agents) == CARDS - 20:
            continue
        shown = texts[:examples]
        agents.append({"name": schema["name"], "description": schema.get("description", ""), "examples": shown})
        requests += [(text, schema["name"]) for text in texts[examples : examples + 3]]
    return agents, requests


def intents(name: str, examples: int) -> Set:
    """Intents with their requests, three an intent."""
    chance = np.random.default_rng(7)
    asked: dict[str, list[str]] = defaultdict(list)
    for row in rows(name):
        if row["intent"] != "oos":
            asked[str(row["intent"])].append(row["text"])
    agents, requests = [], []
    for intent, listed in sorted(asked.items()):
        texts = [str(text) for text in chance.permutation(listed)]
        capability = intent.replace("_", " ")
        agents.append({"name": intent, "capabilities": [capability], "examples": texts[:examples]})
        requests += [(text, intent) for text in texts[EXAMPLES : EXAMPLES + 3]]
    return agents, requests


def written(document: dict[str, Any]) -> Set:
    """A written set."""
    return document["agents"], [(each["request"], each["right"]) for each in document["requests"]]


def interval(right: int, count: int) -> list[float]:
    """Share with Wilson's 95 %."""
    z, share = 1.96, right / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * np.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return [round(float(each), 4) for each in (share, middle - half, middle + half)]


def bm25(agents: list[dict[str, Any]], requests: Requests) -> list[int]:
    """Ranks of the right cards by BM25."""
    import bm25s

    texts = [
        " ".join([
            each["name"].replace("_", " "), each.get("description", ""), *each.get("capabilities", ()),
            *each.get("examples", ()),
        ])
        for each in agents
    ]  # fmt: skip
    index = bm25s.BM25()
    index.index(bm25s.tokenize(texts, stopwords="en", show_progress=False), show_progress=False)
    names = [each["name"] for each in agents]
    ranks = []
    for text, right in requests:
        tokens = bm25s.tokenize(text, stopwords="en", show_progress=False, return_ids=False)[0]
        scores = index.get_scores(tokens) if tokens else np.zeros(len(names))
        # Equal ones by name, as ours.
        order = sorted(range(len(names)), key=lambda at: (-scores[at], names[at]))
        ranks.append(order.index(names.index(right)))
    return ranks


def one(agents: list[dict[str, Any]], requests: Requests, others: list[dict[str, Any]]) -> dict[str, Any]:
    """Recall on one set."""
    cards = filled(agents, others)
    registry = AgentRegistry([Agent.from_mapping(each) for each in cards])
    ranks = []
    for text, right in requests:
        names = [found.name for found in registry.search(text, CARDS)]
        ranks.append(names.index(right))
    plain = bm25(cards, requests)

    def within(found: list[int], k: int) -> list[float]:
        return interval(sum(rank < k for rank in found), len(found))

    return {
        "cards, requests": [len(cards), len(requests)],
        "recall@1, 95 %": within(ranks, 1),
        "recall@3, 95 %": within(ranks, 3),
        "recall@10, 95 %": within(ranks, 10),
        "BM25, recall@3, 95 %": within(plain, 3),
    }


def stuffed(agents: list[dict[str, Any]], requests: Requests, others: list[dict[str, Any]]) -> dict[str, float]:
    """How often a card that says everything is among three: all words of others, or their examples."""
    cards = filled(agents, others)[: CARDS - 1]
    names = {card["name"] for card in cards}
    words = list(dict.fromkeys(" ".join(card.get("description", "") for card in cards).lower().split()))
    examples = [text for card in cards for text in card.get("examples", ())][::3][:150]
    found = {}
    for label, card in {
        "all words": {"name": "best agent", "description": " ".join(words[:1500])},
        "examples of others": {"name": "best agent", "description": "does everything", "examples": examples},
    }.items():
        registry = AgentRegistry([Agent.from_mapping(each) for each in [*cards, card]])
        firsts = [[each.name for each in registry.search(text, 3)] for text, right in requests if right in names]
        found[f"{label}: first"] = round(float(np.mean([each[0] == "best agent" for each in firsts])), 4)
        found[f"{label}: among three"] = round(float(np.mean(["best agent" in each for each in firsts])), 4)
    return found


def main() -> None:
    """Prints and writes the figures."""
    if not (SHARED / "tools_seal.parquet").exists():
        print(f"skipped: {SHARED} is absent (set TINY_DANCER_SHARED)")
        return
    others = [json.loads(row["schema"]) for row in rows("tools_seal")]
    unseen = json.loads((DATA / "agent_requests_unseen.json").read_text(encoding="utf-8"))["sets"]
    chosen_on: dict[str, Set] = {
        "MetaTool, no examples": tools("tools_meta", 0),
        "MetaTool, three examples": tools("tools_meta", EXAMPLES),
        "CLINC150, names": intents("clinc150_train", 0),
        "CLINC150, three examples": intents("clinc150_train", EXAMPLES),
        "Banking77, names": intents("banking77_train", 0),
        "Banking77, three examples": intents("banking77_train", EXAMPLES),
        "Seal-Tools, no examples": tools("tools_seal", 0),
    }
    seen = {
        "written with their cards' examples at hand": written(
            json.loads((DATA / "agent_requests.json").read_text(encoding="utf-8"))
        )
    }
    fresh = {f"unseen: {each['name']}": written(each) for each in unseen}
    result: dict[str, Any] = {
        "chosen on": {name: one(*each, others) for name, each in chosen_on.items()},
        "partly chosen on": {name: one(*each, others) for name, each in seen.items()},
        "nothing chosen on": {name: one(*each, others) for name, each in fresh.items()},
        "a card that says everything": {
            name: stuffed(*chosen_on[name], others)
            for name in ("CLINC150, three examples", "MetaTool, three examples")
        },
    }
    write(
        "agent_search",
        result,
        "Search among 500 cards, text in: how often the right one is among the first. Target: .95 among three.",
    )


if __name__ == "__main__":
    main()
