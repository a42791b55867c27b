"""Random search."""

from collections.abc import Mapping

from graphdb.records import Value
from tuner.study.samplers.base import Sampler


class RandomSampler(Sampler):
    """Draws every parameter at random."""

    def draw(self, number: int, repeat: int) -> Mapping[str, Value]:
        """No value: what is left out is drawn at random."""
        return {}
