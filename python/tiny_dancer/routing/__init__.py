"""From a request to a decision."""

from tiny_dancer.routing.classifier import Classifier
from tiny_dancer.routing.requests import featurise
from tiny_dancer.routing.router import Router, read_artifact

__all__ = ["Classifier", "Router", "featurise", "read_artifact"]
