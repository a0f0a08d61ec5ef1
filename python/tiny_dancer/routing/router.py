"""The router: an artifact in force."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from functools import cached_property
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from tiny_dancer import _core, files
from tiny_dancer.errors import ArtifactError, DataError, NoFeasibleModelError, RequestError
from tiny_dancer.routing.arguments import engine_options, model_changes, with_options
from tiny_dancer.routing.requests import as_batch, as_engine, as_json, featurise, listed_requests, listed_tools
from tiny_dancer.routing.share import WINDOW, ShareFollower
from tiny_dancer.routing.watch import Watch
from tiny_dancer.types import Decision, DecisionBatch, Guarantee, ModelInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import numpy.typing as npt

    from tiny_dancer.routing.arguments import Asked
    from tiny_dancer.routing.requests import Request
    from tiny_dancer.types import FeatureTable, Outcomes

_REASONS = np.array(_core.REASONS)
_ROUTED_BY = np.array(_core.ROUTED_BY)
# By the number that a batch has for it; the last says that there is none.
_NOTES = np.array([*_core.UNCOVERED, ""])
_REMOVALS = np.array([*_core.REMOVALS, ""])


# Ids drawn at a time: one call to the system for all of them, which takes some microseconds.
_BLOCK = 64


class _Ids:
    """Ids of 128 random bits: whoever knows some of them knows nothing of the others."""

    def __init__(self) -> None:
        self._drawn: list[str] = []

    def forget(self) -> None:
        """Draws anew: a forked process must not give its parent's ids."""
        self._drawn = []

    def __call__(self) -> str:
        try:
            return self._drawn.pop()  # atomic, so no two threads get the same
        except IndexError:
            block = os.urandom(16 * _BLOCK).hex()
            drawn = [block[start : start + 32] for start in range(0, len(block), 32)]
            id = drawn.pop()
            self._drawn = drawn
            return id


