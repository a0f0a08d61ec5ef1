"""Trains the artifact that tells kinds of tasks apart, and writes its model card. Readable from top to bottom.

Run: python recipes/task_artifact.py (from the repository's root, with ../shared beside it; a few minutes).

Category (recipes/task_data.py): ridge regression of one column a category, solved in its dual form, on hashed
n-grams
and static embedding of the whole prompt, of its first and of its last 120 bytes, and on cues; categories weigh the
same. What it consists of was chosen by leaving families of sources out: one instruction in other wordings, and one
data set under other instructions, are one family. The temperature and the threshold of `unknown` come from rows
left
out in the same way.

Quality of a weak model: ridge regression of the weak role's outcomes (recipes/tables.py) on embedding and cues,
tables weighing as the root of their rows, calibrated by isotonic regression on rows left out with their groups and
with their whole tables.

Capabilities, complexity, structured output and language are declared below. No data supports them, and every
answer
says so.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tables import by_role, joined
from task_data import Fitter, features, fitted_temperature, folds, held_out_scores, prompts, softmax
from tiny_dancer import _core
from tiny_dancer.evaluation.split import grouped_folds
from tiny_dancer.routing.tasks import TaskClassifier
from tiny_dancer.training.backends.trees import unit_embedding
from tiny_dancer.training.export import SELF_CHECK_TEXTS
from tiny_dancer.training.heads import MonotoneMap, isotonic_map

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

ROOT = Path(__file__).parents[1]
ARTIFACT = ROOT / "python/tiny_dancer/data/tasks.safetensors"
CARD = ROOT / "docs/model-cards/tasks.md"
LARGEST = 1 << 20
SEED = 0
RIGHT_LOST = 0.02
"""Share of right answers on rows left out that `unknown` may take for lack of confidence, and as many again for
lack
of known words."""

MEASURED = ("open_qa", "code_generation", "other")
"""Categories whose kind of request the outcome tables hold (exam questions and facts, code, mathematics)."""
WEAK_RIDGE, CUE_SHARE = 0.01, 0.5

CODE = (
    "python javascript typescript java rust sql c++ html css function regex compile bug unittest api code script"
)
MATHEMATICS = (
    "solve equation integral derivative probability theorem prove triangle calculate polynomial matrix sum"
)
WRITING = "poem story haiku lyrics screenplay novel tale sonnet fictional slogan joke"
TRANSLATION = "translate translation translated übersetze traduce traduis"
STRUCTURED = "json yaml csv xml schema jsonl toml"
REASONING = "why prove explain deduce step analyze analyse compare logic reason derive"
CONSTRAINTS = "exactly must only without least most maximum minimum words sentences format limit avoid bullet"


def words(listed: str, weight: float) -> dict[str, float]:
    """The same weight for each."""
    return dict.fromkeys(listed.replace("c++", "cpp").split(), weight)


HEURISTICS: list[dict[str, Any]] = [
    {"name": "coding", "group": "capability", "bias": -2.5, "categories": {"code_generation": 6.0},
     "cues": {"code_punctuation": 0.4}, "words": words(CODE, 1.5)},
    {"name": "mathematics", "group": "capability", "bias": -2.5, "categories": {"other": 2.0},
     "cues": {"latex": 1.0, "mathematics_words": 1.0, "operators": 0.4, "totals": 0.8, "quantities": 0.4},
     "words": words(MATHEMATICS, 1.0)},
    {"name": "reasoning", "group": "capability", "bias": -1.5,
     "categories": {"other": 2.5, "code_generation": 1.5},
     "cues": {"conditions": 0.4, "quantities": 0.3, "comparisons": 0.3}, "words": words(REASONING, 0.7)},
    {"name": "creative_writing", "group": "capability", "bias": -2.5,
     "categories": {"text_generation": 3.5, "brainstorming": 3.5}, "words": words(WRITING, 2.0)},
    {"name": "conversation", "group": "capability", "bias": -2.0, "categories": {"chatbot": 5.0}},
    {"name": "knowledge", "group": "capability", "bias": -2.0, "categories": {"open_qa": 5.0}},
    {"name": "reading", "group": "capability", "bias": -2.0,
     "categories": {"closed_qa": 5.0, "summarization": 5.0, "extraction": 4.0, "classification": 3.0,
                    "rewrite": 3.0}},
    {"name": "translation", "group": "capability", "bias": -4.0, "words": words(TRANSLATION, 6.0)},
    {"name": "structured_output", "group": "capability", "bias": -3.0, "categories": {"extraction": 1.0},
     "words": words(STRUCTURED, 3.5)},
    {"name": "reasoning", "group": "complexity", "bias": -2.0,
     "categories": {"other": 2.0, "code_generation": 1.5, "closed_qa": 0.5},
     "cues": {"conditions": 0.4, "distinct_quantities": 0.5, "comparisons": 0.3}, "words": words(REASONING, 0.6)},
    {"name": "creativity", "group": "complexity", "bias": -2.5,
     "categories": {"text_generation": 3.5, "brainstorming": 3.5, "rewrite": 1.0, "chatbot": 1.0},
     "words": words(WRITING, 1.0)},
    {"name": "domain_knowledge", "group": "complexity", "bias": -2.5,
     "categories": {"open_qa": 2.0, "code_generation": 2.0, "other": 1.0},
     "cues": {"long_word_share": 4.0, "latex": 0.5, "mathematics_words": 0.3}},
    {"name": "contextual_knowledge", "group": "complexity", "bias": -3.5,
     "categories": {"closed_qa": 3.0, "summarization": 3.0, "extraction": 2.0, "rewrite": 1.5,
                    "classification": 1.5},
     "cues": {"log_words": 0.35}},
    {"name": "constraints", "group": "complexity", "bias": -2.5,
     "cues": {"conditions": 0.3, "numbers": 0.3}, "words": words(CONSTRAINTS, 0.7) | words(STRUCTURED, 1.0)},
    {"name": "structured_output", "group": "structured_output", "bias": -3.0, "categories": {"extraction": 1.0},
     "words": words(STRUCTURED, 3.5)},
]  # fmt: skip
LANGUAGES = {
    "de": "der die das und ist nicht ein eine mit für auf wie ich wir was zu den von",
    "en": "the and is of to in that what how for a with you are this it an my",
    "es": "el la los las que de en es un una por con para como qué cómo del y",
    "fr": "le la les des est et que dans pour une un qui avec sur quel comment du ce",
    "it": "il lo la gli che di è per con una un come sono della nel cosa i e",
    "nl": "de het een en van is niet dat met voor hoe wat op zijn ik te aan",
    "pl": "i w na jest nie się to że z do jak co czy dla są od po",
    "pt": "o a os as que de é em um uma para com não como por do da você",
    "sv": "och att det som en är på av för med till inte hur vad jag ett",
    "tr": "ve bir bu için ne ile mi da de nasıl çok olarak olan var",
}  # fmt: skip


def weak_model(least: Floats, most: Floats) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]], str]:
    """Header, tensors, and a sentence on rows left out."""
    tables = by_role()
    rows = joined(list(tables.values()))
    assert rows.features is not None
    table = np.repeat(list(tables), [len(each) for each in tables.values()])
    _, place, count = np.unique(table, return_inverse=True, return_counts=True)
    weight = (count**-0.5)[place]
    weight = weight / weight.mean()
    target = rows.quality[:, 0]
    cues = np.clip(rows.features.cues, least, most).astype(np.float64)
    mean, deviation = cues.mean(0), np.maximum(cues.std(0), 0.05)
    root = np.sqrt(CUE_SHARE / cues.shape[1])
    design = np.hstack([unit_embedding(rows.features).astype(np.float64), (cues - mean) / deviation * root])

    def solved(part: npt.NDArray[np.int64]) -> tuple[Floats, float]:
        x, w = design[part], weight[part]
        centre, level = np.average(x, axis=0, weights=w), float(np.average(target[part], weights=w))
        left = ((x - centre) * w[:, None]).T @ (x - centre) + WEAK_RIDGE * len(part) * np.eye(x.shape[1])
        found = np.linalg.solve(left, (x - centre).T @ (w * (target[part] - level)))
        return found, level - float(found @ centre)

    def left_out(fold: npt.NDArray[np.int64]) -> Floats:
        raw = np.zeros(len(target))
        for number in np.unique(fold):
            found, bias = solved(np.flatnonzero(fold != number))
            held = np.flatnonzero(fold == number)
            raw[held] = design[held] @ found + bias
        return raw

    fold = grouped_folds(rows.group, 10, SEED)
    one, other = left_out(fold), left_out(place)

    def mapped(part: npt.NDArray[np.bool_]) -> MonotoneMap:
        return isotonic_map(
            np.concatenate([one[part], other[part]]), np.tile(target[part], 2), np.tile(weight[part], 2)
        )

    calibration = mapped(np.ones(len(target), bool))
    level = np.average(target, weights=weight)

    def judged(raw: Floats) -> tuple[float, float]:
        """Mean calibration error over ten bins and share of variance explained, by the other half's map."""
        expected = np.zeros(len(target))
        for half in (0, 1):
            own = fold % 2 == half
            expected[own] = mapped(~own)(raw[own])
        left = target - expected
        bins = np.minimum((expected * 10).astype(int), 9)
        error = sum(abs(np.sum((left * weight)[bins == each])) for each in np.unique(bins)) / weight.sum()
        spread = np.average((target - level) ** 2, weights=weight)
        return float(error), float(1 - np.average(left**2, weights=weight) / spread)

    (near, explained), (far, away) = judged(one), judged(other)
    sentence = (
        f"{len(target):,} rows of {len(tables)} tables, judged where they were left out. With other rows of their "
        f"table\n"
        f"trained on: expected quality is off by {near:.3f} on average (ten bins) and explains {explained:.1%} of "
        f"the variance.\n"
        f"With their whole table left out: off by {far:.3f}, {away:.1%} explained. The calibration is made for\n"
        "as much of the one as of the other: it keeps near the mean, for of kinds it has not seen it knows little."
    )
    found, bias = solved(np.arange(len(target)))
    dimensions = _core.EMBEDDING_DIMENSIONS
    weights = found[dimensions:] * root / deviation
    header = {
        "bias": float(np.float32(bias - weights @ mean)),
        "knots": [float(each) for each in np.asarray(calibration.knots, np.float32)],
        "values": [float(each) for each in np.asarray(calibration.values, np.float32)],
        "measured": list(MEASURED),
    }
    tensors = {"weak.embedding": found[:dimensions].astype("<f4"), "weak.cues": weights.astype("<f4")}
    return header, tensors, sentence


