"""Fits the scale of ``tiny_dancer/routing/zero_shot.py``: how much likeness to a description tells.

    PYTHONPATH=python python recipes/zero_shot.py

Texts of four tables, each with a label of its own set: clinc150 (validation rows; 150 intents), banking77 (77),
tools (MetaTool: 199, with descriptions) and subjects (MMLU: 28). A question is a text and K choices, one of
them right, the others drawn from its set: at random, or among the 3 K labels most like the right one. The scale
is the one of the highest likelihood over all questions, each set and each K counting the same. Nothing of the
texts is in it but one number. Two more sets judge alone: Seal-Tools (4,076 tools), and kinds of tasks (11),
which are not what a text is about.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar

from tables import SHARED
from tiny_dancer import _core
from tiny_dancer.routing import zero_shot
from tiny_dancer.routing.questions import Choice

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

FITTED = ("clinc150", "banking77", "tools", "subjects")
JUDGED = (*FITTED, "seal_tools", "kinds_of_tasks")
COUNTS = (2, 3, 4, 5, 8, 10, 20, 50)
QUESTIONS = 800


class LabelSet(NamedTuple):
    """Cosines of n texts to N labels [n, N], their right labels [n], cosines of labels to each other [N, N]."""

    likeness: Floats
    right: npt.NDArray[np.int64]
    alike: Floats


class Drawn(NamedTuple):
    """Questions of K choices: cosines [n, K], the right one first; whether alike ones were drawn."""

    likeness: Floats
    near: bool


def label_sets() -> dict[str, LabelSet]:
    """Those of the tables, by name."""
    import pyarrow.parquet as parquet

    def rows(name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = parquet.read_table(SHARED / f"{name}.parquet").to_pylist()
        return found

    def tools(name: str) -> tuple[list[tuple[str, str]], dict[str, str]]:
        asked = [
            (row["query"], row["tool_ids"][0]) for row in rows(f"{name}_queries") if len(row["tool_ids"]) == 1
        ]
        schemas = {row["tool_id"]: json.loads(row["schema"]) for row in rows(name)}
        return asked, {tool: schema.get("description") or "" for tool, schema in schemas.items()}

    plain = {
        "clinc150": [(row["text"], row["intent"]) for row in rows("clinc150_val") if row["intent"] != "oos"],
        "banking77": [(row["text"], row["intent"]) for row in rows("banking77_train")],
        "subjects": [(row["prompt"], row["eval_name"].partition(".")[2]) for row in rows("mmlu")],
        "kinds_of_tasks": [(row["text"], row["category"]) for row in rows("task_categories_train")],
    }
    found = {
        name: _encoded(asked, dict.fromkeys(sorted({label for _, label in asked}), ""))
        for name, asked in plain.items()
    }
    for name, table in (("tools", "tools_meta"), ("seal_tools", "tools_seal")):
        found[name] = _encoded(*tools(table))
    return found


def _encoded(asked: list[tuple[str, str]], labels: dict[str, str]) -> LabelSet:
    if len(asked) > 5000:
        asked = [asked[at] for at in np.random.default_rng(0).choice(len(asked), 5000, replace=False)]
    encoder = _core.sentence_encoder()
    texts = _core.encode([text for text, _ in asked], encoder).astype(float)
    choices = [zero_shot.described(Choice(label, described)) for label, described in labels.items()]
    vectors = _core.encode(choices, encoder).astype(float)
    place = {label: at for at, label in enumerate(labels)}
    return LabelSet(texts @ vectors.T, np.array([place[label] for _, label in asked]), vectors @ vectors.T)


def draw(given: LabelSet, seed: int = 0) -> list[Drawn]:
    """Questions of each number of choices, with labels drawn at random and among the most alike."""
    dice = np.random.default_rng(seed)
    labels = given.likeness.shape[1]
    found = []
    for count in COUNTS:
        for near in (False, True):
            if count > labels:
                continue
            texts = dice.choice(len(given.right), min(QUESTIONS, len(given.right)), replace=False)
            likeness = np.empty((len(texts), count))
            for row, text in enumerate(texts):
                right = given.right[text]
                others = np.delete(np.argsort(-given.alike[right]), 0) if near else np.arange(labels)
                others = others[others != right][: 3 * count if near else None]
                chosen = dice.choice(others, count - 1, replace=False)
                likeness[row] = given.likeness[text, [right, *chosen]]
            found.append(Drawn(likeness, near))
    return found


def fit_scale(drawn: list[list[Drawn]]) -> float:
    """Of the highest likelihood, each set and each number of choices counting the same."""

    def loss(scale: float) -> float:
        sets = [
            np.mean(
                [
                    -np.log(zero_shot.probabilities(each.likeness, scale)[:, 0] + 1e-300).mean()
                    for each in questions
                ]
            )
            for questions in drawn
        ]
        return float(np.mean(sets))

    found: float = minimize_scalar(loss, bounds=(0.1, 100.0), method="bounded").x
    return found


def main() -> None:
    """Prints the scale and the checksum of the encoder it belongs to."""
    sets = label_sets()
    print("SCALE", round(fit_scale([draw(sets[name]) for name in FITTED]), 1))
    print("FITTED_ON", _core.sentence_encoder().checksum)


if __name__ == "__main__":
    main()
