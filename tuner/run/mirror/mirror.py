"""Keeps a run in object storage up to date while a search runs; the search never waits for it before its end."""

import threading
import time
from collections.abc import Callable
from types import TracebackType

from tuner.errors import SearchError
from tuner.run.layout import RunFolder
from tuner.run.mirror.bucket import Bucket
from tuner.run.mirror.snapshot import Item, Snapshot, Snapshotter
from tuner.run.mirror.upload import TakenOverError, Uploader

INTERVAL = 25.0
"""Seconds between two moments; what a lost head loses at most, plus the time that an upload takes."""
_RETRY = 5.0
"""Seconds between attempts while the storage does not answer."""
_PATIENCE = 60.0
"""Seconds without any progress after which the end of a search waits no longer."""

Say = Callable[[str], None]


class Mirror:
    """Used as a context around a search: inside, `tick` often; leaving it waits until the bucket holds everything."""

    def __init__(
        self,
        run: RunFolder,
        say: Say,
        *,
        interval: float = INTERVAL,
        retry: float = _RETRY,
        patience: float = _PATIENCE,
    ) -> None:
        """Prepare; nothing is touched before ``with``.

        Args:
            run: with a URI; this process must hold its local folder.
            say: shows a line to the user; called from the search's own thread only.
            interval: seconds between two moments.
            retry: seconds between attempts while the storage does not answer.
            patience: seconds without progress after which the end is not waited for.
        """
        assert run.uri is not None
        self._run = run
        self._uri = run.uri
        self._say = say
        self._interval, self._retry, self._patience = interval, retry, patience
        self._changed = threading.Condition()  # guards what follows
        self._waiting: Snapshot | None = None
        self._idle = True
        self._closing = False
        self._lines: list[str] = []
        self._problem: str | None = None
        self._taken_over: str | None = None
        self._last_success: float | None = None
        self._given_up = False
        self._latest: Snapshot | None = None

    def __enter__(self) -> "Mirror":
        """Become the run's writer.

        Raises:
            SearchError: if the storage does not answer, or another search writes to the run.
        """
        try:
            self._uploader = Uploader(Bucket(self._uri), self._run.path)
        except TakenOverError as error:
            raise SearchError(f"{error} has begun to write to {self._uri} at this moment; try again") from error
        except OSError as error:
            raise SearchError(
                f"--runs must be a place that can be written to, but {self._uri} cannot: {_reason(error)}"
            ) from error
        self._camera = Snapshotter(self._run.path)
        self._next = 0.0
        self._thread = threading.Thread(target=self._work, name="mirror", daemon=True)
        self._thread.start()
        return self

    def tick(self, *, now: bool = False) -> bool:
        """Called often, between two steps of the search; takes a moment's files when it is time.

        Args:
            now: whether this is a moment to keep, though it may not be time: a long calculation follows.

        Returns:
            False when another search has taken the run over: see `check`.
        """
        with self._changed:
            lines, self._lines = self._lines, []
            due = now or (self._idle and time.monotonic() >= self._next)
        for line in lines:
            self._say(line)
        if due and self._taken_over is None:
            self._take()
        return self._taken_over is None

    def check(self) -> None:
        """Raise what `tick` has found.

        Raises:
            SearchError: if another search has taken the run over.
        """
        if self._taken_over is not None:
            raise SearchError(
                f"another search has taken over this run: {self._taken_over} writes to {self._uri} now. "
                f"This one has stopped; what it had not yet mirrored is left in {self._run.path}"
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait until all is uploaded.

        Raises:
            SearchError: if that does not succeed, and nothing else was wrong.
        """
        if not self._run.exists():
            self._give_up()
            self._uploader.withdraw()
            return
        is_taken = self._taken_over is None and self._take(all_states=True)
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        try:
            self._wait_for_the_end()
        except KeyboardInterrupt:
            self._say("Interrupted again: the upload is given up.")
        self.tick()
        if self._taken_over is not None:
            if error is None:
                self.check()
        elif self._thread.is_alive() or not is_taken:
            self._give_up()
            if error is None:
                raise SearchError(self._left_behind())
            self._say(f"warning: {self._left_behind()}")

    def _give_up(self) -> None:
        with self._changed:
            self._given_up = True
            self._changed.notify_all()

    def _take(self, *, all_states: bool = False) -> bool:
        self._next = time.monotonic() + self._interval
        if not self._run.exists():
            return False  # not begun yet
        try:
            snapshot = self._camera.take(all_states=all_states)
        except OSError as error:  # a full disk; the next moment may be better
            self._report(f"the files of the run cannot be read: {_reason(error)}")
            return False
        self._latest = snapshot
        with self._changed:
            self._waiting = snapshot
            self._idle = False
            self._changed.notify_all()
        return True

    def _wait_for_the_end(self) -> None:
        patient_until = time.monotonic() + self._patience
        placed = self._uploader.num_placed
        said = time.monotonic() + 2
        while self._thread.is_alive() and time.monotonic() < patient_until:
            self._thread.join(0.1)
            self.tick()
            if self._uploader.num_placed != placed:
                placed = self._uploader.num_placed
                patient_until = time.monotonic() + self._patience
            if time.monotonic() > said and self._thread.is_alive():
                said = time.monotonic() + 30
                self._say(f"Uploading the last {len(self._missing())} files to {self._uri} ...")

    def _missing(self) -> list[Item]:
        return self._uploader.missing(self._latest) if self._latest is not None else []

    def _left_behind(self) -> str:
        missing = self._missing()
        size = sum(item.size for item in missing) / 1e6
        moment = self._last_success
        held = f"as of {time.strftime('%H:%M:%S', time.localtime(moment))}" if moment else "as it was before"
        return (
            f"the end of the run is not in {self._uri}{f' ({self._problem})' if self._problem else ''}: "
            f"{len(missing)} files ({size:.1f} MB) are missing there; it holds the run {held}. "
            f"Everything is in {self._run.path}; --resume on this machine uploads it"
        )

    # In the thread.

    def _work(self) -> None:
        snapshot: Snapshot | None = None
        failed = last = False
        while (not last or failed) and not self._given_up:
            with self._changed:
                self._idle = True  # a later moment may take the place of one that failed
                self._changed.wait_for(
                    self._has_news_after_failure if failed and last else self._has_news,
                    timeout=self._retry if failed else self._interval,  # a sign of life, though the search is silent
                )
                if self._waiting is not None:
                    snapshot, self._waiting = self._waiting, None
                self._idle = False
                last = self._closing
            if snapshot is None:
                continue
            moment = time.time()
            try:
                self._camera.drop_links(snapshot)
                self._uploader.upload(snapshot, ended=last)
            except TakenOverError as error:
                self._taken_over = str(error)
                return
            except Exception as error:  # noqa: BLE001 - whatever it is, it must not end the search
                failed = True
                self._report(_reason(error))
            else:
                failed = False
                self._last_success = moment
                self._report(None)

    def _has_news(self) -> bool:
        return self._waiting is not None or self._closing or self._given_up

    def _has_news_after_failure(self) -> bool:
        return self._waiting is not None or self._given_up

    def _report(self, problem: str | None) -> None:
        with self._changed:
            if problem is not None and self._problem is None:
                self._lines.append(
                    f"warning: {self._uri} cannot be written to: {problem}\n"
                    f"  The search goes on in {self._run.path}; the upload is tried again until it works"
                )
            if problem is None and self._problem is not None:
                self._lines.append(f"{self._uri} can be written to again; it is up to date")
            self._problem = problem


def _reason(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
