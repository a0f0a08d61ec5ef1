"""Versions of artifacts: add, promote, roll back, retire; hot reload by atomic swap."""

from tiny_dancer.registry.index import Change, Version
from tiny_dancer.registry.registry import Registry, Stored
from tiny_dancer.registry.reload import ArtifactFile, Loaded, Reloading, ServingVersion, Source, Sourced

__all__ = [
    "ArtifactFile",
    "Change",
    "Loaded",
    "Registry",
    "Reloading",
    "ServingVersion",
    "Source",
    "Sourced",
    "Stored",
    "Version",
]
