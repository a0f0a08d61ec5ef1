"""Share of decisions flipped by typos, case, white space, Markdown, other formats, history, content-free prefixes,
beside a TF-IDF ridge's and the length's on the same texts, with 95 % intervals over rows (Clopper and Pearson's).

Formats that the engine was not made with stand apart, as "held out". All route the same share to the strong model
(half of the test rows), so that a flip means the same for all.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from formats import formats, held_out
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import RidgeCV

from common import draw, table, write
from tiny_dancer import Router, fit
from tiny_dancer.evaluation.intervals import exact_interval
from tiny_dancer.evaluation.metrics import apgr
from tiny_dancer.evaluation.robustness import PERTURBATIONS, flip_share, perturb

ROWS = {"mmlu": 1500, "gsm8k": 400}


def main() -> None:
    """Both tables."""
    figures: dict[str, object] = {}
    for name, rows in ROWS.items():
        outcomes = table(name)
        if outcomes is None:
            return
        assert outcomes.prompt is not None
        train, test = draw(outcomes, rows, 0)
        router = Router(fit(outcomes.rows(train)).artifact)
        texts = [outcomes.prompt[i] for i in test]
        vectoriser = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
        gain = outcomes.quality[train, 1] - outcomes.quality[train, 0]
        ridge = RidgeCV(alphas=np.geomspace(0.1, 100, 10))
        ridge.fit(vectoriser.fit_transform([outcomes.prompt[i] for i in train]), gain)

        def ours(requests: list[str], router: Router = router) -> np.ndarray:
            scores = router.route_batch(requests).scores.astype(np.float64)
            return scores[:, 1] - scores[:, 0]

        def theirs(
            requests: list[str], ridge: RidgeCV = ridge, vectoriser: TfidfVectorizer = vectoriser
        ) -> np.ndarray:
            return ridge.predict(vectoriser.transform(requests))

        def length(requests: list[str]) -> np.ndarray:
            return np.array([len(request) for request in requests], np.float64)

        forms: dict[str, list[Any]] = {
            kind: [perturb(text, kind, 0) for text in texts] for kind in PERTURBATIONS
        } | formats(texts, [outcomes.prompt[i] for i in train])
        others = held_out(texts)
        entry: dict[str, object] = {"rows": {"train": len(train), "test": len(test)}}
        entry["APGR of the router"] = round(apgr(ours(texts), *outcomes.quality[test].T), 4)
        for method, score in (("router", ours), ("tfidf", theirs), ("length", length)):
            before = score(texts)
            threshold = np.median(before)

            def flipped(
                changed: list[Any],
                method: str = method,
                score: Any = score,
                before: np.ndarray = before,
                threshold: float = threshold,
            ) -> float:
                # Of a conversation, the others are given all that was said.
                plain = [x if isinstance(x, str) else "\n".join(m["content"] for m in x) for x in changed]
                after = score(changed if method == "router" else plain)
                return flip_share((before >= threshold).astype(np.int64), (after >= threshold).astype(np.int64))

            for part, changes in ((method, forms), (f"{method}, held out", others)):
                shares = {kind: flipped(changed) for kind, changed in changes.items()}
                entry[part] = {kind: round(share, 4) for kind, share in shares.items()}
                entry[f"{part}, 95 %"] = {
                    kind: [round(end, 4) for end in exact_interval(round(share * len(test)), len(test))]
                    for kind, share in shares.items()
                }
            flips = entry[method]
            assert isinstance(flips, dict)
            flips["mean of typos, case, whitespace"] = round(
                float(np.mean([flips[kind] for kind in ("typos", "case", "whitespace")])), 4
            )
        choice = router.route_batch(texts).choice
        entry["router, its own policy"] = {
            kind: round(float((router.route_batch(changed).choice != choice).mean()), 4)
            for kind, changed in (forms | others).items()
        }
        figures[name] = entry
    write(
        "flips",
        figures,
        "Share of decisions changed, half of the rows to the strong model; targets: <= .05 on a format, <= .035 "
        "on typos in 5 % of words, <= .10 for content-free prefixes. No options is another question. Intervals: "
        "Clopper-Pearson, rows that are kin being one unit.",
    )


if __name__ == "__main__":
    main()
