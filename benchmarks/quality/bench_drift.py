"""How soon does a watch ring once something has changed, and how often when nothing has?

Each stream is watched by the engine's own state (`Router.drift_state`), six alarms at a threshold of 100. Nothing
has changed: rows of one table are split at random, again and again, into those a certificate was earned on and a
stream (one row of a group of kin; all rows, for what kin do), and streams of known distributions. Rates are alarms
a decision, with 95 % intervals (Clopper and Pearson); a stream ends at its alarm.

Something has: traffic of another table, a share of it, typing errors, scores alone that move, outcomes of one
model that are worse. Beside it stands what is looked at elsewhere: PSI above .25 and KS with p below .05 or .001,
over the last 200 decisions, looked at every 20. These ring soon, and ring where nothing has changed.
"""

from __future__ import annotations

import random
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.stats import beta

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import SHARED, table, write
from tiny_dancer import Router, TinyDancerError, _core, fit
from tiny_dancer.routing.window import compare
from tiny_dancer.training.calibrate import dial_share
from tiny_dancer.training.drift import knot_rows, usual
from tiny_dancer.training.likeness import background, conformal_steps, discriminant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tiny_dancer.types import FeatureTable, Outcomes

TABLES = ("mmlu", "gsm8k", "zeroeval", "shaberi", "bfcl", "llmrouter")
THRESHOLD = 100.0
TRAINED = 400
SPLITS = 200
KNOWN_STREAMS, KNOWN_LENGTH, KNOWN_ROWS = 600, 5000, 400
DELAYS = 40
WINDOW, EVERY = 200, 20
MOST = 3000
MOST_OUTCOMES = 1500
ALARMS = ("likeness", "quality", "gain", "feedback", "calibration", "risk")


class Stream(NamedTuple):
    """Decisions: how unlike, [n] (higher: more); scores of m models, [n, m]."""

    unlike: np.ndarray
    scores: np.ndarray

    def rows(self, index: np.ndarray) -> Stream:
        return Stream(self.unlike[index], self.scores[index])


class Carrier:
    """Makes states for calibration rows: an artifact whose tensors of a watch are replaced."""

    def __init__(self, artifact: bytes) -> None:
        self.header = {**_core.read_header(artifact), "self_check": [], "guarantee": None}
        self.tensors = _core.read_tensors(artifact)
        self.best: int = self.header["best_constant"]
        self.seed = 0

    def numbers(self, stream: Stream) -> tuple[np.ndarray, np.ndarray]:
        """Highest quality expected, and gain over the best constant."""
        others = np.delete(stream.scores, self.best, axis=1)
        return stream.scores.max(axis=1), others.max(axis=1) - stream.scores[:, self.best]

    def router(self, rows: Stream) -> Router:
        """Calibrated on these rows, each of a group of its own, in an order without meaning."""
        tensors = dict(self.tensors)
        tensors["likeness.scores"], p_values = conformal_steps(rows.unlike)
        tensors["likeness.p_values"] = p_values.astype(np.float32)
        quality, gain = self.numbers(rows)
        for name, values in {"quality": quality, "gain": gain, "confidence": gain}.items():
            knots, counts = usual(values.astype(np.float32))
            tensors[f"drift.{name}.knots"], tensors[f"drift.{name}.counts"] = knots, counts
        count = len(rows.unlike)
        header = {
            **self.header,
            "likeness": {"level": 0.05, "rows": count},
            "drift": {"rows": count - knot_rows(count), "mix": [1] * len(self.header["models"])},
        }
        return Router(_core.artifact_bytes(header, tensors))

    def state(self, rows: Stream, learn: bool = False) -> tuple[_core.Drift, Callable[[Stream], list[float]]]:
        """A watch's state, and what gives a stream's p-values."""
        router = self.router(rows)
        self.seed += 1
        knots, p_values = conformal_steps(rows.unlike)

        def likeness(stream: Stream) -> list[float]:
            places = np.searchsorted(knots, stream.unlike.astype(np.float32), side="left")
            return np.asarray(p_values)[places].astype(np.float32).tolist()

        if learn:
            header = {key: value for key, value in router.header.items() if key != "drift"}
            bare = Router(_core.with_header(router._source[0], header))
            return bare._engine.drift(THRESHOLD, self.seed), likeness
        return router._engine.drift(THRESHOLD, self.seed), likeness


