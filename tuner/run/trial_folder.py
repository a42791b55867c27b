"""The folder of a training, which the driver alone writes; workers hand over what they saved as one sequence of bytes.

trials/0007/state.zip     all it takes to go on, replaced after each epoch, gone when the training has ended
trials/0007/best/         checkpoint of the best epoch so far
"""

import contextlib
import io
import os
import shutil
import zipfile
from pathlib import Path

BEST = "best"
_OLD, _NEW = "best.old", "best.new"
STATE = "state.zip"


def pack(folder: Path) -> bytes:
    """The files of a folder, without compression (weights hardly shrink); folders in it are left out."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(folder.iterdir()):
            if path.is_file():
                archive.writestr(path.name, path.read_bytes())
    return buffer.getvalue()


def unpack(content: bytes, folder: Path) -> None:
    """Write the files of `pack` into a folder.

    Raises:
        ValueError: if the content is torn or damaged.
    """
    folder.mkdir(exist_ok=True)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name in archive.namelist():
                (folder / Path(name).name).write_bytes(archive.read(name))
    except (zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"a packed folder must be a whole zip archive, got a damaged one: {error}") from error


class TrialFolder:
    """What the driver keeps of one training. Every method may be repeated, after a failure or by a later process."""

    def __init__(self, path: Path) -> None:
        """Name the files; nothing is touched."""
        self.path = path
        self._state = path / STATE

    def save_state(self, content: bytes) -> None:
        """Replace the state at once."""
        self._make()
        temporary = self._state.with_suffix(".new")
        try:
            temporary.write_bytes(content)
            os.replace(temporary, self._state)
        except OSError:  # of a full disk, what there is of it is needed for the rest
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise

    def state(self) -> bytes | None:
        """The last state; None when there is none."""
        try:
            return self._state.read_bytes()
        except FileNotFoundError:
            return None

    def save_best(self, content: bytes) -> None:
        """Replace the checkpoint; at each moment `best_checkpoint` finds the old or the new one."""
        new, old, best = self.path / _NEW, self.path / _OLD, self.path / BEST
        self._make()
        shutil.rmtree(new, ignore_errors=True)
        unpack(content, new)
        for path in new.iterdir():  # A torn state is trained again after a power cut, but nobody trains this again.
            with open(path, "rb") as file:
                os.fsync(file.fileno())
        if best.exists():
            shutil.rmtree(old, ignore_errors=True)
            os.replace(best, old)
        os.replace(new, best)
        shutil.rmtree(old, ignore_errors=True)

    def _make(self) -> None:
        """Not with all parents: where the run itself is gone, an unmounted disk say, it must not begin anew."""
        self.path.parent.mkdir(exist_ok=True)
        self.path.mkdir(exist_ok=True)

    def best_checkpoint(self) -> Path | None:
        """Folder of the best epoch's checkpoint; None before the first."""
        return next((path for path in (self.path / BEST, self.path / _OLD) if path.is_dir()), None)

    def conclude(self) -> None:
        """The training has ended: keep the best checkpoint under its name, and nothing else."""
        if not self.path.exists():
            return
        found = self.best_checkpoint()
        if found is not None and found.name != BEST:
            os.replace(found, self.path / BEST)
        for path in self.path.iterdir():
            if path.name != BEST:
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
