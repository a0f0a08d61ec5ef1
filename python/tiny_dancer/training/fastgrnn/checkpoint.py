"""State of a training run on disk: written whole or not at all, so that a killed run goes on where it was."""

from __future__ import annotations

import io
import json
import os
import shutil
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer import files
from tiny_dancer.training.fastgrnn.gradients import jax

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """One file a phase in a folder; files of another run (data, options or seed differ) are not read.

    Attributes:
        folder: where; made when the first file is written. None keeps nothing.
        fingerprint: of everything the result depends on.
    """

    folder: Path | None
    fingerprint: str = ""

    def load(self, phase: str, like: Any) -> tuple[dict[str, Any], Any] | None:
        """What :meth:`save` was given, in the structure of ``like``; None where there is nothing to go on from."""
        if self.folder is None or not (path := self.folder / f"{phase}.npz").is_file():
            return None
        try:
            # Opened here: numpy leaves a torn file open.
            with files.opened(path) as opened, np.load(opened) as file:
                facts = json.loads(str(file["facts"]))
                leaves = [file[f"leaf_{index}"] for index in range(len(file.files) - 1)]
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None  # not ours, or damaged: the phase starts again
        template, structure = jax.tree.flatten(like)
        shapes = [np.shape(leaf) for leaf in template]
        if facts["fingerprint"] != self.fingerprint or [leaf.shape for leaf in leaves] != shapes:
            return None
        return facts, jax.tree.unflatten(structure, leaves)

    def save(self, phase: str, facts: dict[str, Any], state: Any) -> None:
        """Facts (JSON values) and a pytree of arrays."""
        if self.folder is None:
            return
        self.folder.mkdir(exist_ok=True)
        content = io.BytesIO()
        leaves = {f"leaf_{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(state))}
        text = json.dumps({**facts, "fingerprint": self.fingerprint})
        np.savez(content, allow_pickle=False, facts=np.array(text), **leaves)
        beside = self.folder / f".{phase}.part"
        with beside.open("wb") as file:
            file.write(content.getvalue())
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self.folder / f"{phase}.npz")

    def clear(self) -> None:
        """Removes the folder: the run is done."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


NOWHERE = Checkpoints(None)
"""Keeps nothing."""