def watched(state: _core.Drift, likeness: Callable[[Stream], list[float]], stream: Stream) -> tuple[int, str]:
    """Decisions until an alarm rings and which; its name is empty where none has."""
    counted = state.decided_all(likeness(stream), stream.scores.astype(np.float32).ravel().tolist())
    return counted, next((each[0] for each in state.alarms() if each[3] is not None), "")


def rate(alarms: int, decisions: int) -> dict[str, object]:
    """Alarms a decision, with a 95 % interval (Clopper and Pearson)."""
    low = 0.0 if alarms == 0 else float(beta.ppf(0.025, alarms, decisions - alarms + 1))
    high = float(beta.ppf(0.975, alarms + 1, decisions - alarms))
    return {
        "alarms": alarms,
        "decisions": decisions,
        "per decision": [float(f"{each:.3g}") for each in (alarms / decisions, low, high)],
    }


def delays(found: list[int | None]) -> dict[str, object]:
    """Median and 90th percentile of decisions until an alarm; None where so many have not, or none is left."""
    if not found:
        return {"rang": None, "median": None, "90 %": None}
    rang = sorted(each if each is not None else 10**9 for each in found)
    at = [rang[min(int(share * len(rang)), len(rang) - 1)] for share in (0.5, 0.9)]
    median, most = [None if each == 10**9 else each for each in at]
    return {"rang": round(float(np.mean([each is not None for each in found])), 3), "median": median, "90 %": most}


def others_ring(carrier: Carrier, rows: Stream, stream: Stream) -> Iterator[tuple[str, int | None]]:
    """Decisions until a look at the last ones shows PSI above .25, or KS with a small p-value, of any number."""
    usuals = [usual(each.astype(np.float32)) for each in (rows.unlike, *carrier.numbers(rows))]
    columns = (stream.unlike, *carrier.numbers(stream))
    found: dict[str, int | None] = {"PSI > .25": None, "KS p < .05": None, "KS p < .001": None}
    for end in range(WINDOW, len(stream.unlike) + 1, EVERY):
        looks = [
            compare("", values[end - WINDOW : end], (knots.astype(float), counts.astype(float)))
            for values, (knots, counts) in zip(columns, usuals, strict=True)
        ]
        p = min(look.ks_p for look in looks if look.ks_p is not None)
        psi = max(look.psi for look in looks if look.psi is not None)
        for name, rings in (("PSI > .25", psi > 0.25), ("KS p < .05", p < 0.05), ("KS p < .001", p < 0.001)):
            if rings and found[name] is None:
                found[name] = end
    yield from found.items()


class Known(NamedTuple):
    """Streams of a known distribution."""

    generator: np.random.Generator

    def stream(self, count: int, moved: float = 0.0, spread: float = 1.0, unlike: float = 0.0) -> Stream:
        """Scores move by a multiple of their spread, spread more or less, or requests become unlike."""
        quality = 0.7 + 0.08 * (moved + spread * self.generator.normal(size=count))
        gain = -0.05 + 0.05 * self.generator.normal(size=count)
        return Stream(unlike + self.generator.normal(size=count), np.stack([quality, quality + gain], axis=1))


