"""The classifier: texts or sequences of vectors to labels with calibrated probabilities."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tiny_dancer import _core
from tiny_dancer.errors import ArtifactError, RequestError
from tiny_dancer.routing.router import read_artifact
from tiny_dancer.types import Classification

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    Vectors: TypeAlias = "npt.NDArray[Any] | Sequence[npt.ArrayLike]"

__all__ = ["Classifier"]


class Classifier:
    """Labels texts, or sequences of vectors, by a trained artifact. Immutable; share it between threads.

    Example:
        >>> classifier = Classifier.from_file("intents.safetensors")  # doctest: +SKIP
        >>> classifier.predict(["move my appointment to friday"])[0].label  # doctest: +SKIP
        'calendar_update'

    What it reads is in ``header["input"]``:

    - kind ``tokens``: a list of texts. Of a long text the first 6,144 and the last 2,048 bytes count. A FastGRNN
      steps through the known tokens; of more than ``most_steps`` through the first three quarters and the last
      quarter of that many. A text without a known token is answered as no evidence: by the head's bias.
    - kind ``vectors``: float arrays, n sequences of T steps of D values: [n, T, D]; [n, D], one step each; or a
      list of arrays [T, D] or [D] where lengths differ. Of more than ``most_steps`` (absent: 4,096) steps the
      first three quarters and the last quarter of that many count.
    """

    def __init__(self, artifact: bytes) -> None:
        """See :meth:`from_file`; ``artifact`` is the file's bytes."""
        header = _core.read_header(artifact)
        reads_text = header["kind"] == "classifier" and header["input"]["kind"] == "tokens"
        self._engine = _core.Classifier(artifact, _core.encoder() if reads_text else None)
        self.header: dict[str, Any] = json.loads(self._engine.header())
        """Everything about the artifact that is not a weight."""
        self.labels: tuple[str, ...] = tuple(self.header["labels"])
        """The labels, in the order of all columns."""
        calibration = self.header.get("conformal")
        self._conformal = None if calibration is None else _core.ConformalCalibration(json.dumps(calibration))
        self._version: str = self.header["version"]
        self._artifact = artifact

    @classmethod
    def from_bytes(cls, artifact: bytes) -> Classifier:
        """Loads an artifact's bytes; see :meth:`from_file`."""
        return cls(artifact)

    @classmethod
    def from_file(cls, artifact: str | os.PathLike[str]) -> Classifier:
        """Loads an artifact of kind ``classifier``, checks it and replays its self-checks.

        Raises:
            ArtifactError: the file is missing, no sound artifact or of another kind (see its subclasses).
            EncoderMissingError: it was trained with another encoder than the package ships.
        """
        return cls(read_artifact(artifact))

    def __reduce__(self) -> tuple[Callable[[bytes], Classifier], tuple[bytes]]:
        """Pickles as the artifact it was loaded from."""
        return type(self), (self._artifact,)

    def predict(
        self, inputs: Sequence[str] | Vectors, *, group: Sequence[str] | None = None
    ) -> list[Classification]:
        """The most probable label of each of n inputs, with all probabilities and the prediction set.

        One bad input fails the batch with an error that names its row: nothing is dropped.

        Args:
            inputs: n texts or n sequences of vectors; see the class.
            group: n names, where the artifact was calibrated by group (``tiny-dancer calibrate --group``). A group
                without a threshold of its own is served by the pooled one, as are all where this is absent.

        Raises:
            RequestError: an empty text, no valid Unicode, no step, another number of values than the artifact's
                ``dimensions``, a value that is not finite, inputs of the other kind, or another number of groups.
        """
        label, probabilities, _ = self._run(inputs)
        sets: list[tuple[str, ...] | None] = [None] * len(label)
        if self._conformal is not None:
            inside = self._inside(probabilities, group)
            order = np.argsort(-probabilities, axis=1, kind="stable")
            sets = [
                tuple(self.labels[column] for column in ranked if row[column])
                for ranked, row in zip(order.tolist(), inside.tolist(), strict=True)
            ]
        rows = zip(label.tolist(), probabilities.tolist(), sets, strict=True)
        return [
            Classification(
                label=self.labels[best],
                probability=row[best],
                probabilities=dict(zip(self.labels, row, strict=True)),
                prediction_set=members,
                artifact_version=self._version,
            )
            for best, row, members in rows
        ]

    def predict_set(
        self, inputs: Sequence[str] | Vectors, *, group: Sequence[str] | None = None
    ) -> npt.NDArray[np.bool_]:
        """Which labels are in each input's prediction set, bool [n, labels]; see :meth:`predict`.

        Raises:
            ArtifactError: the artifact is not calibrated.
        """
        return self._inside(self._run(inputs)[1], group)

    def _inside(
        self, probabilities: npt.NDArray[np.float32], group: Sequence[str] | None
    ) -> npt.NDArray[np.bool_]:
        if self._conformal is None:
            remedy = "run `tiny-dancer calibrate` on rows that were not trained on"
            raise ArtifactError("conformal", "not calibrated", remedy)
        rows = len(probabilities)
        if group is not None and (isinstance(group, str) or len(group) != rows):
            raise RequestError("group", f"{len(group)} names for {rows} inputs", "give a list, one name an input")
        thresholds: npt.NDArray[np.float64] | float = self._conformal.threshold
        if group is not None:
            names = [str(each) for each in group]
            thresholds = np.frombuffer(self._conformal.thresholds(names), "<f8")[:, None]
        method, columns = self._conformal.score, len(self.labels)
        scores = _core.conformal_label_scores(method, np.ascontiguousarray(probabilities).tobytes(), columns)
        inside: npt.NDArray[np.bool_] = np.frombuffer(scores, "<f8").reshape(rows, columns) <= thresholds
        return inside

    def predict_proba(self, inputs: Sequence[str] | Vectors) -> npt.NDArray[np.float32]:
        """Probabilities of n inputs, float32 [n, labels]: softmax(logits ÷ temperature); see :meth:`predict`."""
        return self._run(inputs)[1]

    def predict_logits(self, inputs: Sequence[str] | Vectors) -> npt.NDArray[np.float32]:
        """Logits of n inputs before the temperature, float32 [n, labels]; see :meth:`predict`."""
        return self._run(inputs)[2]

    def _run(
        self, inputs: Sequence[str] | Vectors
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        if isinstance(inputs, str | bytes) or not isinstance(inputs, Iterable):
            kind = type(inputs).__name__
            raise RequestError("inputs", kind, "give a list of texts or an array of vectors")
        if self.header["input"]["kind"] == "tokens":
            texts: list[Any] = inputs.tolist() if isinstance(inputs, np.ndarray) else list(inputs)
            label, probabilities, logits = self._engine.predict_texts(texts)
        else:
            values, offsets = _flat(inputs, self.header["input"]["dimensions"])
            label, probabilities, logits = self._engine.predict_vectors(values.tobytes(), offsets.tobytes())
        columns = len(self.labels)
        return (
            np.frombuffer(label, "<i4"),
            np.frombuffer(probabilities, "<f4").reshape(-1, columns),
            np.frombuffer(logits, "<f4").reshape(-1, columns),
        )


def _flat(inputs: Any, dimensions: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """All values of n sequences one after the other, and where each starts and the last ends."""
    if isinstance(inputs, np.ndarray):
        values = _floats(inputs, "inputs")
        if values.ndim not in (2, 3) or values.shape[-1] != dimensions:
            remedy = f"give [n, T, {dimensions}] or [n, {dimensions}]"
            raise RequestError("inputs", f"shape {values.shape}", remedy)
        return values, np.arange(len(values) + 1, dtype="<i8") * int(np.prod(values.shape[1:]))
    sequences = [_floats(each, f"inputs[{row}]") for row, each in enumerate(inputs)]
    for row, sequence in enumerate(sequences):
        if sequence.ndim not in (1, 2) or sequence.shape[-1] != dimensions:
            remedy = f"give [T, {dimensions}] or [{dimensions}]"
            raise RequestError(f"inputs[{row}]", f"shape {sequence.shape}", remedy)
    offsets = np.cumsum([0, *(sequence.size for sequence in sequences)], dtype="<i8")
    return np.concatenate([np.empty(0, "<f4"), *(sequence.ravel() for sequence in sequences)]), offsets


def _floats(values: Any, field: str) -> npt.NDArray[np.float32]:
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "fiub":
            raise RequestError(field, f"{array.dtype} values", "give numbers")
        # What is too large for single precision becomes infinite, and is refused by the engine with its place.
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(array, "<f4")
    except ValueError as error:  # rows of different lengths
        raise RequestError(field, type(values).__name__, "give an array of numbers") from error
