"""The verdict on each model, explored once for all tests."""

from functools import cache

from maxmemd.races.models import MODELS
from maxmemd.races.verdicts import Verdict, judge


@cache
def judged(name: str) -> Verdict:
    """Return the verdict on a model."""
    return judge(next(model for model in MODELS if model.name == name))