def known_truth(carrier: Carrier) -> dict[str, object]:
    """Streams whose distribution is known, with and without a change."""
    known = Known(np.random.default_rng(0))
    figures: dict[str, object] = {}
    for learn in (False, True):
        alarms: list[str] = []
        decisions = 0
        for _ in range(KNOWN_STREAMS if not learn else KNOWN_STREAMS // 4):
            state, likeness = carrier.state(known.stream(KNOWN_ROWS), learn)
            counted, alarm = watched(state, likeness, known.stream(KNOWN_LENGTH))
            decisions += counted
            alarms += [alarm] if alarm else []
        name = "nothing has changed" + (", usual scores learned from the first 128" if learn else "")
        streams = KNOWN_STREAMS if not learn else KNOWN_STREAMS // 4
        figures[name] = {
            **rate(len(alarms), decisions),
            "streams that ever rang": round(len(alarms) / streams, 4),
            "by alarm": {each: alarms.count(each) for each in ALARMS[:3]},
        }
    figures["others, nothing has changed"] = others_known(carrier, known)
    shifts = {
        "scores move by 1/4 of their spread": {"moved": 0.25},
        "scores move by 1/2": {"moved": 0.5},
        "scores move by 1": {"moved": 1.0},
        "scores spread twice as far": {"spread": 2.0},
        "scores spread half as far": {"spread": 0.5},
        "scores spread a tenth as far": {"spread": 0.1},
        "requests are unlike by 1/2 of the spread": {"unlike": 0.5},
        "requests are unlike by 2": {"unlike": 2.0},
    }
    for before in (0, 1000, 100_000):
        entry: dict[str, object] = {}
        for name, shift in shifts.items():
            found: list[int | None] = []
            for _ in range(DELAYS if before <= 1000 else DELAYS // 10):
                state, likeness = carrier.state(known.stream(KNOWN_ROWS))
                if before and watched(state, likeness, known.stream(before))[1]:
                    continue
                counted, alarm = watched(state, likeness, known.stream(MOST, **shift))
                found.append(counted if alarm else None)
            entry[name] = delays(found)
        figures[f"decisions until it rings, after {before:,} like ones"] = entry
    return figures


def others_known(carrier: Carrier, known: Known) -> dict[str, object]:
    """How often looks at the last decisions ring where nothing has changed."""
    rang: dict[str, list[int | None]] = {}
    for _ in range(100):
        for name, at in others_ring(carrier, known.stream(KNOWN_ROWS), known.stream(2000)):
            rang.setdefault(name, []).append(at)
    return {
        name: rate(sum(each is not None for each in found), sum(2000 if each is None else each for each in found))
        for name, found in rang.items()
    }


class Real(NamedTuple):
    """A table: an artifact trained on some of its rows, and the stream of the others, in groups of kin."""

    carrier: Carrier
    router: Router
    score: Callable[[FeatureTable], np.ndarray]
    stream: Stream
    group: np.ndarray
    outcomes: Outcomes
    prompts: list[str]

    def of(self, features: FeatureTable) -> Stream:
        """What the artifact makes of other requests."""
        return Stream(self.score(features), self.router.route_features(features).scores.astype(np.float64))


def read(name: str) -> Real | None:
    """A table, an artifact of 400 of its rows in whole groups, and the discriminant of as many."""
    from pyarrow import parquet

    outcomes = table(name)
    if outcomes is None:
        return None
    assert outcomes.features is not None
    order = np.random.default_rng(3).permutation(int(outcomes.group.max()) + 1)[outcomes.group]
    by_group = np.argsort(order, kind="stable")
    few = min(TRAINED, len(by_group) // 3)
    trained, left = np.sort(by_group[:few]), np.sort(by_group[few:])
    artifact = fit(outcomes.rows(trained)).artifact
    router = Router(artifact)
    score = discriminant(outcomes.features.rows(trained), background())
    features = outcomes.features.rows(left)
    prompts = parquet.read_table(SHARED / f"{name}.parquet").column("prompt").to_pylist()
    scores = router.route_features(features).scores.astype(np.float64)
    return Real(
        Carrier(artifact),
        router,
        score,
        Stream(score(features), scores),
        outcomes.group[left],
        outcomes.rows(left),
        [prompts[row] for row in left],
    )


def one_of_each(group: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A row of each group, in random order."""
    order = generator.permutation(len(group))
    _, first = np.unique(group[order], return_index=True)
    return generator.permutation(order[first])


def splits(real: Real, seed: int, kin: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Calibration rows and a stream, at random; with kin, whole groups of rows follow each other."""
    generator = np.random.default_rng(seed)
    while True:
        rows = one_of_each(real.group, generator)
        half = min(len(rows) // 2, 1000)
        if not kin:
            yield rows[:half], rows[half:]
            continue
        place = {real.group[row]: at for at, row in enumerate(rows)}
        order = np.argsort([place[each] for each in real.group], kind="stable")
        yield rows[:half], order[np.isin(real.group[order], real.group[rows[half:]])]


def unchanged(real: Real, kin: bool) -> dict[str, object]:
    """Splits of one table: nothing has changed."""
    alarms: list[str] = []
    decisions = 0
    source = splits(real, 5, kin)
    for _ in range(SPLITS if not kin else SPLITS // 4):
        calibration, stream = next(source)
        state, likeness = real.carrier.state(real.stream.rows(calibration))
        counted, alarm = watched(state, likeness, real.stream.rows(stream))
        decisions += counted
        alarms += [alarm] if alarm else []
    return {**rate(len(alarms), decisions), "by alarm": {each: alarms.count(each) for each in ALARMS[:3]}}


def mistyped(text: str, generator: random.Random, share: float = 0.06) -> str:
    """A letter in so many is left out, doubled or exchanged with the next."""
    found, at = [], 0
    while at < len(text):
        letter = text[at]
        if letter.isalpha() and generator.random() < share:
            kind = generator.randrange(3)
            if kind == 1:
                found.append(letter * 2)
            elif kind == 2 and at + 1 < len(text):
                found.append(text[at + 1] + letter)
                at += 1
        else:
            found.append(letter)
        at += 1
    return "".join(found)


def changed(real: Real, others: dict[str, Stream]) -> dict[str, object]:
    """Other traffic after some 500 decisions like the rows."""
    figures: dict[str, object] = {}
    for name, other in others.items():
        for share in (1.0, 0.3, 0.1):
            found: list[int | None] = []
            looks: dict[str, list[int | None]] = {}
            by: list[str] = []
            source = splits(real, 6, kin=False)
            for number in range(10):
                calibration, like = next(source)
                generator = np.random.default_rng(number)
                before = real.stream.rows(like[: min(500, len(like) // 2)])
                rest = real.stream.rows(generator.choice(like[min(500, len(like) // 2) :], MOST))
                strange = other.rows(generator.choice(len(other.unlike), MOST))
                mixed = generator.random(MOST) < share
                stream = Stream(
                    np.where(mixed, strange.unlike, rest.unlike),
                    np.where(mixed[:, None], strange.scores, rest.scores),
                )
                state, likeness = real.carrier.state(real.stream.rows(calibration))
                if watched(state, likeness, before)[1]:
                    continue
                counted, alarm = watched(state, likeness, stream)
                found.append(counted if alarm else None)
                by.append(alarm)
                if share == 1 and number < 3:
                    for look, at in others_ring(real.carrier, real.stream.rows(calibration), stream):
                        looks.setdefault(look, []).append(at)
            entry = {**delays(found), "first": {each: by.count(each) for each in ALARMS[:3] if each in by}}
            if looks:
                entry["others, median"] = {look: delays(at)["median"] for look, at in looks.items()}
            figures[f"{name}, {share:.0%} of the traffic"] = entry
    return figures


class Served(NamedTuple):
    """Rows whose chosen and best constant model have outcomes; an artifact that promises a little more loss."""

    rows: np.ndarray
    choice: np.ndarray
    scores: np.ndarray
    router: Router
    epsilon: float


def served(real: Real) -> Served:
    """Half of the requests go to the best constant, where a policy shares them out so; else as trained."""
    artifact = real.router._source[0]
    with suppress(TinyDancerError):
        artifact = dial_share(artifact, real.outcomes, None, 0.5).artifact
    router = Router(artifact)
    features = real.outcomes.features
    assert features is not None
    batch = router.route_features(features)
    choice, quality, best = np.asarray(batch.choice), real.outcomes.quality, int(router.header["best_constant"])
    chosen, compared = quality[np.arange(len(choice)), choice], quality[:, best]
    rows = np.flatnonzero(np.isfinite(chosen) & np.isfinite(compared))
    epsilon = max(float((compared - chosen)[rows].mean()), 0.0) + 0.02
    certificate = {
        "epsilon": epsilon,
        "delta": 0.1,
        "risk": "mean",
        "reference": router.models[best],
        "rows": 100,
        "p_value": 0.01,
        "data_digest": "",
        "date": "",
        "observed_risk": epsilon - 0.02,
    }
    artifact = _core.with_header(artifact, {**router.header, "guarantee": certificate})
    return Served(rows, choice, batch.scores.astype(np.float64), Router(artifact), epsilon)


def outcomes_alike(real: Real) -> dict[str, object]:
    """Outcomes of rows not trained on, and the same with the cheap model worse: a share of its quality is lost."""
    rows, choice, scores, router, epsilon = served(real)
    quality, best = real.outcomes.quality, int(router.header["best_constant"])
    residual = quality[rows, choice[rows]] - scores[rows, choice[rows]]
    shares = {model: float((choice[rows] == model).mean()) for model in set(choice[rows].tolist())}
    others = [model for model in shares if model != best]
    worse = max(others, key=lambda model: shares[model]) if others else best
    figures: dict[str, object] = {
        "share of decisions": {router.models[model]: round(share, 3) for model, share in shares.items()},
        "expected less observed": {
            router.models[model]: round(float(-residual[choice[rows] == model].mean()), 3) for model in shares
        },
        "loss promised": round(epsilon, 4),
        "model that becomes worse": router.models[worse],
    }
    for lost in (0.0, 0.1, 0.2, 0.4):
        for before in (0, 500):
            for known in (False, True):
                if lost == 0 and before:
                    continue
                rang: dict[str, list[int | None]] = {each: [] for each in ALARMS[3:]}
                for number in range(40 if lost == 0 else 10):
                    generator = np.random.default_rng(number)
                    state = router._engine.drift(THRESHOLD, number)
                    for step, row in enumerate(generator.choice(rows, before + MOST_OUTCOMES)):
                        model, value = int(choice[row]), float(quality[row, choice[row]])
                        if step >= before and model == worse and generator.random() < lost:
                            value = 0.0
                        listed = scores[row].tolist()
                        state.measured(model, value, listed, float(quality[row, best]) if known else None)
                        state.graded(value - listed[model])
                        if step % 50 == 0 and all(each[3] is not None for each in state.alarms()[3:]):
                            break
                    for alarm in state.alarms()[3:]:
                        at = alarm[3]
                        if at is None or at > before:  # else it rang before anything had changed
                            rang[alarm[0]].append(None if at is None else at - before)
                what = "nothing has changed" if lost == 0 else f"{lost:.0%} of that model's quality is lost"
                what += f", after {before} outcomes" if before else ""
                what += ", the reference's outcomes known" if known else ""
                figures[what] = {
                    each: delays(found) for each, found in rang.items() if not known or each == "risk"
                }
    return figures


def kin_of_one(carrier: Carrier) -> dict[str, object]:
    """Conversations of ten turns that look alike: counted once, and turn by turn."""
    known = Known(np.random.default_rng(7))
    figures: dict[str, object] = {}
    for once in (True, False):
        alarms = decisions = 0
        for _ in range(100):
            state, likeness = carrier.state(known.stream(KNOWN_ROWS))
            stream = known.stream(200)
            if not once:
                stream = stream.rows(np.repeat(np.arange(200), 10))
            counted, alarm = watched(state, likeness, stream)
            alarms += bool(alarm)
            decisions += counted * (10 if once else 1)
        figures["conversations of ten turns " + ("count once" if once else "count ten times")] = rate(
            alarms, decisions
        )
    return figures


def main() -> None:
    """Known truth, then every table."""
    reals = {name: real for name in TABLES if (real := read(name)) is not None}
    if not reals:
        return
    figures: dict[str, object] = {}
    two = Carrier(fit_two())
    figures["known truth"] = {**known_truth(two), **kin_of_one(two)}
    total_alarms = total_decisions = 0
    for name, real in reals.items():
        entry: dict[str, object] = {"nothing has changed": unchanged(real, kin=False)}
        found = entry["nothing has changed"]
        assert isinstance(found, dict)
        total_alarms += int(found["alarms"])
        total_decisions += int(found["decisions"])
        if len(np.unique(real.group)) < len(real.group):
            entry["nothing has changed, kin follow each other"] = unchanged(real, kin=True)
        streams = {}
        generator = random.Random(0)
        for other, them in reals.items():
            if other != name and not {other, name} & {"llmrouter"}:
                assert them.outcomes.features is not None
                streams[other] = real.of(them.outcomes.features)
        typed = [mistyped(text, generator) for text in real.prompts[:300]]
        tools = None if real.outcomes.tools is None else list(real.outcomes.tools[:300])
        streams["typing errors"] = real.of(_core.featurise(typed, tools))
        entry["decisions until it rings"] = changed(real, streams)
        entry["outcomes until it rings"] = outcomes_alike(real)
        figures[name] = entry
        print(f"{name} done", flush=True)
    figures["all tables, nothing has changed"] = rate(total_alarms, total_decisions)
    write(
        "drift",
        figures,
        "Target: at most 1 alarm in 100,000 decisions where nothing has changed, and a change told within N. "
        "Delays are in decisions (in outcomes for feedback, calibration, risk); null: so many streams have not "
        "rung within 3,000 decisions or 1,500 outcomes.",
    )


def fit_two() -> bytes:
    """Any artifact of two models: it carries what is put into it."""
    rows = table("gsm8k")
    assert rows is not None
    return fit(rows.rows(np.arange(60))).artifact


if __name__ == "__main__":
    main()
