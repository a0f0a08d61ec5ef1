"""What ties the parts of a gateway's configuration together is checked, each with key and remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tiny_dancer.config import parse
from tiny_dancer.errors import ConfigError
from tiny_dancer.gateway.configuration.check import check, load_gateway
from tiny_dancer.gateway.configuration.settings import GatewayConfig

if TYPE_CHECKING:
    from pathlib import Path

GOOD = """
upstreams:
  openai: {base_url: "https://api.example/v1", api_key: sk-1, headers: {x-team: a b}}
  local: {base_url: "http://[::1]:8080/v1/"}
models:
  small: {deployments: [{upstream: local}], aliases: [mini], cost_per_request: 0}
  large: {deployments: [{upstream: openai}, {upstream: local, model: l}], roles: [chat, edit]}
routers:
  default: {models: {weak: small, strong: large}}
  own-v2: {artifact: a.safetensors, max_cost: 0.1, models: {a: small}}
default_model: large
strongest: large
roles:
  chat: {model: router-own-v2-0.3, fallbacks: [large]}
  edit: {model: router-cost}
  apply: {model: mini}
"""


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        check(parse(text, GatewayConfig, "test.yaml"))
    return [str(caught.value), *getattr(caught.value, "__notes__", ())]


def test_a_good_one_passes() -> None:
    check(parse(GOOD, GatewayConfig, ""))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "upstream: local}]",
            "upstream: loca}]",
            "models.small.deployments.0.upstream: 'loca'; did you mean local?",
        ),
        ("weak: small", "weak: smal", "routers.default.models.weak: 'smal'; did you mean small?"),
        ("weak: small", "weak: mini", "routers.default.models.weak: 'mini'; it is an alias; write small"),
        ("default_model: large", "default_model: auto", "default_model: 'auto'; models: small, large"),
        ("strongest: large", "strongest: lage", "strongest: 'lage'; did you mean large?"),
        (
            "model: router-own-v2-0.3",
            "model: router-ow",
            "roles.chat.model: 'router-ow'; did you mean router-own-v2?",
        ),
        ("model: mini", "model: min", "roles.apply.model: 'min'; did you mean mini?"),
        ("model: mini", "model: mini, policy: cost", "roles.apply.policy: cost; only a router has one"),
        (
            "model: mini",
            "model: large",
            "roles.apply.model: 'large'; it is for chat, edit; add apply to models.large",
        ),
        ("fallbacks: [large]", "fallbacks: [x]", "roles.chat.fallbacks.0: 'x'; models: small, large"),
        ("fallbacks: [large]", "fallbacks: [large, large]", "roles.chat.fallbacks.1: 'large'; it is tried before"),
        ("model: mini", "model: mini, fallbacks: [small]", "roles.apply.fallbacks.0: 'small'; it is tried before"),
        ("  default: {", "  other: {", "routers: other, own-v2; call one default"),
        (
            "max_cost: 0.1",
            "tool_selection: {mode: add}",
            "routers.own-v2.tool_selection.catalogue: missing",
        ),
        (
            "max_cost: 0.1",
            "tool_selection: {mode: filter, catalogue: tools.json}",
            "routers.own-v2.tool_selection.catalogue: 'tools.json'; filter adds no tools",
        ),
        (
            "max_cost: 0.1",
            "tool_selection: {mode: filter, top_k: 3, preserve_count: 4}",
            "routers.own-v2.tool_selection.preserve_count: 4; give at most top_k, 3",
        ),
        ("  own-v2:", "  cost:", "routers.cost: 'cost'; router-… would be read as a policy"),
        ("  own-v2:", "  own-0.5:", "routers.own-0.5: 'own-0.5'; router-… would be read as a policy or threshold"),
        ("{a: small}", "{a: large}", "routers.own-v2.max_cost: 0.1; give prices for large"),
        ("  small: {", "  auto: {", "models.auto: 'auto'; auto, router-…, chain-… and agent-… ask for routing"),
        ("  small: {", "  router-x: {", "models.router-x: 'router-x'; auto, router-…, chain-…"),
        ("aliases: [mini]", "aliases: [router-x]", "models.small.aliases.0: 'router-x'; auto, router-…"),
        ("aliases: [mini]", "aliases: [mini, large]", "models.small.aliases.1: 'large'; it is a model already"),
        (
            "aliases: [mini]",
            "aliases: [mini, mini]",
            "models.small.aliases.1: 'mini'; it is an alias of small already",
        ),
        ("  small: {", "  'a,b': {", "models.a,b: 'a,b'; use plain characters"),
        ("  small: {", '  "a\\nb": {', "models.a\nb: 'a\\nb'; use plain characters"),
        ("  small: {", "  größe: {", "models.größe: 'größe'; use plain characters"),
        ("https://api.example/v1", "api.example/v1", "upstreams.openai.base_url: 'api.example/v1'; give an http"),
        (
            "https://api.example/v1",
            "ftp://api.example",
            "upstreams.openai.base_url: 'ftp://api.example'; give an http",
        ),
        ("https://api.example/v1", "https://", "upstreams.openai.base_url: 'https://'; give an http"),
        ("https://api.example/v1", "https://x:99999", "upstreams.openai.base_url: no URL; give one such as"),
        ("https://api.example/v1", "https://[x", "upstreams.openai.base_url: no URL; give one such as"),
        ("https://api.example/v1", "https://a:sk@b/v1", "upstreams.openai.base_url: has credentials; put the key"),
        ("https://api.example/v1", "https://b/v1?key=sk", "upstreams.openai.base_url: has a query or fragment"),
        ("https://api.example/v1", "https://b/a b", "upstreams.openai.base_url: has spaces or unusual characters"),
        (
            "https://api.example/v1",
            "https://b/v1/chat/completions",
            "upstreams.openai.base_url: 'https://b/v1/chat/completions'; stop before the endpoint",
        ),
        (
            "headers: {x-team: a b}",
            "kind: anthropic, responses: native",
            "upstreams.openai.responses: native; Anthropic's servers have no responses",
        ),
        ("https://api.example/v1", "a:sk@b/v1", "upstreams.openai.base_url: ***; give an http or https URL"),
        ("api_key: sk-1", "api_key: ''", "upstreams.openai.api_key: empty; set the variable"),
        ("api_key: sk-1", 'api_key: "sk-secret\\n"', "upstreams.openai.api_key: ***; remove line breaks"),
        ("api_key: sk-1", "api_key: 'sk-secret '", "upstreams.openai.api_key: ***; remove line breaks"),
        ("x-team: a b", 'x-team: "a\\r\\nb: c"', "upstreams.openai.headers.x-team: ***; remove line breaks"),
        ("x-team: a b", "'x team': a", "upstreams.openai.headers.x team: no header name"),
        ("upstreams:", "listen: localhost\nupstreams:", "listen: localhost; give host:port"),
        ("upstreams:", "health: ':1'\nupstreams:", "health: :1; give host:port"),
        (
            "upstreams:",
            "health: 127.0.0.1:8000\nupstreams:",
            "health: 127.0.0.1:8000; give another port than listen",
        ),
        (
            "upstreams:",
            "listen: 0.0.0.0:8001\nupstreams:",
            "health: 127.0.0.1:8001; give another port than listen has, or off",
        ),
        ("upstreams:", "storage: ' '\nupstreams:", "storage: ''; give the path of a database"),
        (
            "upstreams:",
            "telemetry: {otlp_endpoint: localhost}\nupstreams:",
            "telemetry.otlp_endpoint: 'localhost'; give an http or https URL",
        ),
        ("upstreams:", "retries: {base: 9}\nupstreams:", "retries.longest: 8.0; give at least base, 9"),
        (
            "upstreams:",
            "breaker: {cooldown: 500}\nupstreams:",
            "breaker.longest_cooldown: 300.0; give at least cooldown, 500",
        ),
    ],
)
def test_what_does_not_hold_together_is_named(old: str, new: str, said: str) -> None:
    assert GOOD.count(old) >= 1, "a case that changes nothing"
    found = problems(GOOD.replace(old, new, 1))
    assert any(each.startswith(said) for each in found), found
    assert "sk" not in " ".join(found).replace("ask", ""), "no secret is shown"


OWN_HEADERS = (
    "Host",
    "content-length",
    "Content-Type",
    "content-encoding",
    "accept-encoding",
    "Transfer-Encoding",
    "connection",
    "keep-alive",
    "proxy-connection",
    "TE",
    "trailer",
    "upgrade",
    "expect",
    "idempotency-key",
    "traceparent",
    "tracestate",
)


@pytest.mark.parametrize("name", OWN_HEADERS)
def test_headers_that_the_gateway_writes_are_refused(name: str) -> None:
    (found,) = problems(GOOD.replace("x-team: a b", f"{name}: sk-1"))
    assert found.startswith(f"upstreams.openai.headers.{name}: not to be configured; it ")
    assert found.endswith("remove it")


def test_a_header_in_two_cases_is_refused() -> None:
    (found,) = problems(GOOD.replace("x-team: a b", "x-team: a b, X-Team: c"))
    assert found == "upstreams.openai.headers.X-Team: twice; headers are the same in any case; remove one"


@pytest.mark.parametrize(
    "field",
    [
        "input_cost_per_token",
        "output_cost_per_token",
        "cache_read_input_token_cost",
        "cache_creation_input_token_cost",
    ],
)
def test_a_price_per_million_is_refused(field: str) -> None:
    """The dearest there is costs 6e-4 per token (o1-pro), the cheapest .01 per million."""
    said = "; prices are USD per token; divide one that is per million by 1e6"
    both = ("input_cost_per_token", "output_cost_per_token")
    pair = ", ".join(f"{name}: 0" for name in both if name != field)
    for value in ("5.0", "0.01", "600", "5"):
        tiers = f"tiers: [{{above_tokens: 9, {field}: {value}}}]"
        given = GOOD.replace("cost_per_request: 0", f"cost_per_request: 0, {pair}, {field}: {value}, {tiers}")
        assert problems(given) == [
            f"models.small.{field}: {float(value):g}{said}",
            f"models.small.tiers.0.{field}: {float(value):g}{said}",
        ]
    check(
        parse(
            GOOD.replace("cost_per_request: 0", f"{pair}, {field}: 0.0006, cost_per_request: 5"), GatewayConfig, ""
        )
    )
    for value in ("-1e-6", ".nan", "1e999"):
        with pytest.raises(ConfigError, match=f"models.small.{field}"):
            parse(GOOD.replace("cost_per_request: 0", f"{field}: {value}"), GatewayConfig, "")


def test_names_without_anything_behind_them_are_refused() -> None:
    assert problems("upstreams: {}\nmodels: {}") == [
        "upstreams: empty; give at least one",
        "models: empty; give at least one",
    ]
    text = 'upstreams: {a: {base_url: "http://a"}}\nmodels: {m: {deployments: [{upstream: a}]}}\nroles: {chat: {}}'
    assert problems(text) == ["roles.chat.model: auto; there are no routers; name a model, or add one"]


@pytest.mark.parametrize(
    "addresses",
    ["listen: 127.0.0.1:0\nhealth: 127.0.0.1:0", "health: off", "listen: '[::1]:8001'", "listen: 10.0.0.1:8001"],
)
def test_addresses_that_do_not_clash_pass(addresses: str) -> None:
    check(parse(GOOD + addresses, GatewayConfig, ""))


def test_several_problems_are_told_at_once() -> None:
    text = GOOD.replace("upstream: local}]", "upstream: loca}]").replace("strongest: large", "strongest: lage")
    assert len(problems(text)) == 2


ANYWHERE = [
    "listen: ${TD_SECRET}",
    "health: ${TD_SECRET}",
    "default_model: ${TD_SECRET}",
    "strongest: ${TD_SECRET}",
    "prices: ${TD_SECRET}",
    "telemetry: {otlp_endpoint: '${TD_SECRET}'}",
    "roles: {chat: {model: '${TD_SECRET}', policy: cost, fallbacks: ['${TD_SECRET}']}}",
    "routers: {default: {models: {weak: '${TD_SECRET}'}}}",
    "models: {m: {deployments: [{upstream: '${TD_SECRET}'}]}}",
    "models: {m: {deployments: [{upstream: a}], aliases: ['${TD_SECRET}', '${TD_SECRET}']}}",
    "upstreams: {a: {base_url: '${TD_SECRET}'}}",
    "upstreams: {a: {base_url: 'http://a/${TD_SECRET}/messages'}}",
    "upstreams: {a: {base_url: 'http://a', api_key: '${TD_SECRET} '}}",
    "upstreams: {a: {base_url: 'http://a', headers: {x: ' ${TD_SECRET}'}}}",
    "upstreams: {a: {base_url: 'http://a', kind: '${TD_SECRET}'}}",
    "upstreams: {a: '${TD_SECRET}'}",
]


@pytest.mark.parametrize("line", ANYWHERE)
def test_no_error_shows_what_comes_from_the_environment(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TD_SECRET", "hunter2hunter2")
    given = {
        "upstreams": "{a: {base_url: 'http://a'}}",
        "models": "{m: {deployments: [{upstream: a}]}}",
        line.partition(":")[0]: line.partition(":")[2],
    }
    file = tmp_path / "gateway.yaml"
    file.write_text("\n".join(f"{key}: {value}" for key, value in given.items()))
    with pytest.raises(ConfigError) as caught:
        load_gateway(file)
    said = [str(caught.value), *getattr(caught.value, "__notes__", ())]
    assert "hunter2" not in " ".join(said)
    assert said[0].startswith(line.partition(":")[0])
    assert any("***" in each or "a text" in each for each in said)


@pytest.mark.parametrize(("given", "missing"), [("input", "output"), ("output", "input")])
def test_a_price_of_one_kind_of_token_alone_is_refused(given: str, missing: str) -> None:
    alone = GOOD.replace("cost_per_request: 0", f"cost_per_request: 0, {given}_cost_per_token: 1e-6")
    (found,) = problems(alone)
    said = f"missing; give it beside {given}_cost_per_token; 0 where it is free"
    assert found.startswith(f"models.small.{missing}_cost_per_token: {said}")
    check(parse(alone.replace("1e-6", f"1e-6, {missing}_cost_per_token: 0"), GatewayConfig, ""))


@pytest.mark.parametrize(
    ("prices", "given"),
    [
        ("cache_read_input_token_cost: 1e-7", "a price of cached tokens"),
        ("tiers: [{above_tokens: 1000, input_cost_per_token: 1e-6}]", "a tier's price"),
    ],
)
def test_prices_that_leave_the_prompt_free_are_refused_as_the_engine_does(prices: str, given: str) -> None:
    # A router with a limit of cost, too, misses the price.
    (found,) = [
        each for each in problems(GOOD.replace("cost_per_request: 0", prices)) if each.startswith("models.")
    ]
    assert found.startswith(f"models.small.input_cost_per_token: missing; give it beside {given};")


def test_a_tier_needs_no_price_beside_one_of_the_whole_request() -> None:
    tier = "cost_per_request: 0, tiers: [{above_tokens: 1000, input_cost_per_token: 1e-6}]"
    check(parse(GOOD.replace("cost_per_request: 0", tier), GatewayConfig, ""))
