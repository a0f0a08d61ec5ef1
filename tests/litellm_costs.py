"""What LiteLLM says requests cost, over the price map it ships: run by a Python that has it, as a script.

Standard input is a list of usages, by the fields of ``tiny_dancer.gateway.upstream.dialect.Usage``. Standard
output is, by the name of every model that chats, ``{"entry", "costs", "generic"}``: what the map says of it (the
entry that LiteLLM takes, without prices by the time of day), what LiteLLM's ``cost_per_token`` makes of the
usages, and what its general account makes of them, for providers whose calculators leave it aside. A cost is a
text where LiteLLM refuses.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"


# Whose calculators in LiteLLM leave out some of what the map says.
SPECIAL = ("fireworks_ai", "perplexity")


def cost(function: Any, model: str, provider: str | None, **given: Any) -> float | str:
    """What LiteLLM says, whatever it is."""
    try:
        return float(sum(function(model=model, custom_llm_provider=provider, **given)))
    except Exception as error:  # noqa: BLE001
        return f"{type(error).__name__}: {error}"[:200]


def main() -> None:
    """Answers one question."""
    answer, sys.stdout = sys.stdout, sys.stderr  # LiteLLM prints
    import litellm  # type: ignore[import-not-found, unused-ignore]
    from litellm.litellm_core_utils.llm_cost_calc.utils import (  # type: ignore[import-not-found, unused-ignore]
        generic_cost_per_token,
    )
    from litellm.types.utils import (  # type: ignore[import-not-found, unused-ignore]
        CacheCreationTokenDetails,
        CompletionTokensDetailsWrapper,
        PromptTokensDetailsWrapper,
        Usage,
    )

    asked = json.load(sys.stdin)

    def usage(given: dict[str, Any]) -> Any:
        prompt, output, written = given["input_tokens"], given["output_tokens"], given["written_tokens"]
        hour = given["written_hour_tokens"]
        of_prompt: dict[str, Any] = {
            "cached_tokens": given["cached_tokens"],
            "audio_tokens": given["input_audio_tokens"],
        }
        if written:
            of_prompt["cache_creation_tokens"] = written
            of_prompt["cache_creation_token_details"] = CacheCreationTokenDetails(
                ephemeral_5m_input_tokens=written - hour, ephemeral_1h_input_tokens=hour
            )
        return Usage(
            prompt_tokens=prompt,
            completion_tokens=output,
            total_tokens=prompt + output,
            prompt_tokens_details=PromptTokensDetailsWrapper(**of_prompt),
            completion_tokens_details=CompletionTokensDetailsWrapper(
                reasoning_tokens=given["reasoning_tokens"], audio_tokens=given["output_audio_tokens"]
            ),
            cache_creation_input_tokens=written,
            cache_read_input_tokens=given["cached_tokens"],
        )

    usages = [(usage(given), given["tier"] or None) for given in asked]
    for entry in litellm.model_cost.values():
        entry.pop("off_peak_pricing", None)
    found: dict[str, Any] = {}
    for name, entry in litellm.model_cost.items():
        if entry.get("mode") not in ("chat", "responses", "completion"):
            continue
        provider = entry.get("litellm_provider")
        costs = [
            cost(litellm.cost_per_token, name, provider, usage_object=used, service_tier=tier)
            for used, tier in usages
        ]
        generic = []
        taken = f"{provider}/{name}"
        if provider in SPECIAL:
            key = litellm.get_model_info(model=name, custom_llm_provider=provider)["key"]
            bare = name.removeprefix(f"{provider}/")
            if key != name or (bare != name and bare in litellm.model_cost):
                costs = []  # a name that the two accounts read as different entries
            taken = key
            generic = [
                cost(generic_cost_per_token, name, provider, usage=used, service_tier=tier)
                for used, tier in usages
            ]
        found[name] = {
            "entry": litellm.model_cost.get(taken, entry),
            "costs": costs,
            "generic": generic,
        }
    json.dump(found, answer)


if __name__ == "__main__":
    main()
