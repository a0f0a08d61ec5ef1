"""A router that is fitted: what answers (``routing/semantic.py``), and how it learns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiny_dancer.errors import OptionError
from tiny_dancer.routing.encoders import check_vectors
from tiny_dancer.routing.semantic import SemanticRoutes, encoder_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tiny_dancer.training.routes.fit import FitReport

__all__ = ["SemanticRouter"]


class SemanticRouter(SemanticRoutes):
    """Routes by utterances, which :meth:`fit` makes calibrated; see :class:`SemanticRoutes` for how they answer.

    Example:
        >>> from tiny_dancer import Route, SemanticRouter
        >>> router = SemanticRouter(
        ...     [
        ...         Route("refund", ["I want my money back", "refund my order", "return this for a refund"]),
        ...         Route("status", ["where is my order", "has my parcel shipped", "track my delivery"]),
        ...     ]
        ... )
        >>> router("please give me a refund").name
        'refund'
    """

    def fit(
        self,
        texts: Sequence[str] | None = None,
        labels: Sequence[str | None] | None = None,
        *,
        precision: float | None = None,
        seed: int = 0,
        created: str = "",
        progress: Callable[[str], None] = lambda step: None,
    ) -> FitReport:
        """Fits the routes on labelled texts and on their utterances; what is fitted answers from then on.

        Args:
            texts: n texts; without any the utterances alone are fitted on.
            labels: the route of each; None for what belongs to no route.
            precision: give every route the least confidence at which this share of what it is given to is right.
            seed: of every random choice.
            created: date to record in the artifact.
            progress: called with the name of each step.

        Raises:
            OptionError: texts without labels or the other way round, or not as many; a seed below 0, or a
                precision that is no share.
            TrainingError: fewer than two routes, a route without rows, a label that is no route.
            MissingExtraError: the `train` extra is not installed.
        """
        from tiny_dancer.extras import needed

        with needed():
            from tiny_dancer.training.export import SELF_CHECK_TEXTS
            from tiny_dancer.training.routes.fit import fit_routes

        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise OptionError("seed", repr(seed), "give a whole number from 0 on")
        if precision is not None and not 0 < precision <= 1:
            raise OptionError("precision", repr(precision), "give a share above 0, at most 1")
        if isinstance(texts, str):
            raise OptionError("texts", "one text", "give a list of texts")
        # No truth value: arrays and columns of pandas have none.
        given = [] if texts is None else list(texts)
        names = [] if labels is None else list(labels)
        if len(given) != len(names):
            raise OptionError("labels", f"{len(names)} for {len(given)} texts", "give one label a text")
        with self._changing:
            routes = self.routes
            seen = {*zip(given, names, strict=True)}
            for route in routes:
                for utterance in route.utterances:
                    if (utterance, route.name) not in seen:
                        given.append(utterance)
                        names.append(route.name)
            encoder = self.encoder
            vectors = checks = None
            if encoder is not None:
                vectors = check_vectors(encoder, encoder.encode(given), len(given))
                checks = check_vectors(encoder, encoder.encode(list(SELF_CHECK_TEXTS)), len(SELF_CHECK_TEXTS))
            found = fit_routes(
                given,
                names,
                routes=[route.spec() for route in routes],
                vectors=vectors,
                encoder=None if encoder is None else encoder_spec(encoder),
                self_check_vectors=checks,
                precision=precision,
                seed=seed,
                created=created,
                progress=progress,
            )
            self._set(found.artifact, {route.name: route for route in routes})
            return found.report
