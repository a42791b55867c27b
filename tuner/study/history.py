"""What samplers know of the trials so far: no more than they need, so that the 10,000th proposal is a quick one."""

from bisect import insort

from graphdb.records import Value
from tuner.run.log import Training
from tuner.space.space import Space
from tuner.study.divergence import Divergences
from tuner.study.tried_points import Tried

BEST_SHOWN = 25
"""Best trials that a sampler is always shown: as many as Optuna's TPE ever takes for the good ones."""
LATEST_SHOWN = 500
"""Latest ended trials that a sampler is shown; below that many, it is shown all."""
_FINISHED, _STOPPED, _DIVERGED = range(3)


class History:
    """All trials of a search, and those that a sampler is shown.

    Shown are those that run, and of those that ended without failing the LATEST_SHOWN latest and the BEST_SHOWN best in
    TPE's order: finished ones by score, then stopped ones by how far they got and their last score, then diverged ones.
    How far a diverged trial got, and what it had reached by then, would only speak for it.
    """

    def __init__(self, space: Space) -> None:
        """No trial yet."""
        self.tried = Tried(space)
        self.divergences = Divergences(space)
        self._running: dict[int, Training] = {}
        self._ended: dict[int, Training] = {}
        self._numbers: list[int] = []
        self._ranking: list[tuple[int, int, float, int]] = []

    def add(self, trial: Training) -> None:
        """A trial was begun, or has ended."""
        self.tried.add(trial.params)
        if not trial.has_ended:
            self._running[trial.number] = trial
            return
        self._running.pop(trial.number, None)
        if trial.state == "failed" or trial.number in self._ended:
            return
        self.divergences.add(trial.number, trial.params, diverged=trial.state == "diverged")
        self._ended[trial.number] = trial
        insort(self._numbers, trial.number)
        insort(self._ranking, (*_rank(trial), trial.number))

    def running(self) -> list[Training]:
        """Those that run or wait, by number."""
        return [self._running[number] for number in sorted(self._running)]

    def ended(self) -> list[Training]:
        """Those that are shown, by number."""
        best = (number for *_, number in self._ranking[:BEST_SHOWN])
        return [self._ended[number] for number in sorted({*self._numbers[-LATEST_SHOWN:], *best})]

    def caution(self, name: str, value: Value) -> float:
        """What speaks against a value because trials diverge near it: see `Divergences.caution`."""
        count = min(-(-len(self._numbers) // 10), BEST_SHOWN)
        best = [number for outcome, *_, number in self._ranking[:count] if outcome != _DIVERGED]
        return self.divergences.caution(name, value, best)


def _rank(trial: Training) -> tuple[int, int, float]:
    if trial.state == "finished":
        assert trial.best_score is not None
        return _FINISHED, 0, trial.best_score
    if trial.state == "stopped" and trial.curve:
        epoch, score = max(trial.curve.items())
        return _STOPPED, -epoch, score
    return _DIVERGED, 0, 0.0
