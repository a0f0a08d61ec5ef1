"""The small artifacts of the conformance vectors: fixed random weights, every kind of backend and policy."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from cells import CellMaker
from examples import REQUESTS, as_json, described
from reference import Features, Options, Request, Router, featurise
from reference.artifact import FEATURE_SPEC, FORMAT, Tensor, Weights, write
from reference.backends import CUES, DEEPEST, LEAF
from reference.likeness import LikenessTest
from reference.word_pieces import DIMENSIONS

if TYPE_CHECKING:
    from reference import Encoder

Tensors = dict[str, Tensor]
LANDMARKS = 10
LIKENESS_SCORES = 24
TREES, LEVELS = 6, 3
assert LEVELS < DEEPEST


class Maker:
    """Draws weights; only ``random()`` is used, whose sequence Python guarantees for a seed."""

    def __init__(self, seed: int, components: int, samples: list[Features]) -> None:
        self.random = random.Random(seed)
        self.components = components
        self.samples = samples

    def singles(self, *shape: int, size: float) -> Tensor:
        """Singles within ± ``size``, of four decimals."""
        count = 1
        for length in shape:
            count *= length
        values = [round((2 * self.random.random() - 1) * size, 4) for _ in range(count)]
        return Tensor.of("F32", shape, values)

    def integers(self, rows: int) -> Tensor:
        """int8, one column a component."""
        values = [int(self.random.random() * 255) - 127 for _ in range(rows * self.components)]
        return Tensor.of("I8", (rows, self.components), values)

    def linear(self, name: str) -> Tensors:
        """Tables of 128 word and 256 character rows."""
        k = self.components
        return {
            f"{name}.word": self.integers(128),
            f"{name}.character": self.integers(256),
            f"{name}.word_scale": self.singles(k, size=0.02),
            f"{name}.character_scale": self.singles(k, size=0.02),
            f"{name}.cues": self.singles(k, CUES, size=0.1),
            f"{name}.embedding": self.singles(k, DIMENSIONS, size=0.5),
            f"{name}.intercept": self.singles(k, size=0.2),
        }

    def trees(self, name: str) -> Tensors:
        """Full trees, and one that is a single leaf."""
        inputs = [[*sample.cues.values(), *sample.unit_embedding] for sample in self.samples]
        columns = list(zip(*inputs, strict=True))
        telling = [index for index, column in enumerate(columns) if len(set(column)) > 2]
        nodes: list[tuple[float, int, int]] = []
        sizes: list[int] = []

        def grow(levels: int, start: int, leaves: list[int]) -> None:
            if levels == 0:
                nodes.append((0.0, LEAF, len(leaves)))
                leaves.append(0)
                return
            # Of every three inputs two are cues.
            pool = [i for i in telling if (i < CUES) == (self.random.random() < 0.67)]
            feature = pool[int(self.random.random() * len(pool))]
            column = sorted(set(columns[feature]))
            at = int(self.random.random() * (len(column) - 1))
            threshold = round((column[at] + 2 * column[at + 1]) / 3, 5)
            here = len(nodes)
            nodes.append((threshold, feature, 0))
            grow(levels - 1, start, leaves)
            nodes[here] = (threshold, feature, len(nodes) - start)
            grow(levels - 1, start, leaves)

        total = 0
        for tree in range(TREES):
            start = len(nodes)
            leaves: list[int] = []
            grow(0 if tree == TREES - 1 else LEVELS, start, leaves)
            sizes.append(len(nodes) - start)
            total += len(leaves)
        thresholds, features, rights = map(list, zip(*nodes, strict=True))
        return {
            f"{name}.threshold": Tensor.of("F32", (len(nodes),), thresholds),
            f"{name}.feature": Tensor.of("U16", (len(nodes),), features),
            f"{name}.right": Tensor.of("U16", (len(nodes),), rights),
            f"{name}.size": Tensor.of("U16", (TREES,), sizes),
            f"{name}.leaf": self.integers(total),
            f"{name}.scale": Tensor.of("F32", (self.components,), [0.005] * self.components),
            f"{name}.intercept": self.singles(self.components, size=0.2),
        }

    def memory(self, name: str) -> Tensors:
        """Some of the requests as landmarks."""
        chosen = self.samples[:: max(1, len(self.samples) // LANDMARKS)][:LANDMARKS]
        columns = list(zip(*(sample.cues.values() for sample in self.samples), strict=True))
        means = [round(sum(column) / len(column), 3) for column in columns]
        scales = [round(20 / max(0.2, max(column) - min(column)), 3) for column in columns]
        cues = [
            round(max(-127.0, min(127.0, (value - mean) * scale)))
            for sample in chosen
            for value, mean, scale in zip(sample.cues.values(), means, scales, strict=True)
        ]
        embeddings = [value for sample in chosen for value in sample.embedding]
        return {
            f"{name}.embeddings": Tensor.of("I8", (len(chosen), DIMENSIONS), embeddings),
            f"{name}.cues": Tensor.of("I8", (len(chosen), CUES), cues),
            f"{name}.gamma": Tensor.of("F32", (2,), [0.7, 0.0004]),
            f"{name}.coefficients": self.singles(self.components, len(chosen), size=2.0),
            f"{name}.intercept": self.singles(self.components, size=0.2),
            f"{name}.cue_mean": Tensor.of("F32", (CUES,), means),
            f"{name}.cue_scale": Tensor.of("F32", (CUES,), scales),
        }

    def likeness(self) -> Tensors:
        """A test of what requests are like, by which a tenth of the samples are unlike the rest."""
        columns = list(zip(*(sample.cues.values() for sample in self.samples), strict=True))
        means = [round(sum(column) / len(column), 3) for column in columns]
        scales = [round(2 / max(0.2, max(column) - min(column)), 3) for column in columns]
        tensors = {
            "likeness.mean": Tensor.of("F32", (CUES,), means),
            "likeness.scale": Tensor.of("F32", (CUES,), scales),
            "likeness.linear": self.singles(CUES, size=0.1),
            "likeness.square": self.singles(CUES, size=0.1),
            "likeness.embedding": self.singles(DIMENSIONS, size=1.0),
        }
        none = {"likeness.scores": Tensor.of("F32", (0,), []), "likeness.p_values": Tensor.of("F32", (1,), [1.0])}
        test = LikenessTest(Weights(tensors | none), {"level": 0.05})
        ordered = sorted({test.score(sample) for sample in self.samples})
        between = [round((a + b) / 2, 5) for a, b in pairwise(ordered)]
        scores = sorted(set(between[: len(between) * 9 // 10]))[-LIKENESS_SCORES:]
        p_values = [(len(scores) + 1 - at) / (len(scores) + 1) for at in range(len(scores) + 1)]
        return tensors | {
            "likeness.scores": Tensor.of("F32", (len(scores),), scores),
            "likeness.p_values": Tensor.of("F32", (len(scores) + 1,), p_values),
        }

    def heads(self, models: int, backends: int, spread: float) -> Tensors:
        """Stack, basis, calibration of quality and of confidence, verbosity."""
        k = self.components
        knots = [-1.0, -0.3, 0.1, 0.6, 1.2]
        values = [[0.05 + 0.01 * model, 0.25, 0.5, 0.7, 0.95] for model in range(models)]
        return {
            "stack": self.singles(backends, k, size=1.0),
            "mean": self.singles(models, size=0.3),
            "basis": self.singles(models, k, size=spread),
            "calibration_knots": Tensor.of("F32", (models, 5), knots * models),
            "calibration_values": Tensor.of("F32", (models, 5), [v for row in values for v in row]),
            "confidence_knots": Tensor.of("F32", (3,), [-0.2, 0.0, 0.3]),
            "confidence_values": Tensor.of("F32", (3,), [0.2, 0.55, 0.9]),
            "verbosity": self.singles(CUES + 1, size=0.1),
        }


def header(encoder: Encoder | None, **fields: Any) -> dict[str, Any]:
    """A header with what all have in common."""
    return {
        "format": FORMAT,
        "kind": "request-router",
        "version": "1.0.0",
        "created": "2026-01-01",
        "features": {"spec": FEATURE_SPEC, "encoder": encoder and encoder.checksum},
        "guard_margin": 0.0,
        "set_width": 0.08,
        "set_coverage": 0.9,
        "guarantee": None,
        "self_check": [],
        **fields,
    }


def certificate(model: str) -> dict[str, Any]:
    """A guarantee against this model."""
    return {
        "epsilon": 0.05,
        "delta": 0.1,
        "risk": "mean",
        "reference": model,
        "rows": 500,
        "p_value": 0.04,
        "data_digest": "none: made for conformance",
        "date": "2026-01-01",
        "observed_risk": 0.02,
    }


def pair(encoder: Encoder, samples: list[Features]) -> tuple[dict[str, Any], Tensors]:
    """A threshold between a weak and a strong model with measured costs; certified."""
    maker = Maker(1, 2, samples)
    fields = header(
        encoder,
        models=[
            {"name": "weak", "cost": [0.0001, 1e-07, 2e-05], "latency": [0.4, 0.001], "context_window": 2000},
            {"name": "strong", "cost": [0.002, 1e-06, 0.0004], "latency": [1.1, 0.002]},
        ],
        best_constant=1,
        backends=[
            {"kind": "linear", "name": "l"},
            {"kind": "trees", "name": "t"},
            {"kind": "memory", "name": "m"},
        ],
        components=2,
        policy={"kind": "threshold", "weak": 0, "strong": 1, "threshold": 0.05},
        guarantee=certificate("strong"),
        likeness={"level": 0.05, "rows": LIKENESS_SCORES},
    )
    tensors = maker.linear("l") | maker.trees("t") | maker.memory("m") | maker.heads(2, 3, 0.6)
    return fields, tensors | maker.likeness()


def five(encoder: Encoder, samples: list[Features]) -> tuple[dict[str, Any], Tensors]:
    """Five models with prices of every kind, windows, a guard and one model that is not cleared."""
    maker = Maker(8, 3, samples)
    prices = {"price_input": 1e-06, "price_output": 4e-06, "expected_output_tokens": 200.0}
    fields = header(
        encoder,
        models=[
            {"name": "anchor", "price_input": 2e-06, "price_output": 8e-06, "expected_output_tokens": 300.0},
            {"name": "brisk", **prices, "context_window": 1200, "latency": [0.2, 0.0001]},
            {"name": "calm", "price_input": 5e-07, "price_request": 0.0002, "context_window": 6000},
            {"name": "doubtful", "price_request": 0.0001, "cleared": False, "latency": [0.1, 0.0]},
            {"name": "exact", "cost": [0.003, 2e-06, 0.0005], "latency": [2.0, 0.001], "cleared": True},
        ],
        best_constant=0,
        backends=[{"kind": "memory", "name": "near"}, {"kind": "trees", "name": "cut"}],
        components=3,
        policy={"kind": "cost_weight", "cost_weight": 20.0, "unit": "usd"},
        guard_margin=0.03,
        set_width=0.15,
    )
    return fields, maker.memory("near") | maker.trees("cut") | maker.heads(5, 2, 0.5)


def constant(encoder: Encoder, samples: list[Features]) -> tuple[dict[str, Any], Tensors]:
    """Always the second model, without encoder and without a single price."""
    del encoder
    maker = Maker(3, 1, samples)
    fields = header(
        None,
        models=[{"name": "first"}, {"name": "second", "context_window": 3000}],
        best_constant=1,
        backends=[{"kind": "linear", "name": "only"}],
        components=1,
        policy={"kind": "constant", "model": 1},
    )
    return fields, maker.linear("only") | maker.heads(2, 1, 0.8)


def alone(encoder: Encoder, samples: list[Features]) -> tuple[dict[str, Any], Tensors]:
    """One model, and nothing learned: tensors without a value."""
    del encoder
    maker = Maker(4, 0, samples)
    fields = header(
        None,
        models=[{"name": "alone", "price_input": 1e-06}],
        best_constant=0,
        backends=[],
        components=0,
        policy={"kind": "constant", "model": 0},
    )
    return fields, maker.heads(1, 0, 0.5)


def gated(encoder: Encoder, samples: list[Features]) -> tuple[dict[str, Any], Tensors]:
    """Three models without costs, one of them added; a FastGRNN with int8 weights and inputs beside trees."""
    maker = Maker(5, 2, samples)
    cells = CellMaker(6, "int8", integer_inputs=True)
    fields = header(
        encoder,
        models=[{"name": "small"}, {"name": "middle"}, {"name": "large"}],
        best_constant=2,
        backends=[{"kind": "fastgrnn", "name": "gate"}, {"kind": "trees", "name": "cut"}],
        components=2,
        policy={"kind": "cost_weight", "cost_weight": 0.0, "unit": "calls"},
        certificate_ended="declared",
    )
    tensors = cells.cell("gate", CUES + DIMENSIONS, 6, (0, 2))
    tensors |= cells.matrix("gate.head.weight", 2, 6)
    tensors["gate.head.bias"] = maker.singles(2, size=0.2)
    tensors["gate.cue_mean"] = maker.singles(CUES, size=1.0)
    tensors["gate.cue_scale"] = maker.singles(CUES, size=0.5)
    return fields, tensors | maker.trees("cut") | maker.heads(3, 2, 0.7)


def priced(encoder: Encoder, samples: list[Features]) -> tuple[dict[str, Any], Tensors]:
    """Three models with prices for caches and long prompts; certified."""
    maker = Maker(7, 2, samples)
    swift_tiers = [
        {"above": 1000, "input": 2e-06, "output": 6e-06},
        {"above": 4000, "cached_input": 4e-07, "cache_write": 3e-06},
    ]
    fields = header(
        encoder,
        models=[
            {
                "name": "swift",
                "price_input": 1e-06,
                "price_output": 4e-06,
                "price_cached_input": 1e-07,
                "price_cache_write": 1.25e-06,
                "price_tiers": swift_tiers,
                "expected_output_tokens": 100.0,
                "latency": [0.2, 0.0],
            },
            {
                "name": "deep",
                "price_input": 1e-05,
                "price_output": 4e-05,
                "price_request": 0.0001,
                "price_cached_input": 1e-06,
                "expected_output_tokens": 150.0,
                "latency": [1.5, 0.0001],
            },
            {
                "name": "flat",
                "price_request": 0.002,
                "price_tiers": [{"above": 1000.0, "input": 1e-07}],
                "latency": [0.5, 0.0],
            },
        ],
        best_constant=1,
        backends=[{"kind": "linear", "name": "l"}, {"kind": "trees", "name": "t"}],
        components=2,
        policy={"kind": "cost_weight", "cost_weight": 20.0, "unit": "usd"},
        set_width=0.1,
        guarantee=certificate("deep"),
    )
    tensors = maker.linear("l") | maker.trees("t") | maker.heads(3, 2, 0.1)
    tensors["mean"] = Tensor.of("F32", (3,), [0.15, 0.45, -0.2])
    return fields, tensors


def measured(encoder: Encoder, samples: list[Features]) -> tuple[dict[str, Any], Tensors]:
    """Two models whose costs were measured between a shortest and a longest prompt; no encoder."""
    del encoder
    maker = Maker(9, 1, samples)
    fields = header(
        None,
        models=[
            {
                "name": "thrifty",
                "cost": [0.0003, 4e-06, 0.0001],
                "cost_seen": {
                    "tokens": [8.0, 900.0],
                    "verbosity": [-1.0, 1.0],
                    "cost": [1e-05, 0.003],
                    "per_token": 2e-07,
                },
            },
            {
                "name": "lavish",
                "cost": [0.002, 1e-05, 0.0004],
                "cost_seen": {
                    "tokens": [8.0, 900.0],
                    "verbosity": [0.0, 0.0],
                    "cost": [0.0021, 0.02],
                    "per_token": 5e-06,
                },
            },
        ],
        best_constant=1,
        backends=[{"kind": "linear", "name": "only"}],
        components=1,
        policy={"kind": "cost_weight", "cost_weight": 15.0, "unit": "usd"},
    )
    return fields, maker.linear("only") | maker.heads(2, 1, 0.8)


def older(encoder: Encoder, samples: list[Features]) -> tuple[dict[str, Any], Tensors]:
    """The pair as it was trained on requests read by the first specification, without a checksum of its header:
    the certificate in it counts for nothing."""
    fields, tensors = pair(encoder, samples)
    fields["format"] = "1.0.0"
    fields["features"]["spec"] = "1"
    # Nor could artifacts of that time say what requests are like.
    del fields["likeness"]
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("likeness.")}
    return fields, tensors


def make_all(encoder: Encoder) -> dict[str, bytes]:
    """All artifacts by name; each carries the reference's decisions on two requests as self-checks."""
    written = [as_json(described("request", request), "request") for _, request in REQUESTS]
    samples = [featurise(Request.from_json(text), encoder) for text in written]
    made = {}
    for make in (pair, five, constant, alone, gated, priced, measured, older):
        fields, tensors = make(encoder, samples)
        sealed = make is not older
        router = Router(write(fields, tensors, sealed=sealed), encoder)
        for text in ("Which lighthouse is the oldest?", "Add 19 to 23, then halve it."):
            decision = router.decide(Request(text), Options())
            quality = [float(f"{value:.9g}") for value in decision.quality]
            fields["self_check"].append({"text": text, "choice": decision.model, "quality": quality})
        made[make.__name__] = write(fields, tensors, sealed=sealed)
    return made