def with_self_checks(data: bytes) -> bytes:
    """The artifact with self-checks recorded from its own answers."""
    texts = (*SELF_CHECK_TEXTS, "Summarize the following article in two sentences.")
    checks = [
        {"text": text, "probabilities": list(each.probabilities), "weak_expected": (each.weak_quality - 1) / 4}
        for text, each in zip(texts, TaskClassifier(data).predict(texts), strict=True)
    ]
    return _core.with_header(data, {**_core.read_header(data), "self_check": checks})


def main() -> None:
    """Trains, judges, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--created", default="2026-11-30", help="date to record")
    created = parser.parse_args().created
    rows = prompts()
    fitter = Fitter(features(rows.text), rows.category)
    judged = {}
    fold = folds(rows.family, rows.category, SEED)
    scores, known = held_out_scores(fitter, fold)
    temperature = fitted_temperature(scores, fitter.target, rows.family)
    probabilities = softmax(scores, temperature)
    confidence, right = probabilities.max(1), probabilities.argmax(1) == fitter.target
    threshold = float(np.float32(np.quantile(confidence[right], RIGHT_LOST)))
    least_known = float(np.float32(np.quantile(known[right], RIGHT_LOST)))
    kept = (confidence >= threshold) & (known >= least_known)
    judged["accuracy"] = float(right.mean())
    judged["kept"] = float(kept.mean())
    judged["accuracy kept"] = float(right[kept].mean())
    judged["accuracy below"] = float(right[~kept].mean())
    print(temperature, threshold, least_known, judged)

    model = fitter.fit(np.arange(len(rows.text)))
    tensors: dict[str, npt.NDArray[Any]] = {
        "cues": model.cues,
        "cue_least": model.cue_least,
        "cue_most": model.cue_most,
    }
    for name, head in zip(("whole", "beginning", "end"), model.heads, strict=True):
        tensors |= head.tensors(name)
    weak, more, sentence = weak_model(model.cue_least.astype(float), model.cue_most.astype(float))
    print(sentence)
    header = {
        "format": _core.FORMAT,
        "kind": "tasks",
        "version": "1.0.0",
        "created": created,
        "categories": fitter.labels.tolist(),
        "spec": _core.FEATURE_SPEC,
        "encoder": _core.encoder().checksum,
        "temperature": temperature,
        "threshold": threshold,
        "least_known": least_known,
        "heuristics": HEURISTICS,
        "languages": {code: listed.split() for code, listed in LANGUAGES.items()},
        "weak": weak,
        "training": {"rows": len(rows.text), "sources": len(np.unique(rows.source.astype(str))), "seed": SEED},
        "metrics": judged,
    }
    artifact = with_self_checks(_core.artifact_bytes(header, tensors | more))
    assert len(artifact) <= LARGEST, f"{len(artifact):,} bytes exceed {LARGEST:,}"
    ARTIFACT.write_bytes(artifact)
    CARD.write_text(card(artifact, judged, sentence))
    print(f"{ARTIFACT}: {len(artifact):,} bytes\n{CARD}")


def card(artifact: bytes, judged: dict[str, float], sentence: str) -> str:
    """The model card, in Markdown."""
    header = _core.read_header(artifact)
    training = header["training"]

    def named(each: dict[str, Any], field: str) -> str:
        return ", ".join(each.get(field, ())) or "–"

    declared = "\n".join(
        f"| {each['group'].replace('_', ' ')} | {each['name']} | "
        + " | ".join(named(each, field) for field in ("categories", "cues", "words"))
        + " |"
        for each in HEURISTICS
    )
    return f"""# Model card: kinds of tasks

