"""Tiny Dancer's decision path, slow and readable: the specification that every engine and binding must match."""

from .errors import Refusal
from .features import Features, Request, featurise
from .router import Router
from .select import Decision, Options
from .word_pieces import Encoder, quantise

__all__ = ["Decision", "Encoder", "Features", "Options", "Refusal", "Request", "Router", "featurise", "quantise"]
