"""A study with the trials that it has proposed."""

from collections.abc import Mapping
from typing import Any

from tuner.run.log import Training, key_of
from tuner.space.space import Space
from tuner.study.study import Study


class Trials:
    """Asks a study and tells it what a test wants of each trial."""

    def __init__(self, space: Space, sampler: str, seed: int) -> None:
        self._settings = (space, sampler, seed)
        self.study = Study(space, sampler=sampler, seed=seed)
        self.all: list[Training] = []

    def ask(self) -> tuple[int, dict[str, Any]] | None:
        number = len(self.all)
        params = self.study.propose(number)
        if params is None:
            return None
        self.begin(params)
        return number, params

    def asked(self) -> tuple[int, dict[str, Any]]:
        proposal = self.ask()
        assert proposal is not None
        return proposal

    def begin(self, params: Mapping[str, Any]) -> None:
        self.all.append(Training(key=key_of(len(self.all)), params=params))
        self.study.add(self.all[-1])

    def report(self, number: int, epoch: int, score: float) -> None:
        self.all[number].add(
            {"key": key_of(number), "epoch": epoch, "decision": "continue", "body": {"score": score}},
        )

    def tell(self, number: int, state: Any, score: float | None = None) -> None:
        if score is not None and not self.all[number].curve:
            self.report(number, 1, score)
        self.all[number].state = state
        self.study.add(self.all[number])

    def reopen(self) -> None:
        """As after a restart: another study is told of all trials, in the state in which they are."""
        space, sampler, seed = self._settings
        self.study = Study(space, sampler=sampler, seed=seed)
        for trial in self.all:
            self.study.add(trial)
