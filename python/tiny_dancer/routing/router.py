"""The router: an artifact in force."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from itertools import count
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer import _core
from tiny_dancer.errors import ArtifactError, OptionError, RequestError
from tiny_dancer.routing.arguments import model_changes, number
from tiny_dancer.routing.requests import as_engine, listed_requests, split_requests, tools_text
from tiny_dancer.types import Decision, DecisionBatch, Guarantee, ModelInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tiny_dancer.routing.requests import Request
    from tiny_dancer.types import FeatureTable

_NOTES = {
    "override": "overridden by the caller",
    "constraint": "a constraint changed the choice",
}
_REASONS = np.array(_core.REASONS)
_ROUTED_BY = np.array(_core.ROUTED_BY)


class _Ids:
    """Decision ids: a prefix of this process, drawn anew in a forked one, and a running number."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Starts over under another prefix."""
        self._prefix = os.urandom(8).hex()
        self._number = count()

    def __call__(self) -> str:
        return f"{self._prefix}-{next(self._number):x}"


new_id = _Ids()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=new_id.renew)


class Router:
    """Decides which model answers a request. Immutable; share it between threads.

    Example:
        >>> router = Router.load(models={"weak": "gpt-4o-mini", "strong": "gpt-4o"})
        >>> router.route("What is 2 + 2?").model in ("gpt-4o-mini", "gpt-4o")
        True
    """

    def __init__(self, artifact: bytes, *, models: Mapping[str, str | ModelInfo] | None = None) -> None:
        """See :meth:`load`; ``artifact`` is the file's bytes."""
        header = _core.read_header(artifact)
        # An artifact of another kind has no models; the engine says so.
        changes = model_changes([model["name"] for model in header.get("models", [])], models or {})
        self._engine = _core.Router(artifact, _core.encoder(), changes)
        self.header: dict[str, Any] = json.loads(self._engine.header())
        """Everything about the artifact that is not a weight."""
        self.models: tuple[str, ...] = tuple(model["name"] for model in self.header["models"])
        """Names of the models, in the order of the artifact's columns."""
        self._index = {name: index for index, name in enumerate(self.models)}
        self._version: str = self.header["version"]
        found = self.header["guarantee"]
        self.guarantee: Guarantee | None = None if found is None else Guarantee(**found)
        """The certificate of the artifact as loaded, or None."""
        if self.guarantee is not None:
            self._no_guarantee = ""
        elif header["guarantee"] is not None:
            self._no_guarantee = "the certificate was earned with other models or prices"
        else:
            self._no_guarantee = "the artifact carries no certificate; see calibrate"
        self._source = (artifact, models)

    @classmethod
    def load(
        cls, artifact: str | os.PathLike[str] = "default", *, models: Mapping[str, str | ModelInfo] | None = None
    ) -> Router:
        """Loads an artifact, checks it and replays its self-checks.

        Args:
            artifact: a path, or ``default`` for the one the package ships (two roles, weak and strong).
            models: by the artifact's names, the model to call instead, or a :class:`ModelInfo` with prices
                and context window. Changed models are not covered by the artifact's certificate.

        Raises:
            ArtifactError: the file is missing or no sound artifact (see its subclasses).
            OptionError: ``models`` names none of the artifact's, or gives a name twice.
        """
        return cls(read_artifact(artifact), models=models)

    def __reduce__(self) -> tuple[Callable[..., Router], tuple[bytes, Mapping[str, str | ModelInfo] | None]]:
        """Pickles as the artifact it was loaded from."""
        return _reload, self._source

    def route(
        self,
        request: Request,
        *,
        tools: object = None,
        max_cost: float | None = None,
        min_quality: float | None = None,
        max_latency: float | None = None,
        allowed: Iterable[str] = (),
        exclude: Iterable[str] = (),
        pin: str | None = None,
        threshold: float | None = None,
        cost_weight: float | None = None,
        expected_output_tokens: float | None = None,
    ) -> Decision:
        """Decides one request.

        Args:
            request: a text, or OpenAI chat messages.
            tools: functions offered, as JSON text or values.
            max_cost: most USD the answer may cost; every model needs a price.
            min_quality: least quality to expect, in [0, 1].
            max_latency: most seconds the answer may take; every model needs measured latencies.
            allowed: only these models.
            exclude: not these.
            pin: this model, whatever the policy says.
            threshold: least gain worth the dearer of two models, in place of the artifact's.
            cost_weight: quality worth one unit of cost, in place of the artifact's.
            expected_output_tokens: of any model, where the caller knows.

        Raises:
            RequestError: nothing to route, or no valid Unicode.
            OptionError: an option outside its range, an unknown model, or a price that is needed and missing.
            NoFeasibleModelError: the constraints removed every model; it lists which removed which.
        """
        text, messages = as_engine(request)
        options = self.options(
            max_cost,
            min_quality,
            max_latency,
            allowed,
            exclude,
            pin,
            threshold,
            cost_weight,
            expected_output_tokens,
        )
        return self.decide(text, messages, tools_text(tools), options)

    def decide(
        self,
        text: str,
        messages: _core.Messages | None,
        tools: str | None,
        options: _core.Options | None,
    ) -> Decision:
        """:meth:`route` of a request as the engine takes it.

        Args:
            text: of the request.
            messages: in place of ``text``, or None.
            tools: as JSON text.
            options: made by :meth:`options`.
        """
        start = perf_counter_ns()
        decided = self._engine.decide(text, messages, tools, options)
        index, scores, costs, confidence, members, reason, routed_by, as_certified = decided
        model = self.models[index]
        covered = as_certified and self.guarantee is not None
        note = "" if covered else self._no_guarantee or _NOTES.get(routed_by, "")
        return Decision(
            new_id(),
            model,
            scores,
            costs,
            scores[model],
            None if costs is None else costs[model],
            confidence,
            members,
            reason,
            routed_by,
            self.guarantee if covered else None,
            note,
            self._version,
            (perf_counter_ns() - start) / 1000,
        )

    async def aroute(self, request: Request, **options: Any) -> Decision:
        """:meth:`route` for callers that await: deciding takes microseconds, so it runs where it is."""
        return self.route(request, **options)

    def route_batch(
        self,
        requests: Iterable[Request],
        *,
        tools: Sequence[object] | None = None,
        max_cost: float | None = None,
        min_quality: float | None = None,
        max_latency: float | None = None,
        allowed: Iterable[str] = (),
        exclude: Iterable[str] = (),
        pin: str | None = None,
        threshold: float | None = None,
        cost_weight: float | None = None,
        expected_output_tokens: float | None = None,
    ) -> DecisionBatch:
        """Decides n requests on all processors, without the interpreter lock.

        Args:
            requests: a list, a numpy array of strings or an Arrow array of strings.
            tools: one entry a request, or None.

        The other arguments hold for every request, as in :meth:`route`. One bad request fails the batch with an
        error that names its row: nothing is dropped.

        Raises:
            RequestError, OptionError, NoFeasibleModelError: as :meth:`route`, naming the row.
        """
        start = perf_counter_ns()
        listed = listed_requests(requests)
        texts, messages = split_requests(listed)
        documents = None
        if tools is not None:
            if len(tools) != len(listed):
                raise RequestError("tools", f"{len(tools)} for {len(listed)} requests", "give one entry a request")
            documents = [tools_text(each, f"tools[{row}]") for row, each in enumerate(tools)]
        options = self.options(
            max_cost,
            min_quality,
            max_latency,
            allowed,
            exclude,
            pin,
            threshold,
            cost_weight,
            expected_output_tokens,
        )
        columns = self._engine.decide_batch(texts, messages, documents, options)
        return self._batch(columns, start)

    def route_features(self, features: FeatureTable) -> DecisionBatch:
        """Decides n requests given as features, as :meth:`route_batch` decides their texts."""
        start = perf_counter_ns()
        return self._batch(_core.decide_features(self._engine, features), start)

    def _batch(self, columns: _core.BatchBytes, start: int) -> DecisionBatch:
        choice, scores, costs, confidence, flags, members = columns
        m = len(self.models)
        flag = np.frombuffer(flags, "u1").reshape(-1, 3)
        routed_by = _ROUTED_BY[flag[:, 1]]
        covered = (flag[:, 2] == 1) & (self.guarantee is not None)
        notes = np.where(covered, "", self._no_guarantee)
        if not self._no_guarantee:
            notes = np.select([covered, routed_by == "override"], ["", _NOTES["override"]], _NOTES["constraint"])
        n = len(flag)
        return DecisionBatch(
            models=self.models,
            choice=np.frombuffer(choice, "<i4"),
            scores=np.frombuffer(scores, "<f4").reshape(n, m),
            costs=np.frombuffer(costs, "<f8").reshape(n, m),
            confidence=np.frombuffer(confidence, "<f4"),
            prediction_set=np.frombuffer(members, "u1").reshape(n, m) == 1,
            reasons=_REASONS[flag[:, 0]],
            routed_by=routed_by,
            guaranteed=covered,
            guarantee=self.guarantee,
            guarantee_notes=notes,
            artifact_version=self._version,
            elapsed_us=(perf_counter_ns() - start) / 1000 / max(1, n),
            id_prefix=new_id(),
        )

    def options(
        self,
        max_cost: float | None,
        min_quality: float | None,
        max_latency: float | None,
        allowed: Iterable[str],
        exclude: Iterable[str],
        pin: str | None,
        threshold: float | None,
        cost_weight: float | None,
        expected_output_tokens: float | None,
    ) -> _core.Options | None:
        """What :meth:`route` is asked for beside the request, as the engine takes it; None where nothing is.

        Raises:
            OptionError: a value that is no number, or an unknown model.
        """
        # By identity and type, not equality: arrays compare element by element.
        bounded = max_cost is not None or min_quality is not None or max_latency is not None
        weighed = threshold is not None or cost_weight is not None or expected_output_tokens is not None
        listed = not (isinstance(allowed, tuple) and isinstance(exclude, tuple)) or allowed or exclude
        if not (bounded or weighed or listed or pin is not None):
            return None
        return (
            number("max_cost", max_cost),
            number("min_quality", min_quality),
            number("max_latency", max_latency),
            self._indices("allowed", allowed),
            self._indices("exclude", exclude),
            None if pin is None else self._indices("pin", [pin])[0],
            number("threshold", threshold),
            number("cost_weight", cost_weight),
            number("expected_output_tokens", expected_output_tokens),
        )

    def _indices(self, field: str, names: Iterable[str]) -> list[int]:
        remedy = f"the models are {', '.join(self.models)}"
        if not isinstance(names, Iterable):
            raise OptionError(field, repr(names), f"give a list of names; {remedy}")
        listed = [names] if isinstance(names, str) else list(names)
        for name in listed:
            if not isinstance(name, str) or name not in self._index:
                raise OptionError(field, repr(name), remedy)
        return [self._index[name] for name in listed]


def read_artifact(artifact: str | os.PathLike[str]) -> bytes:
    """The bytes of an artifact; ``default`` is the one the package ships.

    Raises:
        ArtifactError: the file cannot be read.
    """
    if artifact == "default":
        return _core.data_file("default.safetensors")
    remedy = "give the path of an artifact, or 'default'"
    try:
        return Path(artifact).read_bytes()
    except OSError as error:
        raise ArtifactError("artifact", f"{artifact}: {error.strerror}", remedy) from error
    except (TypeError, ValueError) as error:  # no path at all, or a NUL in it
        raise ArtifactError("artifact", repr(artifact), remedy) from error


def _reload(artifact: bytes, models: Mapping[str, str | ModelInfo] | None) -> Router:
    return Router(artifact, models=models)
