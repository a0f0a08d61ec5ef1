"""The linear backend: what it says of requests far from the rows it was fitted on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.synthetic import fitted_pair, pair

from tiny_dancer import Router, _core
from tiny_dancer.errors import ArtifactError
from tiny_dancer.routing import featurise
from tiny_dancer.training.backends import Targets
from tiny_dancer.training.backends.linear import FittedLinear, Linear
from tiny_dancer.training.fit import fit

LONG = "Tell a story. " + " ".join(f"The {number} houses of street {number**2} are red," for number in range(3000))
CODE = "```python\n" + "\n".join(f"x{n} = [a{n} ** {n}, {{'k': {n / 7:.3f}}}]" for n in range(60)) + "\n```"
FAR = (
    LONG,
    CODE,
    "日本語で説明してください。" * 40,
    "?",
    "$\\frac{1}{2}\\sum_{i=1}^{n} x^i$ " * 30,
    "1 2 3 4 5 6 7 8 9 " * 50,
)


def fitted_linear() -> tuple[FittedLinear, float]:
    """Fitted on requests that all look alike, and the most by which it lifts or lowers one of them."""
    table = pair(300, 81)
    assert table.features is not None
    quality = table.quality - table.quality.mean(0)
    fitted = Linear().fit(table.features, Targets(quality, quality, table.weight, 1), 0)
    return fitted, float(np.abs(fitted.predict(table.features)).max())


def test_requests_unlike_those_of_training_do_not_saturate_its_scores() -> None:
    fitted, most = fitted_linear()
    assert np.abs(fitted.predict(featurise(list(FAR)))).max() < 1.5 * most


def test_cues_beyond_what_was_seen_count_as_what_was_seen() -> None:
    fitted, _ = fitted_linear()
    rows = featurise(["Describe the house?"])
    cues = np.where(np.arange(_core.CUES) % 2, np.float32(1e6), np.float32(-1e6))
    edge = np.where(np.arange(_core.CUES) % 2, fitted.cue_most, fitted.cue_least)
    beyond, at = (fitted.predict(replace(rows, cues=each[None])) for each in (cues, edge))
    np.testing.assert_array_equal(beyond, at)


def test_a_cue_that_hardly_varies_weighs_little() -> None:
    """Of two cues, the one that half of the rows have is trusted, not the one that a single row has."""
    table = pair(200, 82)
    assert table.features is not None
    rows = table.features.rows(np.arange(200))
    cues = np.zeros_like(rows.cues)
    cues[:100, 0] = 1
    cues[0, 1] = 0.01
    signal = np.where(np.arange(200) < 100, 1.0, -1.0)[:, None]
    blank = replace(rows, cues=cues, embedding=np.zeros_like(rows.embedding))
    fitted = Linear(ngram_share=1e-9).fit(blank, Targets(signal, signal, np.ones(200), 0), 0)
    assert abs(fitted.cues[0, 1]) < abs(fitted.cues[0, 0]) / 20


def test_the_engine_holds_cues_to_what_was_seen() -> None:
    """On requests far from all rows not all models are given up on, nor are all taken for sure."""
    fitted = fit(pair(200, 83), families=((Linear(),),))
    assert fitted.chosen == ("linear",)
    router = Router(fitted.artifact)
    tensors = _core.read_tensors(fitted.artifact)
    assert {"b0.cue_least", "b0.cue_most"} <= set(tensors)
    scores = router.route_batch(list(FAR)).scores
    assert ((scores > 0.02) & (scores < 0.98)).any(1).all(), scores


@pytest.mark.parametrize("request_text", FAR)
def test_no_request_makes_all_scores_nothing(request_text: str) -> None:
    assert Router(fitted_pair().artifact).route(request_text).scores["strong"] > 0.02


def test_bounds_that_contradict_each_other_are_refused() -> None:
    artifact = fit(pair(60, 84), families=((Linear(),),)).artifact
    header, tensors = _core.read_header(artifact), _core.read_tensors(artifact)
    assert header["backends"], "something was learned"
    turned = {"b0.cue_least": tensors["b0.cue_most"] + 1}
    with pytest.raises(ArtifactError, match="cue_least"):
        Router(_core.artifact_bytes(header, tensors | turned))
