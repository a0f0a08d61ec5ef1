"""Errors of the program itself: answered by a fallback level, and still seen by those who can mend them."""

from __future__ import annotations

import logging
from threading import Lock

_logger = logging.getLogger(__name__)

MOST_PLACES = 100
"""Places that are logged; beyond, errors are only counted: a program with more bugs than that fills no log."""


class Bugs:
    """Logs each place such errors come from once, with its traceback, and counts all. Share it between threads."""

    def __init__(self) -> None:
        """None so far."""
        self._lock = Lock()
        self._places: set[tuple[type[BaseException], str, int]] = set()
        self._count = 0

    @property
    def count(self) -> int:
        """Errors so far, logged or not."""
        return self._count

    def saw(self, error: BaseException) -> None:
        """Takes an error that was raised, and will be answered for."""
        place = (type(error), *_raised_at(error))
        with self._lock:
            self._count += 1
            fresh = place not in self._places and len(self._places) < MOST_PLACES
            if fresh:
                self._places.add(place)
        if fresh:
            _logger.error(
                "routing: a bug, answered by a fallback level; further errors from this place are only counted",
                exc_info=error,
            )


def _raised_at(error: BaseException) -> tuple[str, int]:
    """File and line of the innermost frame; empty where it was never raised."""
    step = error.__traceback__
    if step is None:
        return "", 0
    while step.tb_next is not None:
        step = step.tb_next
    return step.tb_frame.f_code.co_filename, step.tb_lineno
