"""The static encoder of sentences beside that of request routers, each alone, on every table there is a use for.

Row by row the same splits and draws, so that intervals are of paired differences (95 %, bootstrap over rows).
`probe`: a linear discriminant on the 256 values; `10 shots`: nearest mean of ten utterances of a route; `OOS
AUROC`: the highest score tells requests in scope from those out of it; `R@k`: the share of the right tools, or
memories, among the k nearest; `difficulty` and `gain`: correlation, out of fold, of a ridge regression with how
many models answer rightly, and with how much better the best third of models does than the worst third. Beside
them the share that chance would reach.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import SHARED, write
from tiny_dancer import _core

if TYPE_CHECKING:
    from collections.abc import Callable

    Encode = Callable[[list[str]], np.ndarray]

SHOTS, DRAWS, FOLDS, RESAMPLES = 10, 5, 5, 300
SEEN = ("clinc150", "banking77", "bfcl")
RIDGE, SHRINKAGE = 10.0, 0.1


def columns(name: str) -> dict[str, Any]:
    return pq.read_table(SHARED / f"{name}.parquet").to_pydict()


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def discriminant(x: np.ndarray, y: np.ndarray, classes: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Scores of a linear discriminant whose covariance is shrunk towards a multiple of the identity."""
    means = np.stack([x[y == each].mean(axis=0) for each in classes])
    residual = x - means[np.searchsorted(classes, y)]
    spread = residual.T @ residual / len(x)
    size = np.trace(spread) / len(spread)
    weights = np.linalg.solve((1 - SHRINKAGE) * spread + SHRINKAGE * size * np.eye(len(spread)), means.T)
    return other @ weights - 0.5 * (means.T * weights).sum(axis=0)


def few_shots(
    x: np.ndarray, y: np.ndarray, classes: np.ndarray, other: np.ndarray, right: np.ndarray
) -> np.ndarray:
    """Per row of ``other`` the share of draws in which the nearest of the routes' means is the right one."""
    found = np.zeros(len(other))
    for seed in range(DRAWS):
        chance = np.random.default_rng(seed)
        means = [
            x[chance.choice(np.flatnonzero(y == each), SHOTS, replace=False)].mean(axis=0) for each in classes
        ]
        found += classes[(other @ unit(np.stack(means)).T).argmax(axis=1)] == right
    return found / DRAWS


def found_of(scores: np.ndarray, right: list[list[int]], most: int) -> np.ndarray:
    """Share of the right ones among the ``most`` highest, equal ones in order."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :most]
    return np.array(
        [len(set(row.tolist()) & set(those)) / len(those) for row, those in zip(best, right, strict=True)]
    )


def words(name: str) -> str:
    return re.sub(r"[_./-]+", " ", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name))


def said_of(schema: str) -> str:
    """A tool's name, description and arguments as one text."""
    tool = json.loads(schema)
    arguments = tool.get("parameters") or {}
    parts = [words(tool.get("name", "")), tool.get("description") or ""]
    for name, about in arguments.get("properties", arguments).items():
        parts.append(f"{words(name)} {about.get('description', '') if isinstance(about, dict) else ''}")
    return ". ".join(parts)


def intents(encode: Encode) -> dict[str, Any]:
    outcomes: dict[str, Any] = {}
    train, held = columns("clinc150_train"), columns("clinc150_val")
    x, y, other, right = (
        encode(train["text"]),
        np.array(train["intent"]),
        encode(held["text"]),
        np.array(held["intent"]),
    )
    known, inside = y != "oos", right != "oos"
    classes = np.unique(y[known])
    scores = discriminant(x[known], y[known], classes, other)
    outcomes["clinc150 probe"] = (classes[scores.argmax(axis=1)] == right)[inside].astype(float)
    outcomes["clinc150 probe, OOS AUROC"] = scores.max(axis=1), inside
    means = unit(np.stack([x[y == each].mean(axis=0) for each in classes]))
    outcomes["clinc150 nearest mean, OOS AUROC"] = (other @ means.T).max(axis=1), inside
    outcomes["clinc150 10 shots"] = few_shots(x[known], y[known], classes, other[inside], right[inside])
    table = columns("banking77_train")
    x, y = encode(table["text"]), np.array(table["intent"])
    classes, fold = np.unique(y), np.random.default_rng(0).permutation(len(y)) % FOLDS
    probe, few = np.zeros(len(y)), np.zeros(len(y))
    for each in range(FOLDS):
        train_, test = fold != each, fold == each
        probe[test] = classes[discriminant(x[train_], y[train_], classes, x[test]).argmax(axis=1)] == y[test]
        few[test] = few_shots(x[train_], y[train_], classes, x[test], y[test])
    return outcomes | {"banking77 probe": probe, "banking77 10 shots": few}


def retrieval(encode: Encode) -> dict[str, Any]:
    outcomes: dict[str, Any] = {}
    for name in ("tools_seal", "tools_meta"):
        tools, queries = columns(name), columns(f"{name}_queries")
        place = {tool: at for at, tool in enumerate(tools["tool_id"])}
        right = [[place[tool] for tool in those] for those in queries["tool_ids"]]
        scores = encode(queries["query"]) @ encode([said_of(schema) for schema in tools["schema"]]).T
        outcomes |= {f"{name} R@{most}": found_of(scores, right, most) for most in (1, 5)}
    memories, questions = columns("locomo_memories"), columns("locomo_questions")
    stored, asked = encode(memories["text"]), encode(questions["question"])
    belongs, asks = np.array(memories["conversation"]), np.array(questions["conversation"])
    parts: dict[int, list[np.ndarray]] = {5: [], 20: []}
    for each in np.unique(belongs):
        rows = np.flatnonzero(belongs == each)
        place = {memories["memory_id"][row]: at for at, row in enumerate(rows)}
        evidence = {
            at: [place[m] for m in questions["evidence"][at] if m in place] for at in np.flatnonzero(asks == each)
        }
        kept = [at for at, those in evidence.items() if those]
        for most, found in parts.items():
            found.append(found_of(asked[kept] @ stored[rows].T, [evidence[at] for at in kept], most))
    return outcomes | {f"locomo R@{most}": np.concatenate(found) for most, found in parts.items()}


