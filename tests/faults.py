"""Routers with a fault in them, and clocks that stand still."""

from __future__ import annotations

from typing import Any

from tiny_dancer import Decision, ModelInfo, Router, _core
from tiny_dancer.registry import ArtifactFile
from tiny_dancer.routing.resilient import ResilientRouter

DEFAULT = _core.data_path("default.safetensors")
HARD = "If a train leaves at 9 and another at 10, unless it rains, which arrives first, and why?"
CHAT = "Hi there, how are you?"
PRICED = {
    "weak": ModelInfo(input_cost_per_token=1e-6, output_cost_per_token=0.0, context_window=100),
    "strong": ModelInfo(input_cost_per_token=1e-5, output_cost_per_token=0.0, context_window=10_000),
}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Fault:
    """What the routers it loads raise, while it is set."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error

    def load(self, data: bytes, models: dict[str, ModelInfo] | None = None) -> Router:
        fault = self

        class Faulty(Router):
            def decide(self, *arguments: Any, **options: Any) -> Decision:
                if fault.error is not None:
                    raise fault.error
                return super().decide(*arguments, **options)

        return Faulty(data, models=models)


def broken(models: dict[str, ModelInfo] | None = None, **settings: Any) -> ResilientRouter:
    fault = Fault(RuntimeError("the engine is broken"))
    return ResilientRouter(ArtifactFile(DEFAULT), load=lambda data: fault.load(data, models), **settings)
