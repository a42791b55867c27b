"""Keeps a run in object storage up to date while a search runs; the search never waits for it before its end."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from graphdb.errors import first_line
from tuner.errors import SearchError
from tuner.run.mirror.bucket import Bucket
from tuner.run.mirror.local import has_begun
from tuner.run.mirror.snapshot import Snapshot, Snapshotter
from tuner.run.mirror.upload import TakenOverError, Uploader

INTERVAL = 25.0
"""Seconds between two snapshots; what a lost head loses at most, plus the time that an upload takes."""
_RETRY = 5.0
"""Seconds between attempts while the storage does not answer."""
_STALL_TIMEOUT = 60.0
"""Seconds without any progress after which the end of a search waits no longer."""


class Mirror:
    """The `RunMirror` of a run with a URI. A thread uploads; the search only takes snapshots."""

    def __init__(
        self,
        folder: Path,
        uri: str,
        say: Callable[[str], None],
        *,
        interval: float = INTERVAL,
        retry: float = _RETRY,
        stall_timeout: float = _STALL_TIMEOUT,
    ) -> None:
        """Prepare; nothing is touched before ``with``.

        Args:
            folder: of the run, held by this process.
            uri: where the run is mirrored to.
            say: shows a line to the user; called from the search's own thread only.
            interval: seconds between two snapshots.
            retry: seconds between attempts while the storage does not answer.
            stall_timeout: seconds without progress after which the end is not waited for.
        """
        self._folder = folder
        self._uri = uri
        self._say = say
        self._interval, self._retry, self._stall_timeout = interval, retry, stall_timeout
        self._changed = threading.Condition()  # guards what follows
        self._waiting: Snapshot | None = None
        self._idle = True
        self._closing = False
        self._given_up = False
        self._lines: list[str] = []
        self._problem: str | None = None
        self._taken_over: str | None = None
        self._last_success: float | None = None
        self._latest = Snapshot(items={}, last_link=0)

    def __enter__(self) -> "Mirror":
        """Become the run's writer; a SearchError if the storage does not answer, or another search writes there."""
        try:
            self._uploader = Uploader(Bucket(self._uri), self._folder)
        except TakenOverError as error:
            raise SearchError(f"{error} has begun to write to {self._uri} at this moment; try again") from error
        except OSError as error:
            raise SearchError(
                f"--runs must be a place that can be written to, but {self._uri} cannot: {first_line(error)}"
            ) from error
        self._snapshotter = Snapshotter(self._folder)
        self._next = 0.0
        self._thread = threading.Thread(target=self._work, name="mirror", daemon=True)
        self._thread.start()
        return self

    def tick(self, *, now: bool = False) -> bool:
        """Called often, between two steps of the search; as in `RunMirror`."""
        with self._changed:
            lines, self._lines = self._lines, []
            due = now or (self._idle and time.monotonic() >= self._next)
        for line in lines:
            self._say(line)
        if due and self._taken_over is None:
            self._take()
        return self._taken_over is None

    def check(self) -> None:
        """As in `RunMirror`."""
        if self._taken_over is not None:
            raise SearchError(
                f"another search has taken over this run: {self._taken_over} writes to {self._uri} now. "
                f"This one has stopped; what it had not yet mirrored is left in {self._folder}"
            )

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Wait until all is uploaded; a SearchError if that does not succeed, and nothing else was wrong."""
        if not has_begun(self._folder):
            self._end_thread(give_up=True)
            self._uploader.withdraw()
            return
        is_taken = self._taken_over is None and self._take(all_states=True)
        self._end_thread(give_up=False)
        try:
            self._wait_for_the_end()
        except KeyboardInterrupt:
            self._say("Interrupted again: the upload is given up.")
        self.tick()
        if self._taken_over is not None:
            if error is None:
                self.check()
        elif self._thread.is_alive() or not is_taken:
            self._end_thread(give_up=True)
            if error is None:
                raise SearchError(self._left_behind())
            self._say(f"warning: {self._left_behind()}")

    def _end_thread(self, *, give_up: bool) -> None:
        with self._changed:
            self._closing = True
            self._given_up = give_up
            self._changed.notify_all()

    def _take(self, *, all_states: bool = False) -> bool:
        self._next = time.monotonic() + self._interval
        if not has_begun(self._folder):
            return False
        try:
            snapshot = self._snapshotter.take(all_states=all_states)
        except OSError as error:  # a full disk; the next time may be better
            self._report(f"the files of the run cannot be read: {first_line(error)}")
            return False
        self._latest = snapshot
        with self._changed:
            self._waiting = snapshot
            self._idle = False
            self._changed.notify_all()
        return True

    def _wait_for_the_end(self) -> None:
        placed, until = -1, 0.0
        next_line = time.monotonic() + 2
        while self._thread.is_alive():
            if self._uploader.num_placed != placed:
                placed, until = self._uploader.num_placed, time.monotonic() + self._stall_timeout
            if time.monotonic() >= until:
                return
            self._thread.join(0.1)
            self.tick()
            if time.monotonic() > next_line and self._thread.is_alive():
                next_line = time.monotonic() + 30
                self._say(f"Uploading the last {len(self._uploader.missing(self._latest))} files to {self._uri} ...")

    def _left_behind(self) -> str:
        missing = self._uploader.missing(self._latest)
        size = sum(item.size for item in missing) / 1e6
        moment = self._last_success
        held = f"as of {time.strftime('%H:%M:%S', time.localtime(moment))}" if moment else "as it was before"
        return (
            f"the end of the run is not in {self._uri}{f' ({self._problem})' if self._problem else ''}: "
            f"{len(missing)} files ({size:.1f} MB) are missing there; it holds the run {held}. "
            f"Everything is in {self._folder}; --resume on this machine uploads it"
        )

    # In the thread.

    def _work(self) -> None:
        snapshot: Snapshot | None = None
        failed = last = False
        while (not last or failed) and not self._given_up:
            with self._changed:
                self._idle = True  # a later snapshot may take the place of one that failed
                timeout = self._retry if failed else self._interval  # for a heartbeat, though there is nothing new
                self._changed.wait_for(lambda: self._waiting or self._closing, timeout)
                snapshot, self._waiting = self._waiting or snapshot, None
                last, self._closing = last or self._closing, False
                self._idle = False
            if snapshot is None:
                continue
            moment = time.time()
            try:
                self._snapshotter.drop_links(snapshot)
                self._uploader.upload(snapshot, ended=last)
            except TakenOverError as error:
                self._taken_over = str(error)
                return
            except Exception as error:  # noqa: BLE001 - whatever it is, it must not end the search
                failed = True
                self._report(first_line(error))
            else:
                failed = False
                self._last_success = moment
                self._report(None)

    def _report(self, problem: str | None) -> None:
        with self._changed:
            if problem is not None and self._problem is None:
                self._lines.append(
                    f"warning: {self._uri} cannot be written to: {problem}\n"
                    f"  The search goes on in {self._folder}; the upload is tried again until it works"
                )
            if problem is None and self._problem is not None:
                self._lines.append(f"{self._uri} can be written to again; it is up to date")
            self._problem = problem