Written by `python recipes/task_artifact.py`; do not edit.

Says of a text which of {len(header["categories"])} kinds of task it is ({", ".join(header["categories"])};
`unknown` where
none is sure enough), and beside that what it takes: `TaskClassifier.default()`, `tiny-dancer classify`.
{len(artifact):,} bytes; it reads the whole text, its first and its last 120 bytes.

## Data
{training["rows"]:,} prompts from {training["sources"]} sources whose licences allow it, mapped to kinds by one
annotator:
Super-NaturalInstructions, P3, Arena-Hard, Self-Instruct's seed tasks, chatterbot-corpus, awesome-chatgpt-prompts,
GSM8K, MBPP, passages of Quoref and Cosmos QA, and templates (NOTICE). The file holds weights, no text but
declared words.

The quality of a weak model is learned from RouteLLM's outcomes on MMLU and GSM8K, LLMRouter's and those of the
Berkeley
Function Calling Leaderboard: for each table the mean over its weak models (the same as in [the default
artifact](default.md)).

## How good the category is
On families of sources left out (one instruction in other wordings, one data set under other instructions: one
family):
{judged["accuracy"]:.1%} of prompts get their category. `unknown` is what has a confidence below
{header["threshold"]:.2f}, or of whose words and pairs of words less than {header["least_known"]:.0%} were in the
training prompts (another
language, say): {judged["kept"]:.1%} of the prompts are kept, and of these {judged["accuracy kept"]:.1%} are
right; of the others,
{judged["accuracy below"]:.1%} would have been. Macro-F1 with interval, beside baselines:
`benchmarks/results/tasks.json`.

Kinds overlap (is a rewrite that shortens a summary?), most prompts are English, and the annotator was one: expect
disagreement where people disagree.

## How good the quality of a weak model is
{sentence}
No outcomes exist for summaries, writing, chat and the like: for all categories but {", ".join(MEASURED)},
`weak_quality` is named
in `heuristic`. Multiple-choice tables reward guessing.

## What is declared, not learned
No data supports these: each is a sigmoid of a sum of the categories' probabilities, cues and words named here,
with
weights of our judgement. Every answer names them in `heuristic`. Language goes by script, or by {len(LANGUAGES)}
short lists of
words.

| group | name | categories | cues | words |
|---|---|---|---|---|
{declared}
"""


if __name__ == "__main__":
    main()
