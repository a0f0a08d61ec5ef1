"""A router that keeps a share of the requests, whatever the traffic is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.synthetic import requests
from tests.unit.gateway.gateways import ARTIFACTS, CHEAP, DEAR, FIVE, configured, model, names, opened, plan

from tiny_dancer.errors import TinyDancerError
from tiny_dancer.gateway.choosing.serving import Serving

PAIR = {"models": {"weak": "small", "strong": "large"}}
TEXTS = requests(400, 60)[0]


def asking(**more: Any) -> dict[str, Any]:
    return {"routers": {"default": {**PAIR, **more}}}


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8, 1.0])
def test_the_share_is_given_and_no_certificate_with_it(share: float) -> None:
    found = opened(**asking(share=share, share_window=100))
    assert found.routers["default"].variants[0].always() is None
    made = [plan(found, text) for text in TEXTS]
    assert np.mean([each.model.name == "large" for each in made]) == pytest.approx(share, abs=0.05)
    assert {each.routed_by for each in made} == {"override"}
    assert all(each.decision is not None and each.decision.guarantee is None for each in made)
    found.close()


def test_who_names_a_policy_or_threshold_gets_it() -> None:
    found = opened(**asking(share=0.0))
    assert names(found, TEXTS[0], td={"threshold": -1})[0] == "large"
    assert names(found, TEXTS[0])[0] == "small"
    found.close()


def test_a_reload_goes_on_with_what_was_seen() -> None:
    settings = configured(
        models={"small": model("here", **CHEAP), "large": model("here", **DEAR)}, **asking(share=0.3)
    )
    before = Serving(settings, Path())
    for text in TEXTS[:50]:
        plan(before, text)
    after = Serving(settings, Path(), before)
    gains = after.routers["default"].variants[0].gains
    assert gains is before.routers["default"].variants[0].gains
    assert gains is not None
    assert len(gains) == 50
    after.close()


@pytest.mark.parametrize("beside", [{"threshold": 0.1}, {"policy": "quality"}])
def test_a_share_beside_a_threshold_or_policy_is_refused(beside: dict[str, Any]) -> None:
    with pytest.raises(TinyDancerError, match="share"):
        opened(**asking(share=0.3, **beside))


def test_an_artifact_of_more_models_has_no_share() -> None:
    routers = {"default": {"artifact": str(ARTIFACTS / "five.safetensors"), "share": 0.3}}
    with pytest.raises(TinyDancerError, match="two models"):
        opened(models={name: model("here", **CHEAP) for name in FIVE}, routers=routers)
