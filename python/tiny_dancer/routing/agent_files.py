"""Agents as others write them: A2A agent cards, tools of MCP servers, models of LiteLLM and OpenAI.

Secrets, addresses and anything else that says how to call an agent are not read: this is about whom to choose.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import yaml

from tiny_dancer import files
from tiny_dancer.errors import ConfigError, OptionError
from tiny_dancer.storage.agents import Agent
from tiny_dancer.types import PriceTier

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping

__all__ = ["AgentFormat", "ImportedAgents", "export_agents", "read_agents"]

AgentFormat: TypeAlias = Literal["json", "a2a", "mcp", "litellm", "openai"]

_LARGEST = 64 << 20
_PER_1K = {
    "input_cost_per_token": "input_cost_per_1k",
    "output_cost_per_token": "output_cost_per_1k",
    "cache_read_input_token_cost": "cached_input_cost_per_1k",
}
# What LiteLLM's map says a model can do.
_SUPPORTS = "supports_"
_MODES = ("chat", "completion", "responses")


@dataclass(frozen=True, slots=True)
class ImportedAgents:
    """Agents of a file.

    Attributes:
        agents: in the file's order.
        format: that the file has.
        notes: what was left out or put together, a sentence each.
    """

    agents: tuple[Agent, ...]
    format: AgentFormat
    notes: tuple[str, ...]


def read_agents(path: str | os.PathLike[str], *, prices: str | os.PathLike[str] | None = None) -> ImportedAgents:
    """Reads a file of agents.

    Args:
        path: JSON or YAML: what :func:`export_agents` writes; an A2A agent card or a list of them; the answer of
            MCP's ``tools/list``; LiteLLM's configuration (``model_list``) or price map; the answer of OpenAI's
            ``/models`` (OpenRouter's has prices).
        prices: LiteLLM's price map, for what models cost where the file does not say.

    Raises:
        ConfigError: a file cannot be read, or is none of these; ``field`` is the place.
        CandidateError: what is no agent.
    """
    name = Path(path).name
    found = _parsed(path)
    known = {} if prices is None else _parsed(prices)
    if not isinstance(known, dict):
        raise ConfigError(Path(prices or "").name, type(known).__name__, "give LiteLLM's price map")
    if isinstance(found, dict) and isinstance(found.get("result"), dict):
        found = found["result"]
    if isinstance(found, dict) and isinstance(found.get("model_list"), list):
        return _litellm(found["model_list"], known)
    if isinstance(found, dict) and isinstance(found.get("tools"), list) and "skills" not in found:
        return ImportedAgents(tuple(_tool(each, place) for place, each in enumerate(found["tools"])), "mcp", ())
    if isinstance(found, dict) and isinstance(found.get("data"), list):
        return ImportedAgents(
            tuple(_model(each, place, known) for place, each in enumerate(found["data"])), "openai", ()
        )
    if isinstance(found, dict) and isinstance(found.get("agents"), list):
        found = found["agents"]
    if isinstance(found, dict) and "skills" in found:
        return ImportedAgents((_card(found, "card"),), "a2a", ())
    if isinstance(found, list) and found and all(isinstance(each, dict) and "skills" in each for each in found):
        return ImportedAgents(tuple(_card(each, f"[{at}]") for at, each in enumerate(found)), "a2a", ())
    if isinstance(found, list):
        agents = tuple(Agent.from_mapping(each, f"agents[{at}]") for at, each in enumerate(found))
        return ImportedAgents(agents, "json", ())
    if isinstance(found, dict) and any(_is_priced(each) for each in found.values()):
        return _price_map(found)
    remedy = "give agents, an A2A card, MCP's tools/list, LiteLLM's model_list or price map, or OpenAI's /models"
    raise ConfigError(name, "none of the known formats", remedy)


def _parsed(path: str | os.PathLike[str]) -> Any:
    name = Path(path).name
    try:
        text = files.read(path, most=_LARGEST).decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(str(path), error.strerror or "cannot be read", "check the path") from error
    except UnicodeDecodeError as error:
        raise ConfigError(name, str(error), "give JSON or YAML in UTF-8") from None
    try:
        if text.lstrip()[:1] in ("{", "["):
            return json.loads(text)
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise ConfigError(name, "an alias", "write out what the alias stands for")
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(name, str(error).splitlines()[0], "give JSON or YAML") from None


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(where, type(value).__name__, "give an object")
    return value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: Any) -> list[str]:
    return [each for each in value if isinstance(each, str) and each.strip()] if isinstance(value, list) else []


def _number(value: Any, where: str) -> float | None:
    """A number, or one in a text as OpenRouter writes prices; None where it is absent."""
    if value is None or value == "":
        return None
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = math.nan
    if isinstance(value, bool) or not math.isfinite(found) or found < 0:
        raise ConfigError(where, str(value), "give a finite number, 0 or more")
    return found


def _card(found: dict[str, Any], where: str) -> Agent:
    """An agent of an A2A card: skills are capabilities, their examples are the agent's."""
    skills = found.get("skills")
    if not isinstance(skills, list):
        raise ConfigError(f"{where}.skills", type(skills).__name__, "give a list of skills")
    listed = [_object(skill, f"{where}.skills[{place}]") for place, skill in enumerate(skills)]
    capabilities = [str(skill.get("id") or skill.get("name") or "") for skill in listed]
    said = [_text(found.get("description"))]
    said += [
        ": ".join(part for part in (_text(skill.get("name")), _text(skill.get("description"))) if part)
        for skill in listed
    ]
    tags = [tag for skill in listed for tag in _texts(skill.get("tags"))]
    return Agent(
        _text(found.get("name")),
        type="api",
        description="\n".join(each for each in said if each),
        capabilities=tuple(each for each in capabilities if each),
        examples=tuple(each for skill in listed for each in _texts(skill.get("examples"))),
        tags=tuple(tags),
        version=_text(found.get("version")) or "1",
        metadata={name: found[name] for name in ("url", "provider", "protocolVersion") if name in found},
    )


def _tool(found: Any, place: int) -> Agent:
    """An agent of a tool: its name is its capability."""
    tool = _object(found, f"tools[{place}]")
    name = _text(tool.get("name"))
    title = _text(tool.get("title"))
    description = _text(tool.get("description"))
    schema = tool.get("inputSchema")
    metadata = {} if schema is None else {"inputSchema": schema}
    return Agent(
        name,
        type="tool",
        description="\n".join(each for each in (title, description) if each),
        capabilities=(name,) if name else (),
        metadata=metadata,
    )


def _priced(found: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Prices, tiers, limits and capabilities by LiteLLM's names."""
    values: dict[str, Any] = {}
    for theirs, ours in _PER_1K.items():
        if (price := _number(found.get(theirs), f"{where}.{theirs}")) is not None:
            values[ours] = price * 1000.0
    if (price := _number(found.get("input_cost_per_request"), f"{where}.input_cost_per_request")) is not None:
        values["cost_per_call"] = price
    if (price := _number(found.get("output_cost_per_second"), f"{where}.output_cost_per_second")) is not None:
        values["cost_per_second"] = price
    if "input_cost_per_1k" in values and "output_cost_per_1k" not in values:
        values["output_cost_per_1k"] = 0.0
    elif "output_cost_per_1k" in values and "input_cost_per_1k" not in values:
        values["input_cost_per_1k"] = 0.0
    tiers: dict[int, dict[str, float]] = {}
    for theirs in (*_PER_1K, "cache_creation_input_token_cost"):
        for key, value in found.items():
            beyond = key.removeprefix(f"{theirs}_above_").removesuffix("_tokens") if key.startswith(theirs) else ""
            if key == f"{theirs}_above_{beyond}_tokens" and beyond.removesuffix("k").isdigit():
                above = int(beyond.removesuffix("k")) * (1000 if beyond.endswith("k") else 1)
                if (price := _number(value, f"{where}.{key}")) is not None:
                    tiers.setdefault(above, {})[theirs] = price
    if tiers and "input_cost_per_1k" in values:
        values["price_tiers"] = tuple(PriceTier(above, **each) for above, each in sorted(tiers.items()))
    window = found.get("max_input_tokens") or found.get("max_tokens")
    if isinstance(window, int) and not isinstance(window, bool) and window > 0:
        values["context"] = window
    values["capabilities"] = tuple(
        name.removeprefix(_SUPPORTS)
        for name, value in found.items()
        if name.startswith(_SUPPORTS) and value is True
    )
    return values


def _litellm(found: list[Any], known: Mapping[str, Any]) -> ImportedAgents:
    """Models of LiteLLM's configuration; deployments of one name are one agent, with the first's prices."""
    agents: dict[str, Agent] = {}
    notes = []
    for place, each in enumerate(found):
        where = f"model_list[{place}]"
        entry = _object(each, where)
        params = _object(entry.get("litellm_params") or {}, f"{where}.litellm_params")
        info = _object(entry.get("model_info") or {}, f"{where}.model_info")
        name = _text(entry.get("model_name"))
        model = _text(params.get("model"))
        listed: Any = next((known[key] for key in (model, model.split("/", 1)[-1]) if key in known), {})
        values = _priced({**_object(listed, f"prices.{model}"), **info, **params}, where)
        for theirs, ours in (("rpm", "requests_per_minute"), ("tpm", "tokens_per_minute")):
            if isinstance(params.get(theirs), int) and params[theirs] > 0:
                values[ours] = params[theirs]
        if isinstance(params.get("max_parallel_requests"), int) and params["max_parallel_requests"] > 0:
            values["max_concurrency"] = params["max_parallel_requests"]
        if region := _text(params.get("region_name")):
            values["region"] = region
        tags = tuple(_texts(params.get("tags")) + _texts(info.get("tags")))
        agent = Agent(
            name, description=_text(info.get("description")), tags=tags, metadata={"model": model}, **values
        )
        if name in agents:
            first = agents[name]
            notes.append(f"{where}: another deployment of {name!r}; the agent has the first's prices")
            agents[name] = replace(
                first,
                requests_per_minute=_both(first.requests_per_minute, agent.requests_per_minute),
                tokens_per_minute=_both(first.tokens_per_minute, agent.tokens_per_minute),
            )
        else:
            agents[name] = agent
    return ImportedAgents(tuple(agents.values()), "litellm", tuple(notes))


def _both(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def _is_priced(entry: Any) -> bool:
    return isinstance(entry, dict) and ("litellm_provider" in entry or "input_cost_per_token" in entry)


def _price_map(found: Mapping[str, Any]) -> ImportedAgents:
    """Models that chat, of LiteLLM's price map."""
    agents, left = [], 0
    for name, entry in found.items():
        if name == "sample_spec":
            continue
        if not _is_priced(entry) or entry.get("mode", "chat") not in _MODES:
            left += 1
            continue
        agents.append(Agent(name, **_priced(entry, name)))
    notes = (f"{left} entries that answer no chat were left out",) if left else ()
    return ImportedAgents(tuple(agents), "litellm", notes)


def _model(found: Any, place: int, known: Mapping[str, Any]) -> Agent:
    """An agent of OpenAI's ``/models``, with OpenRouter's prices or those of LiteLLM's map."""
    where = f"data[{place}]"
    model = _object(found, where)
    name = _text(model.get("id"))
    values = _priced(_object(known[name], f"prices.{name}"), f"prices.{name}") if name in known else {}
    pricing = model.get("pricing")
    if isinstance(pricing, dict):
        for theirs, ours in (
            ("prompt", "input_cost_per_1k"),
            ("completion", "output_cost_per_1k"),
            ("input_cache_read", "cached_input_cost_per_1k"),
        ):
            if (price := _number(pricing.get(theirs), f"{where}.pricing.{theirs}")) is not None:
                values[ours] = price * 1000.0
        if (price := _number(pricing.get("request"), f"{where}.pricing.request")) is not None:
            values["cost_per_call"] = price
    window = model.get("context_length")
    if isinstance(window, int) and window > 0:
        values["context"] = window
    said = _text(model.get("description"))
    owner = _text(model.get("owned_by"))
    return Agent(name, description=said, metadata={"owned_by": owner} if owner else {}, **values)


def export_agents(agents: Iterable[Agent], format: AgentFormat = "json") -> str:
    """Agents as JSON: ``json`` has everything that is declared, the others what their readers know.

    Raises:
        OptionError: no such format, or an agent that cannot be said in it.
    """
    listed = list(agents)
    if format == "json":
        document: Any = {"agents": [json.loads(agent.to_json()) for agent in listed]}
    elif format == "a2a":
        document = [_as_card(agent) for agent in listed]
    elif format == "mcp":
        document = {"tools": [_as_tool(agent) for agent in listed]}
    elif format == "litellm":
        document = {"model_list": [_as_deployment(agent) for agent in listed if agent.type == "llm"]}
    elif format == "openai":
        data = [
            {"id": agent.name, "object": "model", "created": 0,
             "owned_by": str(agent.metadata.get("owned_by", "tiny-dancer"))}
            for agent in listed
        ]  # fmt: skip
        document = {"object": "list", "data": data}
    else:
        raise OptionError("format", format, "use json, a2a, mcp, litellm or openai")
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def _as_card(agent: Agent) -> dict[str, Any]:
    skills = [
        {
            "id": each,
            "name": each,
            "description": agent.description,
            "tags": list(agent.tags),
            # Which skill an example is of is not known.
            "examples": list(agent.examples) if place == 0 else [],
        }
        for place, each in enumerate(agent.capabilities)
    ]
    return {
        "name": agent.name,
        "description": agent.description,
        "version": agent.version,
        "url": str(agent.metadata.get("url", "")),
        "capabilities": {},
        "defaultInputModes": ["text/plain"],
        "defaultOutputModes": ["text/plain"],
        "skills": skills,
    }


def _as_tool(agent: Agent) -> dict[str, Any]:
    schema = agent.metadata.get("inputSchema")
    return {
        "name": agent.name,
        "description": agent.description,
        "inputSchema": schema if isinstance(schema, dict) else {"type": "object"},
    }


def _as_deployment(agent: Agent) -> dict[str, Any]:
    params: dict[str, Any] = {"model": str(agent.metadata.get("model") or agent.name)}
    info: dict[str, Any] = {}
    for theirs, ours in _PER_1K.items():
        if (price := getattr(agent, ours)) is not None:
            info[theirs] = price / 1000.0
    if agent.cost_per_call is not None:
        info["input_cost_per_request"] = agent.cost_per_call
    if agent.context is not None:
        info["max_input_tokens"] = agent.context
    if agent.requests_per_minute is not None:
        params["rpm"] = agent.requests_per_minute
    if agent.tokens_per_minute is not None:
        params["tpm"] = agent.tokens_per_minute
    info |= {f"{_SUPPORTS}{each}": True for each in agent.capabilities if each.isidentifier()}
    return {"model_name": agent.name, "litellm_params": params, "model_info": info}
