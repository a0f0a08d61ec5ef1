"""Artifact + request + options → decision (the engine's ``router.rs``)."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from .artifact import Weights, check_header, read_tensors
from .asking import Options
from .backends import CUES, load
from .decision import Decision
from .errors import Refusal
from .features import Features, featurise
from .likeness import LikenessTest
from .policy import Expectations
from .price import Tokens, charges_the_same, costs_the_same, expected, is_incomplete
from .request import SPECS, Request
from .select import ENDED, OTHER_MODELS, OTHER_PRICES, UNCERTIFIED, UNLIKE, select
from .single import dot, interpolate, single

if TYPE_CHECKING:
    from .word_pieces import Encoder

SELF_CHECK_TOLERANCE = 1e-5


class Router:
    """A loaded artifact."""

    def __init__(self, data: bytes, encoder: Encoder | None = None, *, self_check: bool = True) -> None:
        self.header, tensors, _ = read_tensors(data, "request-router")
        check_header(self.header)
        features = self.header["features"]
        self.spec = features["spec"]
        if self.spec not in SPECS:
            raise Refusal("ArtifactVersion", "features.spec")
        # Why no decision stands under a certificate, whatever it is.
        ended = ENDED.get(self.header.get("certificate_ended") or "", UNCERTIFIED)
        self.uncertified = "" if self.header.get("guarantee") else ended
        wanted = features.get("encoder")
        if wanted is not None and (encoder is None or encoder.checksum != wanted):
            raise Refusal("EncoderMissing", "encoder")
        # Without an encoder in the header, no text is cut into word pieces, whether one is at hand or not.
        self.encoder = None if wanted is None else encoder
        weights, models = Weights(tensors), len(self.header["models"])
        self.components = self.header["components"]
        self.backends = [load(spec, weights, self.components) for spec in self.header["backends"]]
        self.stack = weights.get("stack", "F32", len(self.backends), self.components)
        self.mean = weights.get("mean", "F32", models)
        self.basis = weights.get("basis", "F32", models, self.components)
        knots, values = (weights.get(f"calibration_{part}", "F32", models, None) for part in ("knots", "values"))
        each = len(knots) // models
        self.calibration = [
            (knots[at : at + each], values[at : at + each]) for at in range(0, each * models, each or 1)
        ]
        self.confidence_map = (
            weights.get("confidence_knots", "F32", None),
            weights.get("confidence_values", "F32", None),
        )
        for one in (*self.calibration, self.confidence_map):
            check_map(*one)
        self.verbosity = weights.get("verbosity", "F32", CUES + 1)
        spec = self.header.get("likeness")
        self.likeness = None if spec is None else LikenessTest(weights, spec)
        if self_check:
            self._self_check()

    def _self_check(self) -> None:
        for check in self.header.get("self_check", []):
            decision = self.decide(Request(check["text"]), Options())
            apart = [abs(a - b) for a, b in zip(decision.quality, check["quality"], strict=True)]
            if decision.model != check["choice"] or max(apart) > SELF_CHECK_TOLERANCE:
                raise Refusal("ArtifactSelfCheck", "self_check")

    def change_models(self, changes: list[dict[str, Any]]) -> None:
        """Sets fields of the models, one object a model in order; a certificate that covers them no more goes."""
        models = self.header["models"]
        if len(changes) != len(models):
            raise Refusal("OptionInvalid", "models, prices")
        changed = [{**model, **change} for model, change in zip(models, changes, strict=True)]
        header = {**self.header, "models": changed}
        for model, change in zip(changed, changes, strict=True):
            if any(field.startswith("price_") for field in change) and is_incomplete(model):
                raise Refusal("OptionInvalid", f"prices of {model['name']}")
        try:
            check_header(header)
        except Refusal as refusal:
            raise Refusal("OptionInvalid", "models, prices") from refusal
        if header.get("guarantee") and (why := self._beyond(changed)):
            header["guarantee"], self.uncertified = None, why
        self.header = header

    def _beyond(self, changed: list[dict[str, Any]]) -> str:
        """Why the certificate does not cover these models; empty where every decision stays as it is."""
        pairs = list(zip(self.header["models"], changed, strict=True))
        if any(a["name"] != b["name"] or a.get("cleared", True) != b.get("cleared", True) for a, b in pairs):
            return OTHER_MODELS
        weighs = self.header["policy"]["kind"] == "cost_weight"
        bounds_costs = self.header["guarantee"]["risk"] == "cost"
        for a, b in pairs:
            if (weighs and not costs_the_same(a, b)) or (bounds_costs and not charges_the_same(a, b)):
                return OTHER_PRICES
        return ""

    def answer(self, request: str, options: str) -> dict[str, Any]:
        """Decides a request given as JSON with options as JSON; options are read first."""
        asked = Options.from_json(options)
        return self.decide(Request.from_json(request), asked).answer()

    def decide(self, request: Request, options: Options) -> Decision:
        """Decides one request."""
        options.check(self.names)
        return self.decide_features(featurise(request, self.encoder, self.spec), options)

    @property
    def names(self) -> list[str]:
        """Names of the models."""
        return [model["name"] for model in self.header["models"]]

    def decide_features(self, features: Features, options: Options) -> Decision:
        """Decides the request that has these features."""
        options.check(self.names)
        expect = self.expect(features, options)
        choice = select(self.header, options, features.tokens, expect)
        likeness, unlike = None, ""
        if self.likeness is not None:
            likeness = self.likeness.p_value(features)
            unlike = UNLIKE if likeness <= self.likeness.level else ""
        choice = replace(choice, uncovered=self.uncertified or choice.uncovered or unlike)
        confidence = [self.confidence(model, expect.quality) for model in range(len(expect.quality))]
        # A set holds a best model, of which there may be several: others as good are left out, the choice is not.
        if confidence[choice.model] > 1.0 - self.header["set_coverage"]:
            expect.prediction_set[choice.model] = True
        return Decision(self.header, choice, expect, confidence[choice.model], likeness, features.tokens)

    def confidence(self, chosen: int, quality: list[float]) -> float:
        """Probability that no other model scores higher than the one chosen."""
        others = [each for model, each in enumerate(quality) if model != chosen]
        if not others:
            return 1.0
        return interpolate(*self.confidence_map, single(quality[chosen] - max(others)))

    def expect(self, features: Features, options: Options) -> Expectations:
        """Expected quality, cost and latency of every model."""
        components = [0.0] * self.components
        for number, backend in enumerate(self.backends):
            weights = self.stack[number * self.components :][: self.components]
            for component, (weight, score) in enumerate(zip(weights, backend.scores(features), strict=True)):
                components[component] = single(components[component] + single(weight * score))
        quality = []
        for model, (mean, calibration) in enumerate(zip(self.mean, self.calibration, strict=True)):
            basis = self.basis[model * self.components :][: self.components]
            quality.append(interpolate(*calibration, single(mean + dot(basis, components))))
        verbosity = dot(self.verbosity[:CUES], list(features.cues.values()))
        verbosity = max(-20.0, min(20.0, single(verbosity + self.verbosity[CUES])))
        models = self.header["models"]
        outputs = [
            model.get("expected_output_tokens")
            if options.expected_output_tokens is None
            else options.expected_output_tokens
            for model in models
        ]
        width = single(self.header["set_width"])
        return Expectations(
            quality=quality,
            cost=[
                expected(model, Tokens(float(features.tokens), output=output), verbosity)
                for model, output in zip(models, outputs, strict=True)
            ],
            latency=[latency(model, features.tokens) for model in models],
            output_tokens=outputs,
            prediction_set=[single(max(quality) - one) <= width for one in quality],
        )


def latency(model: dict[str, Any], tokens: int) -> float | None:
    """Seconds, in doubles, or None where nobody measured."""
    if model.get("latency") is None:
        return None
    constant, per_token = model["latency"]
    return max(float(constant + per_token * tokens), 0.0)


def check_map(knots: list[float], values: list[float]) -> None:
    """Knots rise; values do not fall and lie in [0, 1]."""
    rising = all(a < b for a, b in pairwise(knots))
    sorted_values = all(a <= b for a, b in pairwise(values))
    inside = all(0.0 <= value <= 1.0 and math.isfinite(value) for value in values)
    if not (knots and len(knots) == len(values) and rising and sorted_values and inside):
        raise Refusal("ArtifactInvalid", "calibration or confidence")
