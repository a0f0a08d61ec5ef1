"""The one error: its kind is what every binding must agree on."""

from __future__ import annotations

KINDS = (
    "ArtifactInvalid",  # bytes that are no artifact, or one that contradicts itself
    "ArtifactVersion",  # a sound artifact of a version this engine does not read
    "ArtifactChecksum",  # bytes that differ from their checksum
    "ArtifactSelfCheck",  # the artifact does not decide as it did when it was made
    "EncoderMissing",  # the artifact needs a static encoder that was not given
    "RequestInvalid",  # a request that cannot be routed as it stands
    "OptionInvalid",  # an option outside its range, or one that needs numbers nobody gave
    "NoFeasibleModel",  # the constraints removed every model
    "CandidateInvalid",  # a candidate, or a query of candidates, that cannot be used
)


class Refusal(Exception):  # noqa: N818 - it is no fault of the engine
    """The engine refuses: ``kind`` is one of :data:`KINDS`, ``field`` says what is at fault."""

    def __init__(self, kind: str, field: str) -> None:
        assert kind in KINDS, kind
        super().__init__(f"{kind}: {field}")
        self.kind = kind
        self.field = field
