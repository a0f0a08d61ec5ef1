"""Tool selection on two catalogues and 25 plain requests, beside bm25s over the same schemas in the same run.

    python benchmarks/quality/bench_tools.py

Untrained on Seal-Tools (4,076 tools, requests for one to five) and MetaTool (199 tools, one right). Learned from
one half of MetaTool's requests and judged on the other, beside a linear model on TF-IDF. The plain requests are
our own, over 64 tools of well-known services among the 4,076; of the 50 more, which were written before any was
asked, only the service's own tool counts as right, though the 4,076 have some that would do. Intervals (95 %,
bootstrap) are over requests. Weights were chosen by looking at these tables: the figures without training are a
little too good.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bm25s
import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_union
from sklearn.svm import LinearSVC

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import ROOT, SHARED, write
from tiny_dancer.evaluation.bootstrap import mean_statistics, paired_bootstrap
from tiny_dancer.training.tools.data import ToolQueries, ToolTable, read_tool_queries, read_tools
from tiny_dancer.training.tools.learn import learn_tools

if TYPE_CHECKING:
    from collections.abc import Sequence

K = 10
FIGURES = ("top-1", "recall@5", "recall@10", "all@10")
Ranked = list[list[str]]


def figures(methods: dict[str, Ranked], right: Sequence[Sequence[str]]) -> dict[str, dict[str, list[float]]]:
    """Method → figure → mean with interval; and of the first method minus each other, recall@5."""
    columns = []
    for ranked in methods.values():
        values = np.empty((len(right), len(FIGURES)))
        for row, (ids, wanted) in enumerate(zip(ranked, right, strict=True)):
            share = [len(set(wanted) & set(ids[:k])) / len(set(wanted)) for k in (5, K)]
            values[row] = [ids[0] in wanted, *share, share[1] == 1.0]
        columns.append(values)
    table = np.concatenate(columns, axis=1)
    width = table.shape[1]
    found = paired_bootstrap(
        mean_statistics(table), len(table), replicates=1000, means_of=(table, np.zeros(width), np.ones(width))
    )

    def shown(column: int, minus: int | None = None) -> list[float]:
        each = found.interval(column, minus=minus)
        return [round(each.estimate, 4), round(each.low, 4), round(each.high, 4)]

    result: dict[str, dict[str, list[float]]] = {}
    for place, name in enumerate(methods):
        result[name] = {figure: shown(place * len(FIGURES) + at) for at, figure in enumerate(FIGURES)}
        if place:
            result[name]["recall@5, ours minus this"] = shown(1, place * len(FIGURES) + 1)
    return result


def text_of(schema: str) -> str:
    """What bm25s reads: name with its words apart, description, arguments and their descriptions."""
    tool = json.loads(schema)
    properties = (tool.get("parameters") or tool.get("input_schema") or {}).get("properties") or {}
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|_", " ", tool["name"])
    words = [name, tool.get("description") or ""]
    for argument, about in properties.items():
        words += [argument.replace("_", " "), str((about or {}).get("description") or "")]
    return " ".join(words)


def bm25s_ranked(schemas: Sequence[str], ids: Sequence[str], texts: Sequence[str]) -> Ranked:
    """The library's ranking with its defaults, English stop words left out."""
    index = bm25s.BM25()
    index.index(
        bm25s.tokenize([text_of(each) for each in schemas], stopwords="en", show_progress=False),
        show_progress=False,
    )
    asked = bm25s.tokenize(list(texts), stopwords="en", show_progress=False)
    rows, _ = index.retrieve(asked, k=K, show_progress=False)
    return [[ids[row] for row in each] for each in rows]


def ours(tools: ToolTable, texts: Sequence[str], artifact: bytes | None = None) -> Ranked:
    """Our ranking."""
    return [list(ids) for ids, _ in tools.selector(artifact).select_many(texts, K)]


def part(queries: ToolQueries, rows: np.ndarray) -> ToolQueries:
    """Some of the requests."""
    picked = rows.tolist()
    return ToolQueries(
        tuple(queries.ids[row] for row in picked),
        tuple(queries.texts[row] for row in picked),
        tuple(queries.tool_ids[row] for row in picked),
        0,
        queries.digest,
    )


def tfidf_svc(train: ToolQueries, test: ToolQueries) -> Ranked:
    """A linear support vector machine on TF-IDF of words and characters."""
    features = make_union(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True, min_df=2),
    )
    model = LinearSVC().fit(features.fit_transform(train.texts), [names[0] for names in train.tool_ids])
    scores = model.decision_function(features.transform(test.texts))
    return [[str(model.classes_[at]) for at in row] for row in np.argsort(-scores, axis=1)[:, :K]]


def everyday(seal: ToolTable, part: str) -> dict[str, Any]:
    """How many of the plain requests have a right tool among the first five."""
    found = json.loads((ROOT / "benchmarks" / "data" / "everyday_tools.json").read_text(encoding="utf-8"))
    requests = found[part]
    texts = [each["request"] for each in requests]
    selector = seal.selector()
    selector.add(found["tools"])
    schemas = [*seal.schemas, *map(json.dumps, found["tools"])]
    ids = [*seal.ids, *(tool["name"] for tool in found["tools"])]
    result: dict[str, Any] = {"requests": len(texts), "tools": len(ids)}
    for method, ranked in (
        ("ours", [list(each) for each, _ in selector.select_many(texts, K)]),
        ("bm25s", bm25s_ranked(schemas, ids, texts)),
    ):
        missed = [
            text
            for text, ids_found, each in zip(texts, ranked, requests, strict=True)
            if not set(ids_found[:5]) & set(each["right"])
        ]
        result[method] = {"found in five": len(texts) - len(missed), "missed": missed}
    return result


def main() -> None:
    """Prints and writes the figures."""
    result: dict[str, Any] = {}
    for name in ("tools_seal", "tools_meta"):
        tools = read_tools(SHARED / f"{name}.parquet")
        queries = read_tool_queries(SHARED / f"{name}_queries.parquet", tools)
        methods = {
            "ours": ours(tools, queries.texts),
            "bm25s": bm25s_ranked(tools.schemas, tools.ids, queries.texts),
        }
        result[f"{name}, untrained"] = figures(methods, queries.tool_ids)
        if name == "tools_seal":
            result["25 plain requests"] = everyday(tools, "requests")
            result["50 more plain requests"] = everyday(tools, "more_requests")
    halves = []
    for seed in (0, 1):
        order = np.random.default_rng(seed).permutation(len(queries))
        train, test = part(queries, order[: len(order) // 2]), part(queries, order[len(order) // 2 :])
        learned = learn_tools(tools, train)
        methods = {
            "ours": ours(tools, test.texts, learned.artifact),
            "untrained": ours(tools, test.texts),
            "TF-IDF, linear SVC": tfidf_svc(train, test),
        }
        halves.append(
            {
                "bytes": len(learned.artifact),
                "weight": learned.weight,
                "mean_weight": learned.mean_weight,
                **figures(methods, test.tool_ids),
            }
        )
    result["tools_meta, learned from half"] = halves
    write("tools", result, "Tool selection; bm25s and TF-IDF in the same run; all figures with 95 % intervals.")


if __name__ == "__main__":
    main()
