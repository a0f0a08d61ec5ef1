"""`tiny-dancer candidates route`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tiny_dancer.cli.arguments import Json
from tiny_dancer.cli.output import print_json, printable, say
from tiny_dancer.errors import OptionError

HELP = """Rank the memories in a database for a query, best first.

The answer is remembered under the id that is printed: feedback about it is what `candidates learn` learns from.

Example: tiny-dancer candidates route --database agent.db --query "When does the train leave?" --where
conversation=7"""


def route(
    database: Annotated[str, typer.Option(help="Database: a file, or postgresql://user@host/name.")],
    query: Annotated[str, typer.Option(help="What is asked.")],
    artifact: Annotated[
        Path | None, typer.Option(help="Scorer; without one, the combination that needs no training.")
    ] = None,
    k: Annotated[int, typer.Option("--k", "-k", help="Most memories.")] = 5,
    where: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE: only memories with this property; repeatable, all hold.")
    ] = None,
    json: Json = False,
) -> None:
    from tiny_dancer.routing.candidate_answer import CandidateRouterConfig
    from tiny_dancer.routing.candidates import CandidateRouter
    from tiny_dancer.storage import open_storage

    conditions = []
    for pair in where or []:
        key, separator, value = pair.partition("=")
        if not (key and separator):
            raise OptionError("where", pair, "give KEY=VALUE, such as conversation=7")
        conditions.append({key: {"$eq": value}})
    config = CandidateRouterConfig(model_path=artifact)
    with open_storage(database, create=False) as storage, CandidateRouter(config, storage=storage) as router:
        found = router.route(query, router.stored_candidates({"$and": conditions} if conditions else None), k=k)
        # Others may have removed some meanwhile.
        texts = dict.fromkeys(found.ids) | {each.id: each.text for each in storage.get_candidates(found.ids)}
        router.flush()
    if json:
        print_json(
            {
                "id": found.id,
                "decisions": [
                    {
                        "candidate_id": each.candidate_id,
                        "text": texts[each.candidate_id],
                        "score": each.score,
                        "confidence": each.confidence,
                        "uncertainty": each.uncertainty,
                        "use_lightweight": each.use_lightweight,
                        "in_prediction_set": each.in_prediction_set,
                        "features": each.features,
                    }
                    for each in found
                ],
                "errors": [{"candidate_id": each.candidate_id, "reason": each.reason} for each in found.errors],
                "calibrated": found.calibrated,
                "uncalibrated": found.uncalibrated,
                "prediction_set_size": found.prediction_set_size,
                "artifact_version": found.artifact_version,
                "level": found.level,
                "level_reason": found.level_reason,
                "elapsed_us": found.elapsed_us,
            }
        )
        return
    for each in found:
        sure = f"confidence {each.confidence:.2f}" if found.calibrated else f"score {each.score:z.3f}"
        hint = ", light model" if each.use_lightweight else ""
        text = " ".join((texts[each.candidate_id] or "").split())
        say(printable(f"{each.candidate_id}  ({sure}{hint})  {text}"))
    for problem in found.errors:
        say(printable(f"left out: {problem.candidate_id}: {problem.reason}"))
    say(f"answer {found.id}, {found.elapsed_us:.0f} µs, scorer {found.artifact_version}")
