"""Share of decisions flipped by typos, case, white space and Markdown, beside a TF-IDF ridge's on the same texts.

Both route the same share to the strong model (half of the test rows), so that a flip means the same for both.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import RidgeCV

from common import draw, table, write
from tiny_dancer import Router, fit
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

        entry: dict[str, object] = {}
        for method, score in (("router", ours), ("tfidf", theirs)):
            before = score(texts)
            threshold = np.median(before)
            flips = {}
            for kind in PERTURBATIONS:
                after = score([perturb(text, kind, 0) for text in texts])
                flips[kind] = round(
                    flip_share((before >= threshold).astype(np.int64), (after >= threshold).astype(np.int64)), 4
                )
            flips["mean of typos, case, whitespace"] = round(
                float(np.mean([flips[kind] for kind in ("typos", "case", "whitespace")])), 4
            )
            entry[method] = flips
        figures[name] = entry
    write("flips", figures, "Share of decisions changed; target: at most half of TF-IDF's.")


if __name__ == "__main__":
    main()
