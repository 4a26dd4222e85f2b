"""The verdict on each model, explored once for all tests."""

from functools import cache

from models.races.check import Verdict, judge
from models.races.models import MODELS


@cache
def judged(name: str) -> Verdict:
    """Return the verdict on a model."""
    return judge(next(model for model in MODELS if model.name == name))
