"""The router's FastGRNN backend: the engine repeats it, it is chosen by name, and jax is not imported before."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from tests.synthetic import pair, requests, trio

from tiny_dancer import OptionError, Router, _core, fit
from tiny_dancer.routing import featurise
from tiny_dancer.training.backends import FAMILIES, Targets, families_named
from tiny_dancer.training.backends.fastgrnn import FastGrnn
from tiny_dancer.training.costs import CostHead
from tiny_dancer.training.export import Heads, build
from tiny_dancer.training.heads import IDENTITY, MonotoneMap, components_basis
from tiny_dancer.training.policy import Policy

FRESH = featurise([*requests(100, 61)[0], "?", "é" * 500, "1 + 1 = 2\n\n\tx"])


def test_the_engine_repeats_its_predictions() -> None:
    table = trio(150, 60)
    centred = table.quality - table.quality.mean(0)
    targets = Targets(centred @ components_basis(centred, np.ones(150)), centred, np.ones(150), 2)
    fitted = FastGrnn().fit(table.features, targets, 5)
    predicted = fitted.predict(FRESH)
    assert predicted.std() > 0.005, "something was learned"
    shrink = 0.4 / np.abs(predicted).max()
    heads = Heads(
        mean=np.full(3, 0.5),
        basis=np.eye(3),
        stack=np.full((1, 3), shrink),
        calibration=(IDENTITY,) * 3,
        confidence=MonotoneMap(np.array([0.0]), np.array([0.5])),
        cost=CostHead(np.zeros(_core.CUES + 1), (None,) * 3, (None,) * 3),
        latency=(None, None, None),
        set_width=1.0,
        set_coverage=0.9,
    )
    policy = Policy("constant", 0, 0.0, "calls", (True,) * 3)
    artifact = build(("a", "b", "c"), [fitted], heads, policy, {}, version="0.1.0", created="")
    scores = Router(artifact).route_features(FRESH).scores
    assert np.abs(scores - (0.5 + shrink * predicted)).max() < 1e-4 * max(shrink, 1)


def test_it_is_considered_where_it_is_named(monkeypatch) -> None:
    names = [family[0].name for family in FAMILIES]
    assert "fastgrnn" not in names
    assert [family[0].name for family in families_named(["fastgrnn", "linear"])] == ["fastgrnn", "linear"]
    assert families_named(None) == FAMILIES
    with pytest.raises(OptionError, match=r"backends: forest; give some of extra_trees.*fastgrnn"):
        families_named(["forest"])
    monkeypatch.setattr("tiny_dancer.training.fit.FOLDS", 2)  # each fold compiles anew
    fitted = fit(pair(80, 11), backends=["fastgrnn", "linear"])
    assert {"fastgrnn", "linear", "fastgrnn + linear"} <= set(fitted.explained)
    assert set(fitted.chosen) <= {"fastgrnn", "linear"}


def test_importing_the_training_room_does_not_import_jax() -> None:
    script = "import sys, tiny_dancer.training.api, tiny_dancer.training.backends; print('jax' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60, check=True)
    assert found.stdout.strip() == b"False"
