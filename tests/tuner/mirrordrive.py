"""One life of a mirrored search without Ray: reads the run from its URI, goes on with it, and may be killed.

Arguments: a `Plan` as JSON, the URI, and a seed for delays that spread the kills over all steps of the upload.
"""

import json
import random
import sys
import time
from pathlib import Path

from tests.tuner import drive
from tests.tuner.faketrainer import FakeFactory, FakeReport, FakeTrainer
from tests.tuner.mirrored import mirroring
from tuner.protocol import TrainingSpec
from tuner.run import jsonlines
from tuner.run.lock import only_writer
from tuner.run.mirror import background as module
from tuner.run.mirror.bucket import Bucket
from tuner.run.mirror.pull import is_there, pull_to_resume
from tuner.run.run_folder import RunFolder


class SlowBucket(Bucket):
    """As far away as object storage is."""

    draw = random.Random()

    def put(self, name: str, content: bytes) -> None:
        time.sleep(self.draw.random() * 0.02)
        super().put(name, content)

    def delete(self, name: str) -> None:
        time.sleep(self.draw.random() * 0.02)
        super().delete(name)


def main(plan: drive.Plan, uri: str, seed: int) -> None:
    SlowBucket.draw.seed(seed)
    run = RunFolder(Path(plan.folder), uri)
    if is_there(uri):
        pull_to_resume(uri, run.path, lambda text: None, watch=0.01)
    if not run.exists():
        run.write({"status": "searching"})

    class Trainer(FakeTrainer):
        """Writes a state as a driver does, then lets the driver's tick come."""

        def run_epoch(self) -> FakeReport:
            report = super().run_epoch()
            state = run.trial(int(self._job.key)) / "state.zip"
            known = json.loads(state.read_text())["epoch"] if state.exists() else 0
            if self.epoch > known:  # what was trained before is trained again here
                jsonlines.write_json(state, {"epoch": self.epoch, "padding": "x" * 10_000})
            mirror.tick()
            return report

    class Factory(FakeFactory):
        def build(self, spec: TrainingSpec) -> FakeTrainer:
            return Trainer(spec, self)

    setattr(module, "Bucket", SlowBucket)  # noqa: B010
    setattr(drive, "FakeFactory", Factory)  # noqa: B010
    with only_writer(run), mirroring(run, [], interval=0.01) as mirror:
        print("began", flush=True)
        drive.search_in_process(plan)
        run.update(status="done")


if __name__ == "__main__":
    main(drive.Plan(**json.loads(sys.argv[1])), sys.argv[2], int(sys.argv[3]))
