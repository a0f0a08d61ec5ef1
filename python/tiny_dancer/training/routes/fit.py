"""Labelled texts to an artifact of routes, top to bottom.

Four heads are fitted, each on three quarters of every route's rows, and score the quarter they have not seen. On
these scores everything is chosen: whether the head, likeness to prototypes or their sum is likeliest, the
temperature, the prediction sets, the thresholds, and whether unknown words are read as known ones
(``routing/spelling.py``). Then the head is fitted on all rows. Two more heads, each without
a quarter of the routes, teach the in-scope score (``scope.py``). Beside the routes every head learns what is none
of them: rows out of scope, the package's background texts and everyday requests.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer import _core
from tiny_dancer.errors import TrainingError
from tiny_dancer.evaluation.intervals import exact_interval
from tiny_dancer.evaluation.metrics import expected_calibration_error
from tiny_dancer.evaluation.robustness import perturb
from tiny_dancer.routing.semantic import encoder_spec
from tiny_dancer.routing.spelling import Words
from tiny_dancer.training.export import SELF_CHECK_TEXTS
from tiny_dancer.training.fastgrnn.export import fit_temperature
from tiny_dancer.training.likeness import background_texts
from tiny_dancer.training.routes import prototypes, scope
from tiny_dancer.training.routes.data import everyday_requests, features_of
from tiny_dancer.training.routes.head import MOST_BYTES, Head, TextFeatures, fit_head
from tiny_dancer.training.routes.prototypes import Prototypes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

FOLDS = 4
STEPS = FOLDS + 3
"""Calls of a progress callback."""
_BLENDS = (0.0, 2.0, 4.0, 8.0)
_LIKENESS_SCALE = 20.0
_ABSENT = 0.25
"""Share of the routes that a head for the in-scope score goes without."""
_MOST_SCOPE_ROWS = 10_000
_MOST_FLIP_ROWS = 500
_TYPOS = 0.1
"""Share of requests with a slip of the fingers, where it is chosen how unknown words are read."""
_ALPHA = 0.1
_FEWEST_CALIBRATED = 40
_VERSION = "1.0.0"


@dataclass(frozen=True, slots=True)
class FitReport:
    """What was fitted, and how good it is on rows that it was not fitted on.

    Attributes:
        method: ``head``, ``prototypes`` or ``head and prototypes``.
        n: rows of routes.
        routes: how many.
        accuracy: share of rows routed right when left out.
        interval: its 95 % interval (Clopper and Pearson).
        ece: expected calibration error of the confidence, 15 bins of equal mass, on rows left out of the fit of
            temperature and head alike; None where there are too few rows to calibrate.
        log_loss: of the same.
        temperature: by which scores are divided.
        near_miss_auroc: how well rows of routes that a head does not know are told from those it knows.
        far_auroc: the same for rows out of scope in the table, or for requests of everyday life where it has none;
            NaN without either.
        false_alarms: share of in-scope rows called out of scope.
        near_misses_caught: share of rows of unknown routes that is called out of scope at that.
        flips_under_typos: share of rows whose best route a typo in one word of twelve changes; NaN where the
            vectors are another encoder's.
        thresholds: by route, least confidence at which it is given; empty where no precision was asked.
        out_of_scope_rows: of the table.
    """

    method: str
    n: int
    routes: int
    accuracy: float
    interval: tuple[float, float]
    ece: float | None
    log_loss: float | None
    temperature: float
    near_miss_auroc: float | None
    far_auroc: float
    false_alarms: float
    near_misses_caught: float | None
    flips_under_typos: float
    thresholds: Mapping[str, float] = field(default_factory=dict)
    out_of_scope_rows: int = 0


@dataclass(frozen=True, slots=True)
class FittedRoutes:
    """An artifact of kind ``routes``, and what is known of it."""

    artifact: bytes
    report: FitReport


@dataclass(frozen=True, slots=True)
class _Fitted:
    """A head and examples, and the words of the rows they were fitted on; None where texts are read as written."""

    head: Head
    examples: Prototypes
    words: Words | None

    def scored(self, features: TextFeatures) -> _LeftOut:
        scores, routes = self.head.scores(features), self.examples.routes
        none = scores[:, routes] if scores.shape[1] > routes else None
        likeness = self.examples.likeness(features.embedding)
        return _LeftOut(scores[:, :routes], *likeness, self.head.known(features), none)

    def ways(self, texts: Sequence[str], features: TextFeatures) -> list[_LeftOut]:
        """Scores of texts as they are written and, where words are known, as they are read."""
        found = [self.scored(features)]
        if self.words is not None and len(texts):
            found.append(self.scored(features_of(texts, speller=self.words.speller(self.head.pairs()))))
        return found


@dataclass(frozen=True, slots=True)
class _LeftOut:
    """Of n rows, by heads that have not seen them.

    Attributes:
        scores: of the head, [n, k].
        likeness: to the prototypes, [n, k].
        nearest: highest cosine, [n].
        known: shares of n-grams, [n] each.
        none: score of "none of the routes", [n]; or None where the head has no such output.
    """

    scores: npt.NDArray[np.float32]
    likeness: npt.NDArray[np.float32]
    nearest: npt.NDArray[np.float32]
    known: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
    none: npt.NDArray[np.float32] | None

    def total(self, method: str, blend: float) -> npt.NDArray[np.float32]:
        if method == "prototypes":
            return self.likeness * np.float32(_LIKENESS_SCALE)
        return np.asarray(self.scores + np.float32(blend) * self.likeness, np.float32)

    def measured(self, method: str, blend: float) -> Floats:
        """What the engine measures, [n, 7]."""
        if method == "prototypes":
            nothing = np.zeros_like(self.nearest)
            return scope.measures(self.total(method, blend), self.nearest, (nothing, nothing), None)
        return scope.measures(self.total(method, blend), self.nearest, self.known, self.none)


def fit_routes(
    texts: Sequence[str],
    labels: Sequence[str | None],
    *,
    routes: Sequence[Mapping[str, Any]] | None = None,
    vectors: Any = None,
    encoder: Mapping[str, Any] | None = None,
    self_check_vectors: Any = None,
    precision: float | None = None,
    seed: int = 0,
    created: str = "",
    digest: str = "",
    progress: Callable[[str], None] = lambda step: None,
) -> FittedRoutes:
    """Fits routes on labelled texts.

    Args:
        texts: n texts.
        labels: the route of each; None where it belongs to none.
        routes: what an artifact says of each route (``name``, ``target``, ``priority``, ``conditions``, …), in the
            order of the artifact; absent: the labels, sorted.
        vectors: of another encoder than the engine's, float [n, D].
        encoder: its ``name`` and ``dimension``.
        self_check_vectors: its vectors of the texts that every artifact checks itself with.
        precision: give every route the least confidence at which that share of what it is given to is right, on
            rows left out.
        seed: of every random choice.
        created: date to record.
        digest: of the rows.
        progress: called :data:`STEPS` times.

    Raises:
        TrainingError: fewer than two routes, a route without rows, a label that is no route.
        RequestError: a text of white space alone.
    """
    specs: list[dict[str, Any]] = (
        [dict(each) for each in routes]
        if routes is not None
        else [{"name": name} for name in sorted({*filter(None, labels)})]
    )
    names = [str(each["name"]) for each in specs]
    place = {name: at for at, name in enumerate(names)}
    unknown = next((label for label in labels if label is not None and label not in place), None)
    if unknown is not None:
        raise TrainingError("label", unknown, "no route has this name: add the route, or leave out its rows")
    if len(names) < 2:
        raise TrainingError("label", f"{len(names)} routes", "give rows of at least two routes")
    inside = np.array([label is not None for label in labels])
    y = np.array([place[label] for label in labels if label is not None])
    empty = np.flatnonzero(np.bincount(y, minlength=len(names)) == 0)
    if len(empty):
        raise TrainingError(f"routes[{names[empty[0]]}]", "no rows", "give it at least one text, better three")
    everything = features_of(texts, vectors)
    known, outside = everything.rows(np.flatnonzero(inside)), everything.rows(np.flatnonzero(~inside))
    said, said_aside = texts_of(texts, inside), texts_of(texts, ~inside)
    means = known.embedding.nbytes // 4 > prototypes.MOST_BYTES
    bytes_left = MOST_BYTES - (len(names) if means else len(known)) * known.embedding.shape[1]
    aside = outside
    if vectors is None:
        # Of the everyday requests as many as there are rows: what belongs to none shall not outweigh the routes.
        apart_from_all = [*background_texts(), *everyday_requests()[: len(known)]]
        aside, said_aside = _stacked(outside, features_of(apart_from_all)), [*said_aside, *apart_from_all]

    def fitted(rows: Ints, label: Ints, outputs: int, others: Ints) -> _Fitted:
        part = known.rows(rows)
        examples = Prototypes.of(part.embedding, label, outputs, means=means)
        if len(others):
            part = _stacked(part, aside.rows(others))
            label = np.concatenate([label, np.full(len(others), outputs)])
        head = fit_head(part, label, outputs + bool(len(others)), seed, most_bytes=bytes_left)
        heard = [said[row] for row in rows.tolist()] + [said_aside[row] for row in others.tolist()]
        return _Fitted(head, examples, Words.of(heard) if vectors is None else None)

    dice = np.random.default_rng(seed)
    fold = _folds(said, y)
    rows = np.arange(len(y))
    # In each of two ways to read texts: as written, and with unknown words read as known ones.
    parts: list[list[tuple[Ints, _LeftOut]]] = [[], []]
    far: list[list[_LeftOut]] = [[], []]
    flips: list[list[tuple[Ints, _LeftOut]]] = [[], []]
    aside_fold = np.arange(len(aside)) % FOLDS
    typos = _typos(said, dice)
    for at in range(FOLDS):
        progress(f"left out {at + 1}/{FOLDS}")
        one = fitted(rows[fold != at], y[fold != at], len(names), np.flatnonzero(aside_fold != at))
        held, others = rows[fold == at], np.flatnonzero(aside_fold == at)
        for way, found in enumerate(one.ways([said[row] for row in held.tolist()], known.rows(held))):
            parts[way].append((held, found))
        if len(aside):
            texts_aside = [said_aside[row] for row in others.tolist()]
            for way, found in enumerate(one.ways(texts_aside, aside.rows(others))):
                far[way].append(found)
        hit = [row for row in typos if fold[row] == at]
        if hit and vectors is None:
            slipped = [typos[row] for row in hit]
            for way, found in enumerate(one.ways(slipped, features_of(slipped))):
                flips[way].append((np.array(hit), found))
    counts = np.bincount(y, minlength=len(names))
    judged = counts[y] > 1  # the only row of a route cannot be left out and be right
    both = [_joined(each, len(y)) for each in parts if each]
    options = [(*_choose(each, y, judged), each) for each in both]
    missed = [_missed(*each, flips[at], y, judged) for at, each in enumerate(options)]
    way = int(missed[-1] <= missed[0]) if len(options) > 1 else 0
    method, blend, left_out = options[way]
    totals = left_out.total(method, blend)
    enough = int(judged.sum()) >= _FEWEST_CALIBRATED
    temperature = fit_temperature(totals[judged], y[judged]) if enough else 1.0

    near: list[tuple[_LeftOut, _LeftOut]] = []
    for number in range(2):
        progress(f"without some routes {number + 1}/2")
        if len(names) >= 4:
            near.append(_without(fitted, said, known, len(aside), y, len(names), dice, way))
    measured = left_out.measured(method, blend)
    apart = [each.measured(method, blend) for each in far[way]]
    outside_near = [each.measured(method, blend) for _, each in near]
    inside_near = [each.measured(method, blend) for each, _ in near]
    weights, bias = np.array([0.0, 1.0, *[0.0] * 5]), 0.0
    if apart or near:
        rows_out = np.concatenate([*outside_near, *apart])
        sizes = [sum(map(len, outside_near)), sum(map(len, apart))]
        weight = np.concatenate([np.full(size, 1 / size) for size in sizes if size])
        weights, bias = scope.fit_scope(np.concatenate([measured, *inside_near]), rows_out, weight)
    scores = scope.in_scope(measured, weights, bias)
    curve = scope.thresholds(scores[judged] if enough else scores)
    unknown_routes = [scope.in_scope(each, weights, bias) for each in outside_near]
    of_no_route = [scope.in_scope(each, weights, bias) for each in apart]
    # Who gives rows out of scope has an idea of what comes, and is refused no more than the usual share for it.
    false_alarms = (
        scope.FALSE_ALARMS if len(outside) else scope.best_share(curve, [_one(unknown_routes), _one(of_no_route)])
    )
    cut = float(np.interp(false_alarms, [share for share, _ in curve], [score for _, score in curve]))

    probability = _softmax(totals / temperature)
    right = (totals.argmax(axis=1) == y)[judged]
    thresholds = {} if precision is None else _thresholds(probability, y, names, precision)
    caught = auroc = None
    if near:
        auroc = float(
            np.mean(
                [
                    scope.area(scope.in_scope(a, weights, bias), b)
                    for a, b in zip(inside_near, unknown_routes, strict=True)
                ]
            )
        )
        caught = float(np.mean(_one(unknown_routes) < cut))
    report = FitReport(
        method=method if method == "prototypes" or not blend else "head and prototypes",
        n=len(y),
        routes=len(names),
        accuracy=float(right.mean()) if len(right) else float("nan"),
        interval=exact_interval(int(right.sum()), len(right)) if len(right) else (0.0, 1.0),
        ece=_crossed_ece(totals[judged], y[judged], dice) if enough else None,
        log_loss=float(-np.log(np.maximum(probability[rows, y], 1e-12))[judged].mean()) if enough else None,
        temperature=temperature,
        near_miss_auroc=auroc,
        far_auroc=scope.area(scores, _one(of_no_route)) if apart else float("nan"),
        false_alarms=false_alarms,
        near_misses_caught=caught,
        flips_under_typos=_flipped(flips[way], totals, method, blend),
        thresholds=thresholds,
        out_of_scope_rows=len(outside),
    )

    progress("all rows")
    whole = fitted(rows, y, len(names), np.arange(len(aside)))
    tensors = whole.examples.tensors() | ({} if method == "prototypes" else whole.head.tensors("head"))
    spelling = {}
    if way and whole.words is not None:
        spelling = {"spelling": whole.words.header()}
        tensors |= whole.words.tensors()
    for spec in specs:
        if spec["name"] in thresholds and spec.get("threshold") is None:
            spec["threshold"] = thresholds[spec["name"]]
    model: dict[str, Any] = (
        {"kind": "prototypes", "scale": _LIKENESS_SCALE}
        if method == "prototypes"
        else {"kind": "head", "prototypes": blend, "none": bool(len(aside))}
    )
    header = {
        "format": _core.FORMAT,
        "kind": "routes",
        "version": _VERSION,
        "created": created,
        "routes": specs,
        "spec": _core.FEATURE_SPEC,
        "encoder": dict(encoder) if encoder else encoder_spec(None),
        "model": model,
        "temperature": temperature,
        "calibrated": enough,
        "scope": {
            "weights": weights.tolist(),
            "bias": bias,
            "false_alarms": false_alarms,
            "thresholds": curve,
        },
        "conformal": _conformal(probability[judged], y[judged]) if enough else None,
        **spelling,
        "training": {"report": _stated(report), "digest": digest, "seed": seed},
    }
    return FittedRoutes(with_self_checks(header, tensors, self_check_vectors), report)


def _stated(report: FitReport) -> dict[str, Any]:
    """As JSON has it: what is not known is null."""
    return {
        name: None if isinstance(value, float) and np.isnan(value) else value
        for name, value in asdict(report).items()
    }


def texts_of(texts: Sequence[str], inside: npt.NDArray[np.bool_]) -> list[str]:
    """Texts of the rows that are inside."""
    return [text for text, within in zip(texts, inside.tolist(), strict=True) if within]


def with_self_checks(header: dict[str, Any], tensors: Mapping[str, Any], vectors: Any = None) -> bytes:
    """The artifact with requests of our own and their answers, which loading replays."""
    plain = _core.artifact_bytes(header, tensors)
    own = header["encoder"].get("checksum") is not None
    if not own and vectors is None:
        return plain
    engine = _core.Routes(plain, _core.sentence_encoder() if own else None)
    checks = []
    for at, text in enumerate(SELF_CHECK_TEXTS):
        vector = None if own else np.ascontiguousarray(vectors[at], "<f4")
        scores, found = engine.scores(
            [text], None if vector is None else vector.tobytes(), header["encoder"]["name"]
        )
        row = np.frombuffer(scores, "<f4").astype(np.float64) / header["temperature"]
        measured = np.frombuffer(found, "<f4").astype(np.float64)
        part = header["scope"]
        check: dict[str, Any] = {
            "text": text,
            "best": header["routes"][int(row.argmax())]["name"],
            "confidence": float(_softmax(row[None]).max()),
            "in_scope": None
            if part is None
            else float(scope.in_scope(measured[None], np.array(part["weights"]), part["bias"])[0]),
        }
        if vector is not None:
            check["vector"] = vector.tolist()
        checks.append(check)
    return _core.artifact_bytes({**header, "self_check": checks}, tensors)


def _folds(texts: Sequence[str], y: Ints) -> Ints:
    """A fold for every row: of each route's rows a run as they lie, equal texts together.

    Rows that lie together often come from one hand. Drawn at random, a row left out would have its siblings among
    those that are learnt from, and what is measured on it would be too good.
    """
    fold = np.zeros(len(y), np.int64)
    by_text: dict[str, int] = {}
    for route in range(int(y.max()) + 1):
        own = np.flatnonzero(y == route)
        for at, row in enumerate(own.tolist()):
            run = (at * FOLDS // len(own) + route) % FOLDS
            fold[row] = by_text.setdefault(" ".join(texts[row].lower().split()), run)
    return fold


def _typos(texts: Sequence[str], dice: np.random.Generator) -> dict[int, str]:
    """Some rows with a slip of the fingers, by row."""
    rows = dice.permutation(len(texts))[:_MOST_FLIP_ROWS]
    return {int(row): perturb(texts[row], "typos", 0) for row in rows}


def _stacked(first: TextFeatures, second: TextFeatures) -> TextFeatures:
    from scipy import sparse

    ngrams = sparse.vstack([first.ngrams, second.ngrams]).tocsr()
    return TextFeatures(ngrams, np.concatenate([first.embedding, second.embedding]))


def _one(parts: Sequence[Floats]) -> Floats:
    """All of them in one; empty without any."""
    return np.concatenate([np.empty(0), *parts])


def _joined(parts: Sequence[tuple[Ints, _LeftOut]], n: int) -> _LeftOut:
    def column(take: Callable[[_LeftOut], npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
        first = take(parts[0][1])
        found = np.zeros((n, *first.shape[1:]), np.float32)
        for rows, part in parts:
            found[rows] = take(part)
        return found

    known = (column(lambda part: part.known[0]), column(lambda part: part.known[1]))
    return _LeftOut(
        column(lambda part: part.scores),
        column(lambda part: part.likeness),
        column(lambda part: part.nearest),
        known,
        None if parts[0][1].none is None else column(lambda part: np.asarray(part.none)),
    )


def _choose(found: _LeftOut, y: Ints, judged: npt.NDArray[np.bool_]) -> tuple[str, float]:
    """What makes the labels of rows left out likeliest, each at its best temperature."""
    if not judged.any():
        return "prototypes", 0.0

    def loss(method: str, blend: float) -> float:
        totals = found.total(method, blend)[judged]
        probability = _softmax(totals / fit_temperature(totals, y[judged]))
        return float(-np.log(np.maximum(probability[np.arange(len(totals)), y[judged]], 1e-12)).mean())

    options = [("head", blend) for blend in _BLENDS] + [("prototypes", 0.0)]
    return min(options, key=lambda option: loss(*option))


def _missed(
    method: str,
    blend: float,
    found: _LeftOut,
    flips: Sequence[tuple[Ints, _LeftOut]],
    y: Ints,
    judged: npt.NDArray[np.bool_],
) -> float:
    """Share of rows left out that are routed wrong, where so many have a slip of the fingers as :data:`_TYPOS`."""

    def wrong(each: _LeftOut, rows: Ints) -> Floats:
        return np.asarray(each.total(method, blend).argmax(axis=1) != y[rows], np.float64)[judged[rows]]

    clean = wrong(found, np.arange(len(y)))
    slipped = np.concatenate([wrong(each, rows) for rows, each in flips]) if flips else clean
    if not len(clean) or not len(slipped):
        return 0.0
    return float((1 - _TYPOS) * clean.mean() + _TYPOS * slipped.mean())


def _without(
    fitted: Callable[[Ints, Ints, int, Ints], _Fitted],
    said: Sequence[str],
    features: TextFeatures,
    aside: int,
    y: Ints,
    routes: int,
    dice: np.random.Generator,
    way: int,
) -> tuple[_LeftOut, _LeftOut]:
    """Rows left out of routes that a head knows, and rows of routes that it does not know."""
    absent = dice.permutation(routes)[: max(1, round(_ABSENT * routes))]
    rows = dice.permutation(len(y))[:_MOST_SCOPE_ROWS]
    gone = np.isin(y[rows], absent)
    kept = rows[~gone]
    held_out = np.arange(len(kept)) < len(kept) // FOLDS
    remaining = np.setdiff1d(np.arange(routes), absent)
    learnt = kept[~held_out]
    # A route of which no row is left to learn from would have no prototype.
    present = np.intersect1d(remaining, y[learnt])
    label = np.searchsorted(present, y[learnt])
    one = fitted(learnt, label, len(present), np.arange(aside))

    def scored(part: Ints) -> _LeftOut:
        return one.ways([said[row] for row in part.tolist()], features.rows(part))[way if len(part) else 0]

    return scored(kept[held_out & np.isin(y[kept], present)]), scored(rows[gone])


def _softmax(scores: npt.NDArray[Any]) -> Floats:
    shifted = np.exp(np.asarray(scores, np.float64) - scores.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def _crossed_ece(totals: npt.NDArray[np.float32], y: Ints, dice: np.random.Generator) -> float:
    """Of halves of the rows, each at the temperature of the other."""
    half = dice.permutation(len(y)) % 2 == 0
    confidence = np.zeros(len(y))
    for own in (half, ~half):
        confidence[own] = _softmax(totals[own] / fit_temperature(totals[~own], y[~own])).max(axis=1)
    right = (totals.argmax(axis=1) == y).astype(np.float64)
    return expected_calibration_error(confidence, right)


def _conformal(probability: Floats, y: Ints) -> dict[str, Any]:
    """Thresholds of prediction sets that miss one row in ten (LAC)."""
    import json

    scores = _core.conformal_label_scores("lac", probability.astype("<f4").tobytes(), probability.shape[1])
    own = np.frombuffer(scores, "<f8").reshape(probability.shape)[np.arange(len(y)), y]
    found: dict[str, Any] = json.loads(_core.ConformalCalibration.fit("lac", own.tobytes(), None, _ALPHA).json())
    return found


def _thresholds(probability: Floats, y: Ints, names: Sequence[str], precision: float) -> dict[str, float]:
    """By route, the least confidence from which on it is right often enough, on rows left out."""
    best, confidence = probability.argmax(axis=1), probability.max(axis=1)
    found = {}
    for route, name in enumerate(names):
        own = np.flatnonzero(best == route)
        order = own[np.argsort(-confidence[own], kind="stable")]
        share = np.cumsum(y[order] == route) / np.arange(1, len(order) + 1)
        enough = np.flatnonzero(share >= precision)
        found[name] = float(confidence[order[enough[-1]]]) if len(enough) else 1.0
    return found


def _flipped(
    flips: Sequence[tuple[Ints, _LeftOut]], totals: npt.NDArray[np.float32], method: str, blend: float
) -> float:
    if not flips:
        return float("nan")
    changed = [part.total(method, blend).argmax(axis=1) != totals[rows].argmax(axis=1) for rows, part in flips]
    return float(np.concatenate(changed).mean())
