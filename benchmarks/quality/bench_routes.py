"""Semantic routes on rows they were not fitted on: accuracy, out of scope, calibration, typos; few utterances and
many.

clinc150's training rows to its validation rows (of which 200 belong to no intent, none of those is trained on),
banking77 in five folds, and ten utterances an intent of both (two draws; judged on all other rows, of clinc150 on
its validation rows). Beside them: TF-IDF of words and word pairs with a linear support vector machine, whose
largest margin tells what is out of scope, and the share of the commonest intent.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from pyarrow import parquet
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.svm import LinearSVC

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import SHARED, write
from tiny_dancer import SemanticRoutes
from tiny_dancer.evaluation.intervals import exact_interval
from tiny_dancer.evaluation.robustness import perturb
from tiny_dancer.training.routes.fit import fit_routes
from tiny_dancer.training.routes.scope import area

DRAWS = 2
SHOTS = 10
FOLDS = 5
Rows = tuple[list[str], list[str | None]]


def rows(name: str) -> Rows | None:
    """Texts and intents of a table; None stands for no intent."""
    path = SHARED / f"{name}.parquet"
    if not path.exists():
        print(f"{path} is not here: nothing measured")
        return None
    table = parquet.read_table(path)
    return table["text"].to_pylist(), [None if each == "oos" else each for each in table["intent"].to_pylist()]


def part(given: Rows, index: np.ndarray) -> Rows:
    """Those rows."""
    return [given[0][at] for at in index], [given[1][at] for at in index]


def shots(given: Rows, seed: int) -> tuple[Rows, Rows]:
    """Ten rows of every intent, and the others."""
    dice, label = np.random.default_rng(seed), np.array(given[1])
    taken = np.concatenate(
        [dice.permutation(np.flatnonzero(label == name))[:SHOTS] for name in sorted({*given[1]})]
    )
    return part(given, taken), part(given, np.setdiff1d(np.arange(len(label)), taken))


def judged(train: Rows, test: Rows) -> dict[str, float]:
    """Ours."""
    fitted = fit_routes(*train)
    router = SemanticRoutes.from_bytes(fitted.artifact)
    found = router.evaluate(*test)
    texts = [text for text, label in zip(*test, strict=True) if label is not None][:1000]
    plain, slipped = (router.route_many(each) for each in (texts, [perturb(text, "typos", 1) for text in texts]))
    flips = np.mean([a.best != b.best for a, b in zip(plain, slipped, strict=True)])
    inside = sum(label is not None for label in test[1])
    result = {
        "accuracy": found.accuracy,
        "rows": inside,
        "calibration error": found.calibration_error,
        "flips under typos": float(flips),
        "bytes": len(fitted.artifact),
        "near-miss AUROC, left out": fitted.report.near_miss_auroc or float("nan"),
    }
    if found.out_of_scope_auroc is not None and found.out_of_scope_f1 is not None:
        result |= {"out-of-scope AUROC": found.out_of_scope_auroc, "out-of-scope F1": found.out_of_scope_f1}
    return result


def plain(train: Rows, test: Rows) -> dict[str, float]:
    """TF-IDF and a linear support vector machine."""
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    machine = LinearSVC().fit(words.fit_transform(train[0]), train[1])
    scores = machine.decision_function(words.transform(test[0]))
    best = machine.classes_[scores.argmax(axis=1)]
    inside = np.array([label is not None for label in test[1]])
    result = {"TF-IDF accuracy": float(np.mean(best[inside] == np.array(test[1], object)[inside]))}
    if not inside.all():
        result["TF-IDF out-of-scope AUROC"] = area(scores.max(axis=1)[inside], scores.max(axis=1)[~inside])
    _, counts = np.unique(np.array(test[1], object)[inside].astype(str), return_counts=True)
    return result | {"commonest intent": float(counts.max() / counts.sum())}


def over(pairs: list[tuple[Rows, Rows]]) -> dict[str, object]:
    """Means over splits; the interval counts the rows of all of them."""
    found = [judged(*pair) | plain(*pair) for pair in pairs]
    result: dict[str, object] = {
        name: round(float(np.mean([each[name] for each in found])), 4) for name in found[0]
    }
    total = int(sum(each["rows"] for each in found))
    hits = round(sum(each["accuracy"] * each["rows"] for each in found))
    result["rows"] = total
    result["accuracy interval"] = [round(end, 4) for end in exact_interval(hits, total)]
    print(result, flush=True)
    return result


def main() -> None:
    """Both tables, whole and few."""
    clinc, validation, banking = rows("clinc150_train"), rows("clinc150_val"), rows("banking77_train")
    if clinc is None or validation is None or banking is None:
        return
    fold = np.random.default_rng(0).permutation(len(banking[0])) % FOLDS
    folds = [
        (part(banking, np.flatnonzero(fold != at)), part(banking, np.flatnonzero(fold == at)))
        for at in range(FOLDS)
    ]
    figures = {
        "clinc150": over([(clinc, validation)]),
        "clinc150, ten utterances": over([(shots(clinc, seed)[0], validation) for seed in range(DRAWS)]),
        "banking77, ten utterances": over([shots(banking, seed) for seed in range(DRAWS)]),
        "banking77, five folds": over(folds),
    }
    write("routes", figures, note=__doc__ or "")


if __name__ == "__main__":
    main()
