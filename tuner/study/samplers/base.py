"""What all samplers have in common."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from random import Random

from graphdb.records import Value
from tuner.seeds import derived_seed
from tuner.space.space import Space
from tuner.study.history import History

Point = dict[str, Value]


class Sampler(ABC):
    """Draws points of a space: a function of seed, trial number and history, so that a resumed search goes on alike."""

    def __init__(self, space: Space, seed: int, history: History) -> None:
        """Prepare.

        Args:
            space: to draw from.
            seed: of the search.
            history: read at each draw; its owner adds the trials.
        """
        self.space = space
        self.seed = seed
        self.history = history

    @abstractmethod
    def draw(self, number: int, repeat: int) -> Mapping[str, Value]:
        """Values for a trial; parameters that are left out are drawn at random.

        Args:
            number: of the trial.
            repeat: how many points were drawn for it before, all of which other trials have.
        """

    def point(self, number: int, repeat: int = 0, given: Mapping[str, Value] | None = None) -> Point:
        """A whole point: all parameters that exist, in the order of the space.

        Args:
            number: as `draw`.
            repeat: as `draw`.
            given: values that are not to be drawn.
        """
        drawn = {**self.draw(number, repeat), **(given or {})}
        point: Point = {}
        for parameter in self.space.parameters:
            if parameter.is_active(point):
                name = parameter.name
                point[name] = drawn[name] if name in drawn else parameter.draw(self.random(number, name, repeat))
        return point

    def seed_of(self, number: int, what: str, repeat: int) -> int:
        """A seed for one draw; each has its own, so that they do not depend on each other."""
        return derived_seed(self.seed, "sampler", number, what, *((repeat,) if repeat else ()))

    def random(self, number: int, what: str, repeat: int) -> Random:
        """Random numbers for one draw."""
        return Random(self.seed_of(number, what, repeat))