def routing(encode: Encode) -> dict[str, Any]:
    outcomes: dict[str, Any] = {}
    for name in ("mmlu", "gsm8k", "llmrouter", "bfcl", "zeroeval"):
        table = columns(name)
        models = [
            each for each in table if "|" not in each and each not in ("sample_id", "eval_name", "prompt", "tools")
        ]
        quality = np.array(
            [[np.nan if value is None else value for value in table[model]] for model in models], float
        ).T
        order, third = np.argsort(np.nanmean(quality, axis=0)), max(1, len(models) // 3)
        gain = np.nanmean(quality[:, order[-third:]], axis=1) - np.nanmean(quality[:, order[:third]], axis=1)
        wanted = np.stack([np.nanmean(quality, axis=1), np.nan_to_num(gain)], axis=1)
        x = encode(table["prompt"])
        group = np.unique([prompt[:60] for prompt in table["prompt"]], return_inverse=True)[1]
        predicted = np.zeros_like(wanted)
        for seed in range(3):
            fold = (np.random.default_rng(seed).permutation(group.max() + 1) % FOLDS)[group]
            for each in range(FOLDS):
                seen = x[fold != each]
                mean, base = seen.mean(axis=0), wanted[fold != each].mean(axis=0)
                centred = seen - mean
                weights = np.linalg.solve(
                    centred.T @ centred + RIDGE * np.eye(x.shape[1]), centred.T @ (wanted[fold != each] - base)
                )
                predicted[fold == each] += (x[fold == each] - mean) @ weights + base
        outcomes |= {
            f"{name} difficulty": (predicted[:, 0], wanted[:, 0]),
            f"{name} gain": (predicted[:, 1], wanted[:, 1]),
        }
    return outcomes


def value(outcome: Any) -> float:
    """A mean; of a pair, the area under its ROC curve or the correlation."""
    if not isinstance(outcome, tuple):
        return float(outcome.mean())
    score, truth = outcome
    if truth.dtype != bool:
        return float(np.corrcoef(score, truth)[0, 1])
    ranks = np.unique(score, return_inverse=True, return_counts=True)
    middle = np.cumsum(ranks[2]) - (ranks[2] - 1) / 2
    inside = int(truth.sum())
    return float((middle[ranks[1]][truth].sum() - inside * (inside + 1) / 2) / (inside * (len(truth) - inside)))


def difference(old: Any, new: Any) -> list[float]:
    """New minus old, with the interval of a bootstrap over rows."""

    def take(outcome: Any, rows: np.ndarray) -> Any:
        return tuple(part[rows] for part in outcome) if isinstance(outcome, tuple) else outcome[rows]

    count = len(old[0]) if isinstance(old, tuple) else len(old)
    chance = np.random.default_rng(0)
    drawn = [chance.integers(0, count, count) for _ in range(RESAMPLES)]
    differences = [value(take(new, rows)) - value(take(old, rows)) for rows in drawn]
    return [value(new) - value(old), *np.quantile(differences, (0.025, 0.975))]


def main() -> None:
    """Both encoders on every table; an argument is another file in place of the shipped new one."""
    if not SHARED.exists():
        print(f"skipped: {SHARED} is absent (set TINY_DANCER_SHARED)")
        return
    given = sys.argv[1:]
    newer = _core.Encoder(Path(given[0]).read_bytes()) if given else _core.sentence_encoder()
    encoders = {"router": _core.encoder(), "sentences": newer}
    found: dict[str, dict[str, Any]] = {}
    for name, encoder in encoders.items():

        def encode(texts: list[str], encoder: Any = encoder) -> np.ndarray:
            return _core.encode(texts, encoder)

        found[name] = intents(encode) | retrieval(encode) | routing(encode)
    chance = {
        "clinc150 10 shots": 1 / 150,
        "banking77 10 shots": 1 / 77,
        "tools_seal R@5": 5 / 4076,
        "tools_meta R@5": 5 / 199,
    }
    chance |= dict.fromkeys(("clinc150 nearest mean, OOS AUROC", "clinc150 probe, OOS AUROC"), 0.5)
    figures: dict[str, Any] = {
        "checksums": {name: encoder.checksum for name, encoder in encoders.items()},
        "tables": {},
    }
    for name, old in found["router"].items():
        new = found["sentences"][name]
        figures["tables"][name] = {
            "router": round(value(old), 4),
            "sentences": round(value(new), 4),
            "difference": [round(float(each), 4) for each in difference(old, new)],
            "rows": len(old[0]) if isinstance(old, tuple) else len(old),
            "texts_seen": name.split()[0] in SEEN,
        } | ({"chance": round(chance[name], 4)} if name in chance else {})
    write(
        "encoder",
        figures,
        "The static encoder of sentences (routes, tools) beside that of request routers, each alone. Differences "
        "with 95 % intervals of a paired bootstrap. texts_seen: the new one was fitted to the teacher's vectors "
        "of texts of this table (never to labels; of clinc150 training texts alone, of router tables a part).",
    )


if __name__ == "__main__":
    main()
