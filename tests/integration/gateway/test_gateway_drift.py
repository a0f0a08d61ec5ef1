"""A gateway whose requests change: the certificate is withdrawn and all are told; another artifact begins anew."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.integration.gateway.processes import PATIENCE, Running
from tests.synthetic import fitted_pair, pair, requests

from tiny_dancer import calibrate
from tiny_dancer.gateway.choosing import serving as served
from tiny_dancer.gateway.configuration.check import load_gateway

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.gateway_upstream import Upstream
    from tests.integration.gateway.serving import Serving

CHANGED = "requests have become unlike those the certificate was earned on"
LIKE = list(requests(60, 301)[0])
# A third of them loses the guarantee one by one; together they are another kind of traffic.
OTHER = [
    f"Translate into French: the {word} is {n} years old." for n in range(9) for word in ("oak", "cat", "inn")
]


def certificate(seed: int) -> bytes:
    return calibrate(fitted_pair().artifact, pair(500, seed), max_quality_loss=0.1).artifact


def settings(artifact: Path) -> dict[str, Any]:
    """The models have the names that the certificate was earned with."""
    deployments = {"deployments": [{"upstream": "cheap"}]}
    return {
        "models": {"weak": deployments, "strong": deployments},
        "routers": {"default": {"artifact": str(artifact)}},
    }


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    path = tmp_path / "certified.safetensors"
    path.write_bytes(certificate(40))
    return path


def covered(gateway: Serving, text: str, **fields: Any) -> str | None:
    answer = gateway.chat(text, model="auto", **fields)
    assert answer.status_code == 200, answer.text
    found: str | None = answer.headers.get("x-td-guarantee")
    return found


def test_the_certificate_is_withdrawn_and_all_are_told(
    start: Callable[..., Serving], artifact: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gateway = start(**settings(artifact))
    assert gateway.gateway.status().drift == {}
    like = [covered(gateway, text) for text in LIKE]
    assert like.count("yes") > 50
    assert set(like) <= {"yes", "no: the request is unlike those the certificate was earned on (see likeness)"}
    drift = gateway.gateway.status().drift["default"]
    assert (drift.observed, drift.since, drift.threshold) == (len(LIKE), None, 100)
    assert gateway.gateway.status().notes == []
    assert covered(gateway, LIKE[0], td={"pin": "weak"}) is None, "no router has decided"
    assert covered(gateway, LIKE[0], td={"policy": "quality"}) == "no: overridden by the caller"
    before = gateway.gateway.status().drift["default"].observed
    with caplog.at_level(logging.WARNING, "tiny_dancer.gateway"):
        for text in OTHER:
            assert (covered(gateway, text) or "").startswith("no: ")
    drift = gateway.gateway.status().drift["default"]
    assert drift.since is not None
    assert drift.withdrawn
    assert before < drift.since <= before + len(OTHER)
    assert drift.capital >= 100
    (said,) = [each.getMessage() for each in caplog.records if CHANGED in each.getMessage()]
    assert said.startswith(f"router default: the certificate of {drift.artifact} is withdrawn: {CHANGED}")
    # From now on no request has it, however like it is.
    note = f"{CHANGED}: alarm likeness since decision {drift.since} of this watch"
    assert {covered(gateway, text) for text in LIKE[:9]} <= {f"no: {note}", *like} - {"yes"}
    messages = [{"role": "user", "content": LIKE[like.index("yes")]}]
    decided = gateway.http.post("/route", json={"messages": messages}).json()
    assert (decided["guarantee"], decided["guarantee_note"]) == (None, note)
    withdrawn = f"certificate withdrawn: {note} (in one worker)"
    assert gateway.gateway.status().notes == [f"router default: {withdrawn}"]
    listed = {each["id"]: each for each in gateway.http.get("/models").json()["data"]}
    assert listed["auto"]["notes"] == [withdrawn]


def test_it_stays_at_a_reload_of_the_configuration_and_begins_anew_with_another_artifact(
    start: Callable[..., Serving], artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "WATCH_SECONDS", 0.1)
    gateway = start(**settings(artifact))
    for text in OTHER:
        covered(gateway, text)
    rung = gateway.gateway.status().drift["default"]
    assert rung.since is not None
    # The router is loaded again, as its settings are others; the artifact is the same.
    file = gateway.folder / "gateway.yaml"
    file.write_text(file.read_text().replace("default:\n", "default:\n    min_quality: 0.001\n", 1))
    gateway.gateway.reload(load_gateway(file))
    assert (covered(gateway, LIKE[1]) or "").startswith("no: ")
    assert gateway.gateway.status().drift["default"].since == rung.since
    # Another artifact of the same version takes its place in the file.
    artifact.write_bytes(certificate(41))
    end = time.monotonic() + PATIENCE
    while gateway.gateway.services.serving.routers["default"].variants[0].router.serving.artifact in rung.artifact:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert gateway.gateway.status().notes == []
    found = [covered(gateway, text) for text in LIKE[:20]]
    assert found.count("yes") > 15
    anew = gateway.gateway.status().drift["default"]
    assert (anew.observed, anew.since) == (20, None)
    assert anew.artifact != rung.artifact
    assert anew.artifact.split(" (")[0] == rung.artifact.split(" (")[0]


def test_without_a_certificate_nothing_is_withdrawn(
    start: Callable[..., Serving], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "bare.safetensors"
    path.write_bytes(fitted_pair().artifact)
    gateway = start(**settings(path))
    with caplog.at_level(logging.WARNING, "tiny_dancer.gateway"):
        assert {covered(gateway, text) for text in OTHER[:9]} == {None}
    drift = gateway.gateway.status().drift["default"]
    assert drift.since is not None
    assert not drift.withdrawn
    assert not [each for each in caplog.records if "withdrawn" in each.getMessage()]
    assert not [each for each in gateway.gateway.status().notes if "withdrawn" in each]


def test_every_worker_has_a_watch_of_its_own(cheap: Upstream, artifact: Path, tmp_path: Path) -> None:
    content = {
        "workers": 2,
        "upstreams": {"cheap": {"base_url": cheap.url}},
        "log": {"requests": "off"},
        **settings(artifact),
    }
    rang = 0
    with Running(content, tmp_path / "run") as gateway:
        # A new connection each time, so that both get some.
        for text in (*OTHER, *(f"Please. {text}" for text in OTHER)):
            gateway.chat(model="auto", messages=[{"role": "user", "content": text}])
        workers = gateway.ready()[1]["workers"]
        drifts = {each["worker"]: each["drift"]["default"] for each in workers if each["drift"]}
        assert sum(each["observed"] for each in drifts.values()) == 2 * len(OTHER)
        assert all(each["threshold"] == 200 for each in drifts.values()), "1 % for both together"
        metrics = httpx.get(f"{gateway.health}/metrics", timeout=PATIENCE, trust_env=False).text
        for worker, drift in drifts.items():
            rang += drift["withdrawn"]
            labels = f'{{router="default",worker="{worker}"}}'
            assert f"tiny_dancer_certificate_withdrawn{labels} {int(drift['withdrawn'])}" in metrics
            assert f"tiny_dancer_drift_capital{labels} " in metrics
        assert rang
        gateway.line(CHANGED, rang)


def test_feedback_that_says_quality_withdraws_the_certificate_and_a_grade_does_not(
    start: Callable[..., Serving], artifact: Path
) -> None:
    """The same scores: where they are quality, nothing was as good as expected; as grades, nothing has changed."""
    content = settings(artifact)
    router = content["routers"]["default"]
    content["routers"] = {"default": router, "judged": {**router, "feedback": "quality"}}
    gateway = start(**content)
    for name in ("default", "judged"):
        for number, text in enumerate(requests(60, 302)[0]):
            answer = gateway.chat(text, model=f"router-{name}")
            given = gateway.http.post("/feedback", json={"id": answer.json()["id"], "score": 0.0})
            assert given.status_code == 200, given.text
            if not number:  # a second one about the same counts nothing
                gateway.http.post("/feedback", json={"id": answer.json()["id"], "score": 0.1})
    found = {name: gateway.gateway.status().drift[name] for name in ("default", "judged")}
    by_name = {name: {each.name: each for each in drift.alarms} for name, drift in found.items()}
    assert {name: alarms["feedback"].observed for name, alarms in by_name.items()} == {"default": 60, "judged": 60}
    counted = {name: alarms["calibration"].observed for name, alarms in by_name.items()}
    assert counted == {"default": 0, "judged": 60}
    assert found["default"].since is None, by_name["default"]
    assert found["judged"].withdrawn
    assert by_name["judged"]["calibration"].since is not None
    assert "lower" in by_name["judged"]["calibration"].note
    said = gateway.chat(LIKE[0], model="router-judged").headers["x-td-guarantee"]
    assert said.startswith("no: "), said
    notes = gateway.gateway.status().notes
    assert [note.startswith("router judged: certificate withdrawn: outcomes") for note in notes] == [True], notes
    assert {each.name: each.window for each in found["judged"].measures}["quality"] == found["judged"].observed
