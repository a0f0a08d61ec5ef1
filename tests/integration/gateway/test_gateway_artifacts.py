"""What an artifact says of itself, in a gateway: its certificate counts, and that it never chooses is said."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from tests.classifiers import text_classifier
from tests.commands import done, fails
from tests.integration.gateway.processes import Running
from tests.integration.gateway.serving import HARD, written
from tests.unit.gateway.gateways import ARTIFACTS

from tiny_dancer import _core
from tiny_dancer.registry import Registry
from tiny_dancer.routing import Router
from tiny_dancer.routing.loading import load_any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.gateway_upstream import Upstream
    from tests.integration.gateway.serving import Serving

DEFAULT = _core.data_path("default.safetensors")
OTHER_MODELS = "the certificate was earned with other models"
DESCRIBE = "Describe market basket falcon guitar pepper elbow cactus kitchen napkin copper."
OTHER_PRICES = "the certificate was earned with other prices or output lengths, which its policy weighs"
UNPRICED: dict[str, Any] = {}
PRICED = {"input_cost_per_token": 2e-6, "output_cost_per_token": 8e-6, "context_window": 100_000}


@pytest.fixture(scope="module")
def certified(folder: Path, artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """By the command line, of the models ``cheap`` and ``dear``."""
    out = tmp_path_factory.mktemp("certified") / "safe.safetensors"
    done("calibrate", artifact, folder / "rest.parquet", "--max-quality-loss", 0.1, "--out", out)
    return out


def models(*names: str, **prices: Any) -> dict[str, Any]:
    return {name: {"deployments": [{"upstream": "cheap"}], **prices.get(name, {})} for name in names}


def decided(gateway: Serving, text: str = DESCRIBE, **fields: Any) -> dict[str, Any]:
    answer = gateway.http.post("/route", json={"messages": [{"role": "user", "content": text}], **fields})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize("prices", [UNPRICED, PRICED], ids=["unpriced", "priced"])
def test_a_certificate_earned_with_the_same_models_is_honoured(
    start: Callable[..., Serving], certified: Path, prices: dict[str, Any]
) -> None:
    by_command = json.loads(done("route", DESCRIBE, "--artifact", certified, "--json"))
    assert by_command["guarantee"]["epsilon"] == 0.1
    gateway = start(
        models=models("cheap", "dear", cheap=prices, dear=prices),
        routers={"default": {"artifact": str(certified)}},
    )
    found = decided(gateway)
    assert (found["guarantee"], found["guarantee_note"]) == (by_command["guarantee"], "")
    assert found["model"] == by_command["model"]
    assert gateway.gateway.status().notes == []
    assert decided(gateway, td={"policy": "quality"})["guarantee_note"] == "overridden by the caller"


def test_a_certificate_of_other_models_is_void_and_the_operator_is_told(
    start: Callable[..., Serving], certified: Path
) -> None:
    routers = {"default": {"artifact": str(certified), "models": {"cheap": "small", "dear": "large"}}}
    gateway = start(models=models("small", "large"), routers=routers)
    found = decided(gateway)
    assert (found["guarantee"], found["guarantee_note"]) == (None, OTHER_MODELS)
    assert gateway.gateway.status().notes == [f"router default: no certificate: {OTHER_MODELS}"]


# The artifact "priced" weighs dollars: 1e-6 and 10e-6 per prompt token, 100 and 150 output tokens.
OWN = Router.load(ARTIFACTS / "priced.safetensors").header["models"]
SAME = {
    each["name"]: {
        "input_cost_per_token": each["price_input"],
        "output_cost_per_token": each["price_output"],
        "cost_per_request": each["price_request"],
    }
    for each in OWN
}


@pytest.mark.parametrize(
    ("prices", "note"),
    [
        (UNPRICED, ""),
        (SAME, ""),
        ({**SAME, "swift": {**SAME["swift"], "expected_output_tokens": 100, "context_window": 50_000}}, ""),
        ({**SAME, "swift": {**SAME["swift"], "expected_output_tokens": 101}}, OTHER_PRICES),
        ({**SAME, "deep": {**SAME["deep"], "input_cost_per_token": 1.1e-5}}, OTHER_PRICES),
    ],
)
def test_where_a_policy_weighs_cost_prices_may_not_differ(
    start: Callable[..., Serving], prices: dict[str, Any], note: str
) -> None:
    names = [each["name"] for each in OWN]
    artifact = str(ARTIFACTS / "priced.safetensors")
    gateway = start(models=models(*names, **prices), routers={"default": {"artifact": artifact}})
    found = decided(gateway)
    assert (found["guarantee"] is None, found["guarantee_note"]) == (note != "", note)


# Constants.

ALWAYS = "router default: constant: always large: no saving"
CONSTANT = {"artifact": str(ARTIFACTS / "constant.safetensors"), "models": {"first": "small", "second": "large"}}


@pytest.mark.parametrize(
    ("router", "note"),
    [
        (CONSTANT, ALWAYS),
        ({**CONSTANT, "policy": "cost"}, ALWAYS),
        ({**CONSTANT, "policy": "quality"}, None),
        ({**CONSTANT, "threshold": 0.1}, None),
        ({**CONSTANT, "models": {"first": "large", "second": "small"}},
         "router default: constant: always small: nothing is chosen"),
        ({"models": {"weak": "small", "strong": "large"}, "threshold": -1}, ALWAYS),
        ({"models": {"weak": "small", "strong": "large"}, "threshold": 0.6, "policy": "cost"},
         "router default: constant: always small: nothing is chosen"),
        ({"models": {"weak": "small", "strong": "large"}, "threshold": 1}, None),
        ({"models": {"weak": "small", "strong": "large"}}, None),
    ],
)  # fmt: skip
def test_a_router_that_never_chooses_says_so(
    start: Callable[..., Serving], router: dict[str, Any], note: str | None
) -> None:
    gateway = start(routers={"default": router})
    notes = [each for each in gateway.gateway.status().notes if "constant" in each]
    assert notes == ([] if note is None else [note])
    listed = {each["id"]: each for each in gateway.http.get("/models").json()["data"]}
    for name in ("auto", "router-default"):
        assert listed[name]["router"] == "default"
        said = [each for each in listed[name]["notes"] if "constant" in each]
        assert said == [each.removeprefix("router default: ") for each in notes]
    assert "notes" not in listed["large"]
    if note is not None:
        only = note.split("always ")[1].split(":")[0]
        assert {decided(gateway, text)["model"] for text in ("Hi", HARD, "What is 2 + 2?")} == {only}


def test_the_operator_hears_of_it_at_the_start_at_a_reload_and_by_gateway_check(
    cheap: Upstream, strong: Upstream, tmp_path: Path
) -> None:
    content = {
        "upstreams": {"cheap": {"base_url": cheap.url}, "strong": {"base_url": strong.url}},
        "models": {
            "small": {"deployments": [{"upstream": "cheap"}], "cost_per_request": 0.1},
            "large": {"deployments": [{"upstream": "strong"}], "cost_per_request": 1},
        },
        "routers": {"default": CONSTANT},
        "log": {"requests": "off"},
    }
    checked = done("gateway", "check", "--config", written(content, tmp_path), "--no-upstreams")
    assert (
        "router default: small, large; policy balanced; version 1.0.0; constant: always large: no saving"
        in checked
    )
    with Running({**content, "workers": 2}, tmp_path / "run") as gateway:
        gateway.line(ALWAYS)
        assert gateway.ready()[1]["workers"][0]["notes"] == [ALWAYS]
        gateway.file.write_text(gateway.file.read_text() + "max_fallbacks: 1\n")
        gateway.line(ALWAYS, 2)


# Other kinds.


@pytest.mark.parametrize("of", ["registry", "file"])
def test_another_kind_in_place_of_a_router_is_refused_and_said(
    cheap: Upstream, strong: Upstream, tmp_path: Path, of: str
) -> None:
    classifier = tmp_path / "classifier.safetensors"
    classifier.write_bytes(text_classifier())
    registry = Registry(tmp_path / "registry", load=load_any)
    first, other = (registry.add("support", source).version for source in (DEFAULT, classifier))
    registry.promote("support", first)
    assert f"a classifier, and support serves {first}, a request-router" in fails(
        2, "models", "promote", registry.folder, "support", other
    )
    assert registry.serving("support").version == first
    path = tmp_path / "router.safetensors"
    path.write_bytes(DEFAULT.read_bytes())
    artifact = str(path) if of == "file" else {"folder": str(registry.folder), "name": "support"}
    content = {
        "workers": 2,
        "upstreams": {"cheap": {"base_url": cheap.url}, "strong": {"base_url": strong.url}},
        "models": models("small", "large"),
        "routers": {"default": {"artifact": artifact, "models": {"weak": "small", "strong": "large"}}},
        "log": {"requests": "off"},
    }
    says = r"is now a classifier \(version .*\), and a request-router \(version 0\.1\.0\) serves"
    with Running(content, tmp_path / "run") as gateway:
        assert gateway.ready()[1]["workers"][0]["reload_error"] is None
        if of == "file":
            classifier.replace(path)
        else:  # by another program: ours refuses
            index = registry.folder / "support" / "index.json"
            found = json.loads(index.read_text())
            found["versions"][0]["state"], found["versions"][1]["state"] = "added", "serving"
            index.write_text(json.dumps(found))
        gateway.line(says, 2)
        assert all(re.search(says, each["reload_error"]) for each in gateway.ready()[1]["workers"])
        assert gateway.chat(model="auto").headers["x-td-routed-by"] == "learned"
