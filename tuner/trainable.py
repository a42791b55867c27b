"""The worker process: one epoch of a job per step, its state on disk before anyone hears of the epoch."""

import json
from pathlib import Path
from typing import Any

from ray import tune

from tuner import attempts, jsonlines
from tuner.attempts import Attempt
from tuner.jobs import Job, Trainer, TrainerFactory

PAYLOAD = "payload"


class JobProcess(tune.Trainable):
    """Runs one job after the other in the same process (Tune's ``reuse_actors``).

    Nothing is built before the first step: what fails there, fails as an attempt at the job, with a traceback.
    """

    def setup(self, config: dict[str, Any], factory: TrainerFactory) -> None:  # type: ignore[override]
        """Take what is needed for all jobs, and the first job."""
        self._factory = factory
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take another job."""
        self._job = Job.from_dict(new_config["job"])
        self._trainer: Trainer | None = None
        return True

    def step(self) -> dict[str, Any]:
        """One epoch; or the last saved epoch once more, when an earlier attempt had got that far."""
        if self._trainer is None:
            repeated = self._begin()
            if repeated is not None:
                return self._result(repeated, repeated=True)
        trainer = self._trainer
        assert trainer is not None
        body = jsonlines.finite_or_none(trainer.run_epoch().as_dict())
        self._save(trainer, body)
        return self._result(body, repeated=False)

    def _begin(self) -> dict[str, Any] | None:
        """Build the training, go on from the furthest state that loads, and return the report of its last epoch."""
        job_folder = Path(self._job.folder)
        earlier = attempts.attempts(job_folder)
        self._attempt = Attempt.begin(job_folder)
        candidates = []
        for attempt in earlier:
            if attempt.state.exists():
                candidates.append((len(attempt.reports()), attempt))
        for _, attempt in sorted(candidates, key=lambda pair: pair[0], reverse=True):
            trainer = self._factory.build(self._job)
            try:
                trainer.load_state(attempt.state)
            except (OSError, ValueError, KeyError):
                continue  # Torn by a power cut: an older state, or the beginning, is the next best.
            body: dict[str, Any] | None = next(
                (body for body in reversed(attempt.reports()) if body["epoch"] == trainer.epoch), None
            )
            if body is not None:
                self._trainer = trainer
                self._save(trainer, body)
                attempts.remove_others(job_folder, self._attempt)
                return body
        self._trainer = self._factory.build(self._job)
        return None

    def _save(self, trainer: Trainer, body: dict[str, Any]) -> None:
        self._attempt.remember(body)
        if trainer.best_epoch and (trainer.best_epoch == trainer.epoch or not self._attempt.best.exists()):
            trainer.save_best(self._attempt.best, self._factory.provenance(self._job))
        trainer.save_state(self._attempt.state)

    def _result(self, body: dict[str, Any], *, repeated: bool) -> dict[str, Any]:
        assert self._trainer is not None
        payload = {
            "epoch": body["epoch"],
            "finished": self._trainer.finished,
            "attempt": self._attempt.path.name,
            "repeated": repeated,
            "body": body,
        }
        return {PAYLOAD: json.dumps(payload)}
