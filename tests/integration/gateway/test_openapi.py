"""The gateway against its own description: whatever fits it, and whatever does not, gets an answer it describes.

Never a 500. Schemathesis makes the requests; two stand-ins answer behind the gateway.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.gateway_upstream import Behaviour, Upstream
from tests.integration.gateway.serving import Serving
from tests.integration.gateway.test_gateway_agents import add

from tiny_dancer.gateway.access import payers
from tiny_dancer.gateway.access.keys import make_key
from tiny_dancer.gateway.choosing.incoming import OPTION_HEADERS, Options
from tiny_dancer.gateway.deciding import PATHS as DECIDE
from tiny_dancer.gateway.openapi import openapi_document
from tiny_dancer.gateway.operate.demo import LARGE, SMALL, demo_config, stand_ins
from tiny_dancer.gateway.passing.table import TABLE, Means
from tiny_dancer.gateway.queue import ACTIONS
from tiny_dancer.storage import Agent, QueuedRequest
from tiny_dancer.types import Decision, RequestRecord

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EXAMPLES = 60  # of each kind, for each operation
NAMES = [
    "auto",
    SMALL,
    LARGE,
    "router-cost",
    "router-quality",
    "router-default-0.2",
    "agent-clerk",
    "router-agents",
]
CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
QUEUE = ("/v1/queue", "/v1/queue/{id}", *(f"/v1/queue/{{id}}/{action}" for action in ACTIONS))
DOCUMENT: dict[str, Any] = json.loads(openapi_document())
# What is only read has next to nothing that could be malformed.
OPERATIONS = [
    (path, method, mode)
    for path, found in DOCUMENT["paths"].items()
    for method in found
    for mode in GenerationMode
    # Whether what is passed on is right, the upstream says.
    if mode is GenerationMode.POSITIVE or (method == "post" and path not in TABLE)
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    other = Upstream(usual=Behaviour(body=b'{"id": "x", "output": []}'))
    with stand_ins(pause=0) as (small, large), other:
        content = msgspec.to_builtins(demo_config(small, large))
        content["upstreams"]["other"] = {"base_url": other.url}
        content["models"]["other"] = {"deployments": [{"upstream": "other"}]}
        content["log"] = {"requests": "off"}
        # The stand-ins refuse what they do not understand; what is broken has to be the gateway.
        content["breaker"] = {"threshold": 1_000_000}
        with Serving(content, tmp_path_factory.mktemp("openapi")) as serving:
            add(serving, Agent("clerk", capabilities=("talk",), metadata={"model": SMALL}))
            yield serving


@pytest.fixture(scope="module")
def operator(served: Serving) -> str:
    """The secret of a key that may see and answer what waits for people."""
    made = make_key("operator", operator=True)
    served.gateway.services.storage.insert_api_key(made.key)
    deadline = time.monotonic() + 30
    while served.http.get("/queue", headers={"authorization": f"Bearer {made.secret}"}).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return made.secret


@pytest.fixture(scope="module")
def document(served: Serving) -> dict[str, Any]:
    """As served, with names and ids that exist among those to choose from: most made-up ones only give 404."""
    found: dict[str, Any] = served.http.get("/../openapi.json").json()
    assert found == DOCUMENT
    known = served.chat("What is 1 + 1?", model="auto")
    made = served.http.post("/responses", json={"model": "other", "input": "x"}).json()["id"]
    ids = [known.json()["id"], known.headers["x-td-decision"], known.headers["x-request-id"]]
    paths = found["paths"]
    for path, passed in TABLE.items():
        for operation in paths[path].values():
            for body in operation.get("requestBody", {}).get("content", {}).values():
                if "model" in body["schema"]["properties"]:
                    body["schema"]["properties"]["model"] = {"enum": ["other", "no-such-model"]}
            for parameter in operation.get("parameters", ()):
                if parameter["name"] in ("x-td-upstream", "upstream"):
                    parameter["schema"] = {"enum": ["other"]}
                    parameter["required"] = True
                elif passed.means is Means.MAKER:
                    parameter["schema"] = {"enum": [made, "no-such-id"]}
                else:
                    parameter["schema"] = {"enum": ["x-1", "a b", "é", "%"]}
    for path, operations in paths.items():
        if path in TABLE:
            continue
        content = operations.get("post", {}).get("requestBody", {}).get("content", {})
        if path in DECIDE:
            # The stand-ins answer no questions: what the engine cannot is refused.
            schema = content["application/json"]["schema"]["properties"]
            schema["model"] = {"enum": [None, "auto", "engine", "no-such-model"]}
            for question in schema["questions"]["items"]["anyOf"]:
                question["properties"]["head"] = {"enum": [None, "tasks.category", "no-such-head"]}
        elif content and path != "/v1/feedback" and not path.startswith(("/v1/queue", "/v1/agents")):
            fields = content["application/json"]["schema"]["properties"]
            routed = [] if path == "/v1/embeddings" else NAMES
            fields["model"] = {"enum": [SMALL, LARGE, *routed, "no-such-model"]}
            fields["models"]["items"] = {"enum": [SMALL, LARGE]}
            for parameter in operations["post"]["parameters"]:
                if parameter["name"] in ("x-td-pin", "x-td-exclude"):
                    parameter["schema"] = {"enum": [SMALL, LARGE]}
    options = found["components"]["schemas"]["Options"]["properties"]
    options["pin"] = {"enum": [SMALL, LARGE, None]}
    options["exclude"] = {"type": "array", "items": {"enum": [SMALL, LARGE]}, "maxItems": 1}
    feedback = paths["/v1/feedback"]["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"]
    feedback["id"] = {"enum": [*ids, "no-such-id"]}
    queue = served.gateway.services.storage
    for number in range(20):
        now = time.time()
        queue.enqueue(QueuedRequest(id=f"q{number}", time=now, expires_at=now + 3600, context="{}"))
    for path in QUEUE:
        for operation in paths[path].values():
            for parameter in operation.get("parameters", ()):
                if parameter["name"] in ("id", "after"):
                    parameter["schema"] = {"enum": [*(f"q{number}" for number in range(20)), "no-such-id"]}
                elif parameter["name"] == "state":
                    parameter["schema"] = {"enum": ["waiting", "claimed,answered", "all"]}
    paths["/v1/decisions/{id}"]["get"]["parameters"][0]["schema"] = {"enum": [*ids, "no-such-id"]}
    paths["/v1/agents/{agent}"]["get"]["parameters"][0]["schema"] = {"enum": ["clerk", "agent-clerk", "a/b", "é"]}
    paths["/v1/models/{model}"]["get"]["parameters"][0]["schema"] = {"enum": [*NAMES, "a/b", "%", "é", "no"]}
    return found


@pytest.mark.parametrize(("path", "method", "mode"), OPERATIONS, ids=str)
def test_every_answer_is_described(
    path: str, method: str, mode: GenerationMode, document: dict[str, Any], served: Serving, operator: str
) -> None:
    operation = schemathesis.openapi.from_dict(document)[path][method]
    statuses: Counter[int] = Counter()

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode))
    def every(case: schemathesis.Case) -> None:
        headers = {"authorization": f"Bearer {operator}"} if path in QUEUE else {}
        response = case.call(base_url=served.url.removesuffix("/v1"), headers=headers)
        statuses[response.status_code] += 1
        case.validate_response(response, checks=CHECKS)

    every()
    if path in QUEUE and method == "post":
        assert statuses[200] or mode is GenerationMode.NEGATIVE  # each can be claimed and answered once
    elif mode is GenerationMode.NEGATIVE:
        assert statuses[400] >= EXAMPLES // 2, f"hardly anything was refused: {statuses}"
    else:
        assert statuses[200] >= min(sum(statuses.values()), EXAMPLES) // 10, f"hardly anything passed: {statuses}"


@given(st.text(max_size=50), st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]))
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_other_addresses_and_methods_are_refused(served: Serving, tail: str, method: str) -> None:
    known = {path: [each.upper() for each in found] for path, found in DOCUMENT["paths"].items()}
    path = f"/v1/{quote(tail, safe='/')}"
    answer = served.http.request(method, f"/..{path}")
    if method in known.get(path, ()):
        return
    assert answer.status_code in ((404, 405) if path not in known else (405,))
    assert answer.json()["error"]["code"] in (
        "unknown_url",
        "method_not_allowed",
        "model_not_found",
        "decision_not_found",
        "queued_request_not_found",
        "operator_required",
    )
    for path, right in known.items():
        if method not in right:
            answer = served.http.request(method, f"/..{path.format(model='m', id='i', agent='a')}")
            assert (answer.status_code, sorted(answer.headers["allow"].split(", "))) == (405, sorted(right))


def test_without_a_key_every_operation_but_the_document_is_refused_as_described(tmp_path: Path) -> None:
    with stand_ins(pause=0) as (small, large):
        content = {**msgspec.to_builtins(demo_config(small, large)), "access": {"keys": "required"}}
        with Serving({**content, "log": {"requests": "off"}}, tmp_path) as serving:
            for path, operations in DOCUMENT["paths"].items():
                for method in operations:
                    answer = serving.http.request(
                        method, f"/..{path.format(model='m', id='i', agent='a')}", json={}
                    )
                    assert answer.status_code == (200 if path == "/openapi.json" else 401), path
                    if answer.status_code == 401:
                        assert answer.headers["www-authenticate"] == "Bearer"
                        assert "401" in operations[method]["responses"]


def test_it_describes_every_field_of_the_structs_it_follows() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    options = schemas["Options"]["properties"]
    assert set(options) == {each.name for each in msgspec.structs.fields(Options)}
    parameters = DOCUMENT["paths"]["/v1/chat/completions"]["post"]["parameters"]
    assert {each["name"].encode() for each in parameters} == {*OPTION_HEADERS, *payers.HEADERS}
    assert all(each["description"] for each in parameters)
    for kind, name in ((Decision, "Route"), (RequestRecord, "Decided")):
        described = schemas[name]["properties"]
        assert set(kind.__annotations__) <= set(described)
        assert all(described[each].get("description") for each in kind.__annotations__ if each != "role")
