"""From a request to a decision."""

from tiny_dancer.routing.classifier import Classifier
from tiny_dancer.routing.requests import featurise
from tiny_dancer.routing.router import Router, read_artifact
from tiny_dancer.routing.watch import Watch

__all__ = ["Classifier", "Router", "Watch", "featurise", "read_artifact"]
