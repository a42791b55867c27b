"""The trials of a search: proposed by the study, stopped by a rule, restored from the log."""

from collections.abc import Mapping

from graphdb.records import Value
from tuner.protocol import TrainingSpec
from tuner.run.log import Training, key_of, trainings_of
from tuner.run.run_folder import RunFolder
from tuner.run.trial_folder import TrialFolder
from tuner.seeds import derived_seed
from tuner.study.dashboard import Dashboard
from tuner.study.study import Study
from tuner.trials.board import Board
from tuner.trials.bookkeeper import Bookkeeper, Notice, TrialLimits
from tuner.trials.restore import restore, take_over
from tuner.trials.stopping.base import StoppingRule


class SearchQueue(Bookkeeper):
    """Trials until `num_trials` have been begun. Study, rule and dashboard are rebuilt from the log, the one truth."""

    def __init__(
        self,
        run: RunFolder,
        study: Study,
        *,
        rule: StoppingRule,
        num_trials: int,
        max_epochs: int,
        seed: int,
        notice: Notice,
        retry_failed: bool = False,
        limits: TrialLimits | None = None,
    ) -> None:
        """Begin, or go on where the log ends.

        Args:
            run: where the files are.
            study: without any trial.
            rule: without any trial.
            num_trials: to begin, all in all.
            max_epochs: of a trial that nothing stops.
            seed: of the search.
            notice: called with what happens.
            retry_failed: whether parameters of failed trials are tried again, as new trials.
            limits: what every trial is granted.
        """
        board = Board(title="search", planned=num_trials, max_epochs=max_epochs)
        super().__init__(board, run.epochs, run.failures, notice, limits)
        self._run = run
        self._study = study
        self._rule = rule
        self._max_epochs = max_epochs
        self._seed = seed
        self.exhausted: str | None = None
        """A sentence, once there are no points left for all the trials that were asked for."""
        self._restore()
        if retry_failed:
            self._retry_failed()
        self._dashboard = Dashboard(run.journal, study.space, self.board.trainings.values())

    def flush(self) -> None:
        """Bring the dashboard's journal up to date."""
        self._dashboard.flush()

    def _restore(self) -> None:
        take_over(self._run, self._log, self._study)
        self.board.trainings = restore(self._run, self._log.lines(), self._study, self._rule, self._learn)
        self.board.planned = max(self.board.planned, len(self.board.trainings))
        for training in self.board.trainings.values():
            if training.has_ended:
                self._folder(training.key).conclude()
            else:
                training.state = "waiting"
                self._queue.append(self._spec(training))

    def _retry_failed(self) -> None:
        """Begin a trial for each point of which all trials failed."""
        trainings = list(self.board.trainings.values())
        others = [training.params for training in trainings if training.state != "failed"]
        points: list[Mapping[str, Value]] = []
        for training in trainings:
            if training.params not in (*others, *points):
                points.append(training.params)
        self.board.planned = max(self.board.planned, len(trainings) + len(points))
        self._queue.extend(self._begin(points))

    def _new_training(self) -> TrainingSpec | None:
        number = len(self.board.trainings)
        if self.exhausted or number >= self.board.planned:
            return None
        point = self._study.propose(number)
        if point is None:
            self.exhausted = self._study.exhausted
            self.board.planned = number
            return None
        (spec,) = self._begin([point])
        self._dashboard.add(self.board.trainings[spec.key])  # in the order of the numbers, which Optuna gives itself
        return spec

    def _begin(self, points: list[Mapping[str, Value]]) -> list[TrainingSpec]:
        first = len(self.board.trainings)
        begun = trainings_of(
            self._log.begin({key_of(number): point for number, point in enumerate(points, start=first)})
        )
        for key, training in begun.items():
            self.board.trainings[key] = training
            self._study.add(training)
        return [self._spec(training) for training in begun.values()]

    def _spec(self, training: Training) -> TrainingSpec:
        return TrainingSpec(
            key=training.key,
            params=dict(training.params),
            seed=derived_seed(self._seed, "trial", training.number),
            epochs=self._max_epochs,
        )

    def _folder(self, key: str) -> TrialFolder:
        return TrialFolder(self._run.trial(int(key)))

    def _decide(self, training: Training, epoch: int, best_score: float) -> bool:
        return self._rule.record(training.number, epoch, best_score)

    def _recorded(self, training: Training) -> None:
        self._dashboard.add(training)

    def _ended(self, training: Training) -> None:
        if training.state == "failed":
            self._log.fail(training.key, training.reason)
        self._study.add(training)
        self._dashboard.add(training)
