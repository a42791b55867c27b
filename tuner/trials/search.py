"""The work of a search: trials proposed by the study, stopped by ASHA, resumed from what is on disk."""

from typing import Any

from tuner.run.layout import RunFolder
from tuner.run.trial_folder import TrialFolder
from tuner.seeds import derived_seed
from tuner.study.study import Study
from tuner.trials.board import Board, Training
from tuner.trials.bookkeeper import Bookkeeper, Notice, TrialLimits
from tuner.trials.interfaces import TrainingSpec
from tuner.trials.stopping.asha import Asha


class SearchQueue(Bookkeeper):
    """Trials until `num_trials` have been begun; rebuilt from the study and the log on disk, which are the truth."""

    def __init__(
        self,
        run: RunFolder,
        study: Study,
        *,
        asha: Asha | None,
        num_trials: int,
        max_epochs: int,
        seed: int,
        notice: Notice,
        retry_failed: bool = False,
        terms: TrialLimits | None = None,
    ) -> None:
        """Begin, or go on where the files of the run end."""
        super().__init__(
            Board(title="search", planned=num_trials, max_epochs=max_epochs), run.epochs, run.failures, notice, terms
        )
        self._run = run
        self._study = study
        self.asha = asha
        self._max_epochs = max_epochs
        self._seed = seed
        self.exhausted: str | None = None
        """A sentence, once there are no points left for all the trials that were asked for."""
        self._restore(retry_failed)

    def _restore(self, retry_failed: bool) -> None:
        records = self._study.records()
        self.board.planned = max(self.board.planned, len(records))
        running = dict(self._study.running())
        for record in records:
            key = _key(record.number)
            params = running.get(record.number, record.params)
            training = Training(key=key, params=params, state="running", reason=record.reason)
            self.board.trainings[key] = training
        for line in self._restored:
            training = self.board.trainings[line["key"]]
            training.add(line)
            self._count_in_rung(training, line)
        curves = {record.number: record.curve for record in records}
        for line in self._restored:
            number, score = int(line["key"]), line["body"].get("score")
            if number in running and score is not None and line["epoch"] not in curves[number]:
                self._study.report(number, line["epoch"], score)
        for record in records:
            training = self.board.trainings[_key(record.number)]
            if record.outcome is not None:
                training.state = record.outcome
            elif training.state == "running":
                training.state = "waiting"
                self._queue.append(self._job(record.number, training))
                continue
            else:
                self._ended(training)
            self._folder(training.key).conclude()
        self._restored.clear()  # 2 kB a line
        if retry_failed:
            self._retry([dict(record.params) for record in records if record.outcome == "failed"])

    def _retry(self, points: list[dict[str, Any]]) -> None:
        others = [training.params for training in self.board.trainings.values() if training.state != "failed"]
        again = [params for i, params in enumerate(points) if params not in points[:i] and params not in others]
        for params in again:
            self._study.enqueue(params)
        self.board.planned = max(self.board.planned, self._study.num_trials) + len(again)

    def _new_training(self) -> TrainingSpec | None:
        if self.exhausted or self._study.num_trials >= self.board.planned:
            return None
        proposal = self._study.ask()
        if proposal is None:
            self.exhausted = self._study.exhausted
            self.board.planned = self._study.num_trials
            return None
        number, params = proposal
        return self._job(number, Training(key=_key(number), params=params))

    def _job(self, number: int, training: Training) -> TrainingSpec:
        return TrainingSpec(
            key=training.key,
            params=dict(training.params),
            seed=derived_seed(self._seed, "trial", number),
            epochs=self._max_epochs,
        )

    def _folder(self, key: str) -> TrialFolder:
        return TrialFolder(self._run.trial(int(key)))

    def _decide(self, training: Training, epoch: int, best_score: float) -> bool:
        return self.asha is None or self.asha.record(int(training.key), epoch, best_score)

    def _count_in_rung(self, training: Training, line: dict[str, Any]) -> None:
        if self.asha is not None and line["decision"] != "diverged" and training.best_score is not None:
            self.asha.record(int(training.key), line["epoch"], training.best_score)

    def _recorded(self, training: Training, line: dict[str, Any]) -> None:
        score = line["body"].get("score")
        if score is not None:
            self._study.report(int(training.key), line["epoch"], score)

    def _ended(self, training: Training) -> None:
        assert training.state in ("finished", "stopped", "diverged", "failed"), training
        self._study.tell(int(training.key), training.state, training.best_score, training.reason)


def _key(number: int) -> str:
    return f"{number:04d}"
