"""`tiny-dancer inspect`."""

from __future__ import annotations

from tiny_dancer import _core
from tiny_dancer.cli.arguments import Artifact, Json
from tiny_dancer.cli.output import print_json, say
from tiny_dancer.routing import Router

HELP = """Show what an artifact is: models, policy, certificate, training data, self-checks (which are replayed).

Example: tiny-dancer inspect default"""


def inspect(artifact: Artifact, json: Json = False) -> None:
    header = Router.load(artifact).header
    if json:
        print_json(header)
        return
    best = header["models"][header["best_constant"]]["name"]
    training = header.get("training", {})
    lines = [
        f"version {header['version']}, format {header['format']}, made {header['created'] or 'without a date'}",
        f"models {', '.join(model['name'] for model in header['models'])} (best constant: {best})",
        f"backends {', '.join(training.get('backends', [])) or 'none: a constant'}",
        f"policy {header['policy']}",
        f"prediction set: within {header['set_width']:.3f} of the best, coverage {header['set_coverage']:.0%}",
        f"trained on {training.get('rows', 0):,} rows ({training.get('groups', 0):,} groups), "
        f"seed {training.get('seed', 0)}, digest {training.get('data_digest', '')[:16]}…",
        f"self-checks: {len(header['self_check'])} replayed, all as recorded",
        f"engine: features {_core.FEATURE_SPEC}, format {_core.FORMAT}",
    ]
    found = header["guarantee"]
    lines.append(
        "guarantee: none; see tiny-dancer calibrate"
        if found is None
        else f"guarantee: {found['risk']} quality loss against {found['reference']} below {found['epsilon']:g} "
        f"at {1 - found['delta']:.0%}; {found['rows']:,} rows, p = {found['p_value']:.2g}, "
        f"observed {found['observed_risk']:.4f}, rows {found['data_digest'][:16]}…, {found['date'] or 'no date'}"
    )
    for key, value in header.get("metrics", {}).items():
        lines.append(f"held out, {key}: {value}")
    say(*lines)
