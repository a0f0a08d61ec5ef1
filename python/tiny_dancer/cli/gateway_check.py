"""`tiny-dancer gateway check`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tiny_dancer.cli.arguments import Json
from tiny_dancer.cli.output import console, print_json, say, warn
from tiny_dancer.config import without_environment
from tiny_dancer.errors import TinyDancerError
from tiny_dancer.evaluation.terminal import FittedTable
from tiny_dancer.extras import needed

if TYPE_CHECKING:
    from tiny_dancer.gateway.configuration.settings import Chain, GatewayConfig
    from tiny_dancer.gateway.operate.probes import Probe

HELP = """Check a gateway's configuration, and try each of its upstreams. Exit code 1 where one cannot be used.

Example: tiny-dancer gateway check --config gateway.yaml"""


def check(
    config: Annotated[Path, typer.Option(help="The configuration.")] = Path("gateway.yaml"),
    no_upstreams: Annotated[bool, typer.Option("--no-upstreams", help="Connect to nothing.")] = False,
    json: Json = False,
) -> None:
    from tiny_dancer.gateway.configuration.check import load_gateway

    found = load_gateway(config)
    with needed("gateway"):
        from tiny_dancer.gateway.operate.probes import probe
    try:
        routers, routes = asyncio.run(_loaded(found, config.parent))
    except TinyDancerError as error:
        raise without_environment(error, config) from None
    probes = [] if no_upstreams else probe(found)
    if json:
        chains = [{"chain": name, "steps": _steps(chain)} for name, chain in found.chains.items()]
        listed = {"models": _models(found), "routers": routers, "routes": routes, "chains": chains}
        print_json({**listed, "upstreams": probes})
    else:
        _show(config, found, routers, routes, probes)
    if not all(each.works for each in probes):
        raise typer.Exit(1)


async def _loaded(config: GatewayConfig, folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Loads routers and routes as the gateway would, with their artifacts' own checks."""
    from tiny_dancer.gateway.choosing.serving import Serving

    serving = Serving(config, folder)
    try:
        routers = [
            {
                "router": name,
                "policy": variant.policy,
                "models": list(variant.router.models),
                "artifact_version": variant.router.status().version,
                "notes": variant.notes(serving.models),
            }
            for name, variant in serving.variants().items()
        ]
        routes = [
            {
                "routes": name,
                "count": len(found.serving.routes),
                "calibrated": found.serving.calibrated,
                "notes": found.notes(),
            }
            for name, found in serving.routes.items()
        ]
        return routers, routes
    finally:
        serving.close()
        await serving.disconnect()


def _steps(chain: Chain) -> list[str]:
    """The steps a chain has, in order."""
    steps = ("override", "semantic", "learned", "judge", "human")
    return [*(step for step in steps if getattr(chain, step)), "default"]


def _models(config: GatewayConfig) -> list[dict[str, Any]]:
    return [
        {
            "model": name,
            "deployments": [f"{each.upstream}/{each.model or name}" for each in model.deployments],
            "input_cost_per_token": model.input_cost_per_token,
            "output_cost_per_token": model.output_cost_per_token,
            "cost_per_request": model.cost_per_request,
            "context_window": model.context_window,
            "roles": model.roles,
        }
        for name, model in config.models.items()
    ]


def _show(
    path: Path,
    config: GatewayConfig,
    routers: list[dict[str, Any]],
    routes: list[dict[str, Any]],
    probes: list[Probe],
) -> None:
    rows = [
        (
            each["model"],
            ", ".join(each["deployments"]),
            _per_million(each["input_cost_per_token"]),
            _per_million(each["output_cost_per_token"]),
            "?" if (window := each["context_window"]) is None else f"{window:,}",
            ", ".join(each["roles"]) or "all",
        )
        for each in _models(config)
    ]
    header = ("model", "deployments", "USD per million in", "out", "context", "roles")
    console().print(FittedTable(header, rows, words=frozenset({0, 1, 5})))
    for each in routers:
        version = f"version {each['artifact_version']}" if each["artifact_version"] else ""
        said = ["", *each["notes"]]
        models = ", ".join(each["models"])
        say(f"router {each['router']}: {models}; policy {each['policy']}; {version}{'; '.join(said)}")
    for each in routes:
        sure = "calibrated" if each["calibrated"] else "not calibrated"
        say(f"routes {each['routes']}: {each['count']}, {sure}{'; '.join(['', *each['notes']])}")
    for name, chain in config.chains.items():
        say(f"chain {name}: {', '.join(_steps(chain))}")
    from tiny_dancer.gateway.configuration.prices import unpriced

    if without := unpriced(config):
        warn(f"warning: no price for {', '.join(without)}: cost and savings of their requests stay unknown")
    for probe in probes:
        remedy = f"; {probe.remedy}" if probe.remedy else ""
        say(f"upstream {probe.upstream}: {'' if probe.works else 'FAILED: '}{probe.message}{remedy}")
    failed = sum(not each.works for each in probes)
    tried = f", {len(probes) - failed} of {len(probes)} upstreams work" if probes else ""
    say(f"{path}: valid{tried}")


def _per_million(price: float | None) -> str:
    return "?" if price is None else f"{price * 1e6:.4g}"
