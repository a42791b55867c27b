"""What does a mirrored run cost: time of the driver's thread per moment, bytes and requests a minute?

A run folder of 1,000 ended trials (a checkpoint each) and 16 running ones, whose states (1.2 MB) are all replaced
between two moments and whose checkpoints (0.4 MB) are in every second case; the logs grow by a line per epoch. The
bucket is a folder on this machine, so that seconds of upload are not those of a network, but bytes and requests are.
"""

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks._report import finish, parser, spread
from tuner.run import jsonlines
from tuner.run.mirror import objects
from tuner.run.mirror.background import INTERVAL
from tuner.run.mirror.bucket import Bucket
from tuner.run.mirror.snapshot import Snapshotter
from tuner.run.mirror.upload import Uploader
from tuner.run.run_folder import RunFolder
from tuner.run.trial_folder import TrialFolder

RUNNING, MOMENTS = 16, 12
STATE, CHECKPOINT, CONFIG = 1_200_000, 400_000, 2_000
LINE = {"key": "0000", "epoch": 1, "decision": "continue", "time": 1e9, "body": {"metrics": "x" * 600}}


class CountingBucket(Bucket):
    """Counts what a bucket would be paid for."""

    requests = 0
    sent = 0

    def put(self, name: str, content: bytes) -> None:
        """Counted."""
        self.requests += 1
        self.sent += len(content)
        super().put(name, content)

    def delete(self, name: str) -> None:
        """Counted."""
        self.requests += 1
        super().delete(name)


def measure(trials: int, checkpoint: int) -> dict[str, Any]:
    """Figures for a run of that many ended trials, with checkpoints of that size in bytes."""
    with tempfile.TemporaryDirectory() as temporary:
        run = RunFolder(Path(temporary) / "run")
        run.write({"status": "searching"})
        for number in range(trials):
            best = run.trial(number) / "best"
            best.mkdir(parents=True)
            (best / "model.safetensors").write_bytes(b"w" * checkpoint)
            (best / "config.json").write_bytes(b"c" * CONFIG)
        bucket = CountingBucket(f"file://{temporary}/bucket")
        uploader, snapshotter = Uploader(bucket, run.path), Snapshotter(run.path)
        uploader.upload(snapshotter.take())
        takes, uploads, requests, sent = [], [], [], []
        for moment in range(MOMENTS):
            change(run, trials, moment)
            bucket.requests = bucket.sent = 0
            begun = time.perf_counter()
            snapshot = snapshotter.take()
            takes.append(1000 * (time.perf_counter() - begun))
            begun = time.perf_counter()
            snapshotter.drop_links(snapshot)
            uploader.upload(snapshot)
            uploads.append(time.perf_counter() - begun)
            requests.append(bucket.requests * 60 / INTERVAL)
            sent.append(bucket.sent / 1e6 * 60 / INTERVAL)
        newest = objects.newest_manifest(bucket)
        assert newest is not None
        return {
            "driver_per_moment": spread(takes, "milliseconds"),
            "upload_to_a_local_folder": spread(uploads, "seconds"),
            "sent": spread(sent, "megabytes_per_minute"),
            "puts_and_deletes": spread(requests, "requests_per_minute"),
            "manifest_kilobytes": round(len(objects.encode(newest)) / 1e3, 1),
        }


def change(run: RunFolder, trials: int, moment: int) -> None:
    """An epoch of every running trial."""
    for number in range(trials, trials + RUNNING):
        folder = TrialFolder(run.trial(number))
        folder.save_state(bytes([moment]) * STATE)
        jsonlines.append(run.epochs, LINE)
        jsonlines.append(run.journal, LINE)
        best = run.trial(number) / "best"
        best.mkdir(exist_ok=True)
        if (number + moment) % 2:
            (best / "new").write_bytes(bytes([moment]) * CHECKPOINT)
            (best / "new").replace(best / "model.safetensors")


def main() -> int:
    """Print and file."""
    arguments = parser(__doc__, "mirror_cost").parse_args()
    results = {"1000_trials": measure(1000, CHECKPOINT), "10000_trials": measure(10_000, 1000)}
    question = (__doc__ or "").partition("\n")[0]
    return finish(question, results, arguments.output, repeats=MOMENTS, packages=["pyarrow"])


if __name__ == "__main__":
    sys.exit(main())
