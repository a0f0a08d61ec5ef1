"""`tiny-dancer inspect`."""

from __future__ import annotations

from typing import Any

from tiny_dancer import _core
from tiny_dancer.cli.arguments import Artifact, Json
from tiny_dancer.cli.output import print_json, say
from tiny_dancer.routing import Router, read_artifact
from tiny_dancer.routing.loading import load_any
from tiny_dancer.types import Guarantee

HELP = """Show what an artifact is: models, policy, certificate, training data, self-checks (which are replayed).

Example: tiny-dancer inspect default"""


_LONGEST_WORD = 200


def inspect(artifact: Artifact, json: Json = False) -> None:
    data = read_artifact(artifact)
    header = _core.read_header(data)
    load_any(data)  # replays its self-checks
    if json:
        print_json(_readable(header))
    elif header["kind"] == "request-router":
        say(*_router(Router(data).header))
    else:
        say(*_other(header))


def _readable(value: Any) -> Any:
    """A header, or a part of one, with the length of what is encoded (a filter of rows, say) in its place."""
    if isinstance(value, dict):
        return {key: _readable(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_readable(each) for each in value]
    if isinstance(value, str) and len(value) > _LONGEST_WORD and not any(map(str.isspace, value)):
        return f"({len(value):,} characters, encoded)"
    return value


def _policy(header: dict[str, Any]) -> str:
    """The policy in force, in words."""
    policy, names = header["policy"], [model["name"] for model in header["models"]]
    if policy["kind"] == "constant":
        return f"always {names[policy['model']]}"
    if policy["kind"] == "threshold":
        weak, strong = names[policy["weak"]], names[policy["strong"]]
        return f"{strong} where it is expected to gain {policy['threshold']:z.4f} or more, else {weak}"
    unit = "USD" if policy["unit"] == "usd" else "a call of the best constant"
    return f"the most quality less {policy['cost_weight']:g} × cost, in {unit}"


def _made(header: dict[str, Any]) -> str:
    made = header["created"] or "without a date"
    return f"version {header['version']}, format {header['format']}, made {made}"


def _checked(header: dict[str, Any]) -> str:
    return f"self-checks: {len(header['self_check'])} replayed, all as recorded"


def _other(header: dict[str, Any]) -> list[str]:
    """Of a classifier, of texts or of tasks, a scorer of candidates, routes or learned use of tools."""
    lines = [f"{header['kind']}, {_made(header)}"]
    if header["kind"] == "classifier":
        lines.append(
            f"{len(header['labels']):,} labels by {header['model']['kind']}, input {header['input']['kind']}"
        )
        found = header.get("conformal")
        sets = "none; see tiny-dancer calibrate" if found is None else f"{found['score']}, α = {found['alpha']:g}"
        lines.append(f"prediction sets: {sets}")
    elif header["kind"] == "routes":
        lines.append(f"{len(header['routes']):,} routes, encoder {header['encoder']['name']}")
        calibrated = "calibrated" if header.get("calibrated") else "not calibrated"
        lines.append(f"confidence: {calibrated}; out of scope: {'told' if header.get('scope') else 'not told'}")
    elif header["kind"] == "tools":
        lines.append(f"{len(header['tools']):,} tools, features {header['features']}")
        weight = header["weight"]
        lines.append(f"use counts {weight:g} times beside the schemas" if weight else "use counts nothing")
    elif header["kind"] == "tasks":
        lines.append(f"{len(header['categories'])} categories: {', '.join(header['categories'])}")
        lines.append(f"unknown: below confidence {header['threshold']:.2f}")
        lines.append(
            f"declared, not learned: {', '.join(each['name'] for each in header['heuristics'])}, language"
        )
    else:
        found = header["prediction"]
        lines.append(f"scorer {header['scorer']}, features {header['features']}")
        lines.append("confidence: " + ("calibrated" if header["relevance"] else "not calibrated"))
        size = "none"
        if found is not None:
            margin = found.get("margin")
            kept = f"the first {found['size']}" if margin is None else f"within {margin:.2f} of the first"
            size = f"{kept}, at α = {found['alpha']:g}, from {found['rows']:,} questions"
        lines.append(f"prediction set: {size}")
        test = header.get("likeness")
        lines.append("unlike candidates: " + ("not told" if test is None else f"told at α = {test['alpha']:g}"))
    lines.append(_checked(header))
    for key, value in sorted({**_readable(header.get("training", {})), **header.get("metrics", {})}.items()):
        text = str(value)
        lines.append(f"{key}: {text if len(text) <= 100 else text[:97] + '...'}")
    return lines


def _router(header: dict[str, Any]) -> list[str]:
    best = header["models"][header["best_constant"]]["name"]
    training = header.get("training", {})
    lines = [
        _made(header),
        f"models {', '.join(model['name'] for model in header['models'])} (best constant: {best})",
        f"backends {', '.join(training.get('backends', [])) or 'none: a constant'}",
        f"policy: {_policy(header)}",
        f"prediction set: within {header['set_width']:.3f} of the best, coverage {header['set_coverage']:.0%}",
        f"trained on {training.get('rows', 0):,} rows ({training.get('groups', 0):,} groups), "
        f"seed {training.get('seed', 0)}, digest {training.get('data_digest', '')[:16]}…",
        _checked(header),
        f"engine: features {_core.FEATURE_SPEC}, format {_core.FORMAT}",
    ]
    found = header["guarantee"]
    lines.append(
        "guarantee: none; see tiny-dancer calibrate"
        if found is None
        else f"guarantee: {Guarantee(**found).words()} at {1 - found['delta']:.0%}; {found['rows']:,} rows, "
        f"p = {found['p_value']:.2g}, observed {found['observed_risk']:z.4f}, rows {found['data_digest'][:16]}…, "
        f"{found['date'] or 'no date'}"
    )
    for key, value in header.get("metrics", {}).items():
        lines.append(f"held out, {key}: {value}")
    return lines
