"""`tiny-dancer inspect`."""

from __future__ import annotations

from typing import Any

from tiny_dancer import _core
from tiny_dancer.cli.arguments import Artifact, Json
from tiny_dancer.cli.output import print_json, say
from tiny_dancer.routing import Router, read_artifact
from tiny_dancer.routing.loading import load_any

HELP = """Show what an artifact is: models, policy, certificate, training data, self-checks (which are replayed).

Example: tiny-dancer inspect default"""


def inspect(artifact: Artifact, json: Json = False) -> None:
    data = read_artifact(artifact)
    header = _core.read_header(data)
    load_any(data)  # replays its self-checks
    if json:
        print_json(header)
    elif header["kind"] == "request-router":
        say(*_router(Router(data).header))
    else:
        say(*_other(header))


def _made(header: dict[str, Any]) -> str:
    made = header["created"] or "without a date"
    return f"version {header['version']}, format {header['format']}, made {made}"


def _checked(header: dict[str, Any]) -> str:
    return f"self-checks: {len(header['self_check'])} replayed, all as recorded"


def _other(header: dict[str, Any]) -> list[str]:
    """Of a classifier or a scorer of candidates."""
    lines = [f"{header['kind']}, {_made(header)}"]
    if header["kind"] == "classifier":
        lines.append(
            f"{len(header['labels']):,} labels by {header['model']['kind']}, input {header['input']['kind']}"
        )
        found = header.get("conformal")
        sets = "none; see tiny-dancer calibrate" if found is None else f"{found['score']}, α = {found['alpha']:g}"
        lines.append(f"prediction sets: {sets}")
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
    for key, value in sorted({**header.get("training", {}), **header.get("metrics", {})}.items()):
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
        f"policy {header['policy']}",
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
        else f"guarantee: {found['risk']} quality loss against {found['reference']} below {found['epsilon']:g} "
        f"at {1 - found['delta']:.0%}; {found['rows']:,} rows, p = {found['p_value']:.2g}, "
        f"observed {found['observed_risk']:z.4f}, rows {found['data_digest'][:16]}…, {found['date'] or 'no date'}"
    )
    for key, value in header.get("metrics", {}).items():
        lines.append(f"held out, {key}: {value}")
    return lines