new_id = _Ids()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=new_id.forget)


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
        self._engine = _core.Router(artifact, _core.encoder() if needs_encoder(header) else None, changes)
        self.header: dict[str, Any] = json.loads(self._engine.header())
        """Everything about the artifact that is not a weight."""
        self.models: tuple[str, ...] = tuple(model["name"] for model in self.header["models"])
        """Names of the models, in the order of the artifact's columns."""
        self._version: str = self.header["version"]
        self.artifact: str = hashlib.sha256(artifact).hexdigest()[:16]
        """First 16 hex digits of the artifact's SHA-256: every decision names the artifact it came from."""
        found = self.header["guarantee"]
        self.guarantee: Guarantee | None = None if found is None else Guarantee(**found)
        """The certificate of the artifact as loaded, or None."""
        self.uncertified: str = self._engine.uncertified() or ""
        """Why no decision stands under a certificate, whatever it is; empty where the artifact has one."""
        self._source = (artifact, models)

    @classmethod
    def load(
        cls, artifact: str | os.PathLike[str] = "default", *, models: Mapping[str, str | ModelInfo] | None = None
    ) -> Router:
        """Loads an artifact, checks it and replays its self-checks.

        Args:
            artifact: a path, or one the package ships, of two roles, weak and strong: ``default``, or ``edge``,
                which needs no static encoder and loads in a tenth of the time.
            models: by the artifact's names, the model to call instead, or a :class:`ModelInfo` with prices
                and context window. The artifact's certificate covers no model of another name; nor
                other prices and output lengths, where it bounds costs or its policy weighs them. Prices by which
                the strong model of a threshold becomes the cheaper one give a warning (:attr:`costs_turned`).

        Raises:
            ArtifactError: the file is missing or no sound artifact (see its subclasses).
            OptionError: ``models`` names none of the artifact's, gives a name twice, or prices the prompt or the
                answer without the other.
        """
        found = cls(read_artifact(artifact), models=models)
        if models and found.costs_turned is not None:
            warnings.warn(found.costs_turned, UserWarning, stacklevel=2)
        return found

    @cached_property
    def costs_turned(self) -> str | None:
        """In words, that the strong model of a threshold is expected to cost less than the weak one; else None.

        A threshold weighs no costs: it goes on sending the weak model what the strong one gains little on.
        """
        policy = self.header["policy"]
        if policy["kind"] != "threshold":
            return None
        try:
            costs = np.median(self.route_batch([each["text"] for each in self.header["self_check"]]).costs, axis=0)
        except NoFeasibleModelError:  # windows too small for any of them
            return None
        weak, strong = self.models[policy["weak"]], self.models[policy["strong"]]
        if not costs[policy["strong"]] < costs[policy["weak"]]:
            return None
        return (
            f"{strong} costs less than {weak} at these prices, and {weak} still answers where {strong} gains "
            f"little; always call {strong}, or train again with these prices "
            f"(tiny-dancer train TABLE --prices {weak}=… --prices {strong}=…)"
        )

    @cached_property
    def checksum(self) -> str:
        """SHA-256 in hex of what decides: of the artifact, with its models where those were changed.

        Two routers with the same one decide alike, so that what was stored by one holds by the other.
        """
        artifact, changed = self._source
        if not changed:
            return hashlib.sha256(artifact).hexdigest()
        models = json.dumps(self.header["models"], sort_keys=True)
        return hashlib.sha256(artifact + models.encode()).hexdigest()

    def __reduce__(self) -> tuple[Callable[..., Router], tuple[bytes, Mapping[str, str | ModelInfo] | None]]:
        """Pickles as the artifact it was loaded from."""
        return _reload, self._source

    @with_options
    def route(
        self, request: Request, *, tools: object = None, response_format: object = None, **options: Unpack[Asked]
    ) -> Decision:
        """Decides one request.

        Args:
            request: a text, or chat messages: OpenAI's, Anthropic's, or items of the Responses API.
            tools: functions offered, as JSON text or values, in OpenAI's, Anthropic's or MCP's form.
            response_format: the form the answer has to have, as clients send it.
            options: what is asked beyond the request; see :class:`~tiny_dancer.routing.arguments.Asked`.

        Raises:
            RequestError: nothing to route, or no valid Unicode.
            OptionError: an option outside its range, an unknown model, or a price that is needed and missing.
            NoFeasibleModelError: the constraints removed every model; it lists which removed which.
        """
        # A bare text is what is asked most often: nothing is called for what is not there.
        return self.decide(
            request if type(request) is str else as_engine(request),
            None if tools is None else as_json(tools, "tools"),
            engine_options(options, self.models) if options else None,
            response_format=None if response_format is None else as_json(response_format, "response_format"),
        )

    def decide(
        self,
        request: _core.Said,
        tools: _core.Json | None = None,
        options: _core.Options | None = None,
        *,
        system: _core.Json | None = None,
        response_format: _core.Json | None = None,
    ) -> Decision:
        """:meth:`route` of a request as the engine takes it.

        Args:
            request: a text as ``str``, or messages as JSON in bytes.
            tools: as JSON.
            options: made by :meth:`options`.
            system: standing instructions beside the messages, as JSON: a string or blocks.
            response_format: as JSON.
        """
        start = perf_counter_ns()
        (
            model,
            scores,
            costs,
            latencies,
            output,
            removed,
            tokens,
            (confidence, likeness),
            members,
            reason,
            routed_by,
            note,
        ) = self._engine.decide(request, tools, options, system, response_format)
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
            self.guarantee if note is None else None,
            note or "",
            self._version,
            (perf_counter_ns() - start) / 1000,
            0,
            "",
            latencies,
            tokens,
            output,
            {} if removed is None else removed,
            likeness,
            self.artifact,
        )

    async def aroute(self, request: Request, **options: Any) -> Decision:
        """:meth:`route` for callers that await: deciding takes microseconds, so it runs where it is."""
        return self.route(request, **options)

    @with_options
    def route_batch(
        self,
        requests: Iterable[Request],
        *,
        tools: Iterable[object] | None = None,
        **options: Unpack[Asked],
    ) -> DecisionBatch:
        """Decides n requests on all processors, without the interpreter lock.

        Args:
            requests: a list, a numpy array of strings or an Arrow array of strings.
            tools: one entry a request, or None.
            options: for every request, as in :meth:`route`.

        One bad request fails the batch with an error that names its row: nothing is dropped.

        Raises:
            RequestError, OptionError, NoFeasibleModelError: as :meth:`route`, naming the row.
        """
        start = perf_counter_ns()
        listed = listed_requests(requests)
        given = as_batch(listed)
        documents = None if tools is None else listed_tools(tools, len(listed))
        return self._batch(self._engine.decide_batch(given, documents, self.options(**options)), start)

    def decide_batch(self, requests: Sequence[_core.Said], options: _core.Options | None = None) -> DecisionBatch:
        """:meth:`route_batch` of requests as the engine takes them; see :meth:`decide`."""
        start = perf_counter_ns()
        return self._batch(self._engine.decide_batch(requests, None, options), start)

    def decide_json(self, request: str, options: str = "") -> str:
        """The engine's whole answer to a request, both as JSON.

        Args:
            request: a string, messages, or the body of a call.
            options: by the names of :class:`~tiny_dancer.routing.arguments.Asked`; empty asks nothing.

        Raises:
            RequestError, OptionError, NoFeasibleModelError: as :meth:`route`.
        """
        return self._engine.decide_json(request, options)

    def decide_json_batch(self, requests: Sequence[str], options: str = "") -> list[str]:
        """:meth:`decide_json` of n requests, on all processors and without the interpreter lock."""
        return self._engine.decide_json_batch(requests, options)

    @property
    def feature_spec(self) -> str:
        """The feature specification the artifact was trained on."""
        return str(self.header["features"]["spec"])

    def features_of(self, outcomes: Outcomes) -> FeatureTable:
        """Features of a table's rows as this artifact takes them: an older one by its own specification, one that
        names no encoder without what one makes.

        Raises:
            DataError: no features, or those of another specification without the prompts they were made of.
        """
        found = outcomes.features
        if found is not None and found.spec == self.feature_spec:
            return self._seen(found)
        if outcomes.prompt is None and outcomes.messages is None:
            made = "none" if found is None else f"made to specification {found.spec}, not {self.feature_spec}"
            raise DataError("features", made, "give the prompts, or an artifact trained on features like these")
        prompts = outcomes.prompt if outcomes.prompt is not None else [""] * len(outcomes)
        return self._seen(featurise(prompts, outcomes.messages, outcomes.tools, self.feature_spec))

    def _seen(self, features: FeatureTable) -> FeatureTable:
        return features if needs_encoder(self.header) else _core.without_encoder(features)

    def route_features(self, features: FeatureTable) -> DecisionBatch:
        """Decides n requests given as features, as :meth:`route_batch` decides their texts.

        Tokens are the table's: word pieces, also where the artifact names no encoder and would count words.

        Raises:
            RequestError: the features were made to another specification than the artifact's.
        """
        start = perf_counter_ns()
        if features.spec != self.feature_spec:
            remedy = "take features_of(outcomes) of the same prompts, or train again"
            found = f"made to specification {features.spec}, not {self.feature_spec}"
            raise RequestError("features", found, remedy)
        return self._batch(_core.decide_features(self._engine, self._seen(features)), start)

    def _batch(self, columns: _core.BatchBytes, start: int) -> DecisionBatch:
        flag = np.frombuffer(columns["flags"], "u1").reshape(-1, 3)
        n, m = len(flag), len(self.models)
        notes = _NOTES[np.minimum(flag[:, 2], len(_NOTES) - 1)]

        def table(name: str, dtype: str) -> npt.NDArray[Any]:
            return np.frombuffer(columns[name], dtype).reshape(n, m)

        return DecisionBatch(
            models=self.models,
            choice=np.frombuffer(columns["choice"], "<i4"),
            scores=table("scores", "<f4"),
            costs=table("costs", "<f8"),
            confidence=np.frombuffer(columns["confidence"], "<f4"),
            prediction_set=table("prediction_set", "u1") == 1,
            reasons=_REASONS[flag[:, 0]],
            routed_by=_ROUTED_BY[flag[:, 1]],
            guaranteed=notes == "",
            guarantee=self.guarantee,
            guarantee_notes=notes,
            artifact_version=self._version,
            elapsed_us=(perf_counter_ns() - start) / 1000 / max(1, n),
            latencies=table("latencies", "<f8"),
            tokens=np.frombuffer(columns["tokens"], "<u4"),
            output_tokens=table("output_tokens", "<f8"),
            removed=_REMOVALS[np.minimum(table("removed", "u1"), len(_REMOVALS) - 1)],
            id_prefix=new_id(),
            likeness=np.frombuffer(columns["likeness"], "<f4"),
            artifact=self.artifact,
        )

    def watch(self, threshold: float = 100.0) -> Watch:
        """A watch over one stream of requests, which the caller keeps; the router itself has no state.

        Args:
            threshold: one over the chance that any of its alarms ever rings though nothing has changed.

        Raises:
            OptionError: a threshold that is not above 1.

        Example:
            >>> watch = Router.load().watch()
            >>> watch.route("What is 2 + 2?").guarantee_note
            ''
            >>> watch.status().ringing
            ()
        """
        return Watch.over(self, threshold)

    def drift_state(self, threshold: float) -> _core.Drift:
        """The state of a :meth:`watch` in the engine, before the first; ties are broken by the artifact."""
        return self._engine.drift(threshold, int(self.artifact, 16))

    def usual(self, name: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None:
        """What is usual of ``likeness``, ``quality``, ``gain`` or ``confidence`` where a certificate was earned.

        Knots, rising [k], and how many rows had a number up to the first, ..., beyond the last [k + 1]. None where
        the artifact does not say. In ``likeness`` it is the rows' own p-values.
        """
        found = self._engine.usual(name)
        if found is None:
            return None
        knots, counts = found
        return np.array(knots, dtype=np.float64), np.array(counts, dtype=np.float64)

    def follow_share(self, model: str | None, share: float, *, window: int = WINDOW) -> ShareFollower:
        """A state that the caller keeps, and routes by, so that ``model`` answers a share of whatever comes.

        Its threshold is the quantile of the expected gains of the last ``window`` requests; before there are any,
        of those the artifact was trained on. One for each stream of requests; the router itself has no state.

        Args:
            model: one of the artifact's two; None is the strong one.
            share: of the requests, in [0, 1].
            window: requests remembered, 20 to 100,000. A shorter one follows sooner and errs more: by about
                sqrt(share · (1 - share) / window).

        Raises:
            OptionError: an unknown model, a value outside its range, or an artifact of other than two models.

        Example:
            >>> follow = Router.load().follow_share("strong", 0.3)
            >>> follow.route("What is 2 + 2?").routed_by
            'override'
        """
        return ShareFollower(self.route, self.header, self.models, model, share, window)

    def options(self, **given: Unpack[Asked]) -> _core.Options | None:
        """What :meth:`route` is asked for beside the request, as the engine takes it; None where nothing is.

        Raises:
            OptionError: a value that is none of its kind. What is out of range, or no model of the artifact's, is
                refused when deciding.
        """
        return engine_options(given, self.models)

    def outlook(
        self, tokens: int | None, at_most: int, options: _core.Options | None
    ) -> tuple[tuple[str, ...], Mapping[str, float | None] | None, Mapping[str, str] | None]:
        """What the constraints leave while the learned policy cannot be asked.

        Models left, USD of each or None, and what removed the others or None.

        Args:
            tokens: of the prompt; None where nobody can count them.
            at_most: what limits are held to then.
            options: made by :meth:`options`.

        Raises:
            OptionError, NoFeasibleModelError: as :meth:`route`.
        """
        return self._engine.outlook(tokens, at_most, options)


def needs_encoder(header: Mapping[str, Any]) -> bool:
    """Whether the request router of this header reads what the static encoder makes of requests."""
    features = header.get("features")
    return isinstance(features, dict) and features.get("encoder") is not None


def read_artifact(artifact: str | os.PathLike[str]) -> bytes:
    """The bytes of an artifact; ``default`` and ``edge`` are those the package ships.

    Raises:
        ArtifactError: the file cannot be read.
    """
    shipped = _core.router_path(artifact)
    if shipped is not None:
        return shipped.read_bytes()
    remedy = "give the path of an artifact, or 'default'"
    try:
        return files.read(artifact, most=_core.LARGEST_ARTIFACT)
    except OSError as error:
        raise ArtifactError("artifact", f"{artifact}: {error.strerror}", remedy) from error
    except TypeError as error:  # no path at all
        raise ArtifactError("artifact", repr(artifact), remedy) from error


def _reload(artifact: bytes, models: Mapping[str, str | ModelInfo] | None) -> Router:
    return Router(artifact, models=models)
