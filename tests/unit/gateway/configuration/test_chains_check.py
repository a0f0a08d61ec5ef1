"""Routes and chains of a configuration: what leads nowhere or in a circle is named, by the file or when loaded."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.unit.gateway.gateways import CHEAP, DEAR, configured, model

from tiny_dancer import CallableEncoder, Route, SemanticRoutes
from tiny_dancer.errors import ArtifactError, ConfigError, TinyDancerError
from tiny_dancer.gateway.choosing.serving import Serving

if TYPE_CHECKING:
    from pathlib import Path

STEP = {"routes": "r", "uncalibrated": True}


def problems(**more: Any) -> list[str]:
    models = {"small": model(**CHEAP, aliases=["mini"]), "large": model(**DEAR)}
    with pytest.raises(ConfigError) as caught:
        configured(**{"models": models, **more})
    return [str(caught.value), *getattr(caught.value, "__notes__", ())]


def chain(**steps: Any) -> dict[str, Any]:
    return {"chains": {"c": {"default": "small", **steps}}}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (chain(default="smal"), "chains.c.default: 'smal'; did you mean small?"),
        (chain(default="chain-x"), "chains.c.default: 'chain-x'; did you mean chain-c?"),
        (chain(default="router-defaul"), "chains.c.default: 'router-defaul'; did you mean router-default?"),
        (chain(override=[{"target": "x", "tags": ["a"]}]), "chains.c.override.0.target: 'x'"),
        (chain(override=[{"target": "small", "tags": [" "]}]), "chains.c.override.0.tags: ' '; give a text"),
        (chain(override=[{"target": {"answer": " "}, "tags": ["a"]}]), "chains.c.override.0.target.answer: ' '"),
        (chain(default={"answer": " "}), "chains.c.default.answer: ' '; give the text"),
        (chain(semantic={"routes": "s"}), "chains.c.semantic.routes: 's'"),
        (chain(learned={"router": "other"}), "chains.c.learned.router: 'other'; routers: default"),
        (
            chain(judge={"model": "larg", "choices": {"small": ""}}),
            "chains.c.judge.model: 'larg'; did you mean",
        ),
        (
            chain(judge={"model": "chain-c", "choices": {"small": ""}}),
            "chains.c.judge.model: chain-c; a chain",
        ),
        (chain(judge={"model": "large"}), "chains.c.judge.choices: missing; give them"),
        (chain(judge={"model": "large", "choices": {}}), "chains.c.judge.choices: empty"),
        (chain(judge={"model": "large", "choices": {"x": ""}}), "chains.c.judge.choices.x: 'x'"),
        (chain(human={}), "chains.c.human.keep_prompts: false; people answer what they can read"),
        (
            chain(human={"keep_prompts": True, "wait": 60, "expires": 5}),
            "chains.c.human.expires: 5.0; give",
        ),
        ({"chains": {"a,b": {"default": "small"}}}, "chains.a,b: 'a,b'; use plain characters"),
        ({"routes": {"r": {"file": "r.json", "targets": {"a": "x"}}}}, "routes.r.targets.a: 'x'"),
        (
            {"chains": {"a": {"default": "chain-b"}, "b": {"default": "chain-a"}}},
            "chains.a: a -> b -> a; let one of them lead elsewhere",
        ),
        (
            {
                "routes": {"r": {"file": "r.json", "targets": {"x": "chain-a"}}},
                "chains": {"a": {"semantic": STEP, "default": "small"}},
            },
            "chains.a: a -> a; let one of them lead elsewhere",
        ),
        ({"roles": {"chat": {"model": "chain-x"}}}, "roles.chat.model: 'chain-x'"),
        ({**chain(), "roles": {"chat": {"model": "chain-c", "policy": "quality"}}}, "roles.chat.policy: quality"),
        ({**chain(), "roles": {"embed": {"model": "chain-c"}}}, "roles.embed.model: chain-c; embeddings are not"),
        ({"models": {"chain-x": model(**CHEAP)}, "routers": {}}, "models.chain-x: 'chain-x'; auto, router-…"),
    ],
)
def test_what_leads_nowhere_is_named(more: dict[str, Any], said: str) -> None:
    found = problems(**more)
    assert any(each.startswith(said) for each in found), found


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (chain(semantic={"routes": "r", "confidence": 1.2}), "confidence"),
        (chain(semantic={"routes": "r", "confidence": -0.1}), "confidence"),
        (chain(judge={"model": "large", "timeout": 0}), "timeout"),
        (chain(human={"keep_prompts": True, "wait": -1}), "wait"),
        (chain(human={"keep_prompts": True, "most": 0}), "most"),
        (chain(override=[{"target": "small"}]), "without a condition"),
        (chain(default={"answer": ""}), "answer"),
        (chain(default={"text": "x"}), "text"),
        ({"chains": {"c": {}}}, "default"),
        (chain(guess={}), "guess"),
        ({"routes": {"r": {}}}, "artifact or file"),
        ({"routes": {"r": {"artifact": "a", "file": "b"}}}, "artifact or file"),
    ],
)
def test_what_no_key_may_be_is_refused(more: dict[str, Any], said: str) -> None:
    import msgspec

    with pytest.raises(msgspec.ValidationError, match=said):
        configured(**more)


def test_every_kind_of_target_is_one() -> None:
    targets = ["small", "mini", "auto", "router-default", "router-quality", "router-default-0.3", "chain-last"]
    chains: dict[str, Any] = {f"c{at}": {"default": target} for at, target in enumerate(targets)}
    chains |= {"last": {"default": {"answer": "Bye."}}}
    models = {"small": model(**CHEAP, aliases=["mini"]), "large": model(**DEAR)}
    assert len(configured(models=models, chains=chains, roles={"chat": {"model": "chain-last"}}).chains) == 8


def write(folder: Path, *routes: Route) -> None:
    SemanticRoutes(routes).save(folder / "r.safetensors")


def served(folder: Path, targets: dict[str, Any] | None = None, **more: Any) -> Serving:
    routes = {"r": {"artifact": "r.safetensors", "targets": targets or {}}}
    return Serving(configured(**{"routes": routes, **chain(semantic=STEP), **more}), folder)


def test_targets_come_from_the_artifact_and_from_the_file(tmp_path: Path) -> None:
    write(tmp_path, Route("a", ["a"], target="small"), Route("b", ["b"], target="nobody"), Route("c", ["c"]))
    serving = served(tmp_path, {"b": "large"})
    found = serving.routes["r"]
    assert [found.target(each) for each in found.serving.routes] == ["small", "large", None]
    assert serving.notes()[-1] == "routes r: lead nowhere: c; give them targets"
    serving.close()


@pytest.mark.parametrize(
    ("routes", "targets", "said"),
    [
        ([Route("a", ["a"], target="nobody")], {}, "routes.r.a.target: nobody; .*under routes.r.targets"),
        ([Route("a", ["a"], target={"url": "x"})], {}, r"routes.r.a.target: .*answer: text"),
        ([Route("a", ["a"])], {"b": "small"}, "routes.r.targets.b: b; "),
        ([Route("a", ["a"], target="chain-c")], {}, "chains.c: c -> c; let one of them"),
    ],
)
def test_an_artifact_whose_routes_lead_nowhere_cannot_serve(
    tmp_path: Path, routes: list[Route], targets: dict[str, Any], said: str
) -> None:
    write(tmp_path, *routes)
    with pytest.raises(ConfigError, match=said):
        served(tmp_path, targets)


def test_nothing_uncalibrated_is_believed_unasked(tmp_path: Path) -> None:
    write(tmp_path, Route("a", ["a"], target="small"))
    with pytest.raises(ConfigError, match=r"routes: r is not calibrated; .*uncalibrated: true"):
        served(tmp_path, **chain(semantic={"routes": "r"}))


def test_other_artifacts_files_and_encoders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="artifact"):
        served(tmp_path)
    (tmp_path / "r.safetensors").write_bytes(b"nothing")
    with pytest.raises(ArtifactError):
        served(tmp_path)
    encoder = CallableEncoder(lambda texts: np.ones((len(texts), 3)), name="mine", dimension=3)
    SemanticRoutes([Route("a", ["a"], target="small")], encoder).save(tmp_path / "r.safetensors")
    with pytest.raises(ArtifactError, match="engine's own encoder"):
        served(tmp_path)
    (tmp_path / "r.json").write_text(json.dumps({"routes": [{"name": "a", "utterances": []}]}))
    with pytest.raises(TinyDancerError, match=r"utterances"):
        served(tmp_path, routes={"r": {"file": "r.json"}})


def test_a_reload_keeps_routes_and_what_was_counted_of_their_rates(tmp_path: Path) -> None:
    write(tmp_path, Route("a", ["a"], target="small"))
    before = served(tmp_path)
    after = Serving(before.config, tmp_path, before)
    assert after.routes["r"] is before.routes["r"]
    before.close(after)
    other = Serving(configured(**chain()), tmp_path, after)
    assert not other.routes
    after.close(other)
    other.close()
