"""Tiny Dancer's decision path, slow and readable: the specification that every engine and binding must match."""

from .asking import Options
from .decision import Decision
from .errors import Refusal
from .features import Features, featurise
from .request import Request
from .router import Router
from .word_pieces import Encoder, quantise

__all__ = ["Decision", "Encoder", "Features", "Options", "Refusal", "Request", "Router", "featurise", "quantise"]
