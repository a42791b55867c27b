"""Objects by name under a URI: S3, Google Cloud Storage, or a folder. Only this file of the mirror knows pyarrow."""

import os
from contextlib import suppress

from pyarrow import fs

from tuner.errors import SearchError

AT_A_TIME = 8
"""Objects sent or read at the same time; each takes some 50 ms to S3, whatever its size."""


class Bucket:
    """A place in object storage. An object is there whole or not at all; listings show what was put before.

    Every method raises an OSError if the storage does not answer, and so does all of the mirror that takes a bucket.
    """

    def __init__(self, uri: str) -> None:
        """Connect.

        Args:
            uri: ``s3://bucket/path``, ``gs://bucket/path`` or ``file:///path``; options of pyarrow may follow a ``?``.

        Raises:
            SearchError: for another kind of URI.
        """
        self.uri = uri
        if uri.startswith("s3://") and "allow_delayed_open" not in uri:  # small objects in one request instead of three
            uri += ("&" if "?" in uri else "?") + "allow_delayed_open=true"
        try:
            self._files, path = fs.FileSystem.from_uri(uri)
        except ValueError as error:
            raise SearchError(
                f"--runs must be a folder or a URI like s3://bucket/runs, gs://bucket/runs or "
                f"file:///folder, got {self.uri!r}: {' '.join(str(error).split())}"
            ) from error
        self._path = path.rstrip("/")
        if not self._path and not uri.startswith("file:"):
            raise SearchError(f"--runs must name a bucket, such as s3://bucket/runs, got {self.uri!r}")
        self._is_disk = isinstance(self._files, fs.LocalFileSystem)

    def put(self, name: str, content: bytes) -> None:
        """Store an object, replacing one of that name."""
        path = target = f"{self._path}/{name}"
        if self._is_disk:  # where a file is seen while it grows
            self._files.create_dir(os.path.dirname(path), recursive=True)
            path = f"{os.path.dirname(path)}/.{os.path.basename(path)}.{os.getpid()}"
        with self._files.open_output_stream(path) as stream:
            stream.write(content)
        if self._is_disk:
            self._files.move(path, target)

    def get(self, name: str) -> bytes:
        """Read an object; a FileNotFoundError if there is none."""
        with self._files.open_input_file(f"{self._path}/{name}") as file:
            content: bytes = file.read()
        return content

    def delete(self, name: str) -> None:
        """Remove an object, if it is there."""
        with suppress(FileNotFoundError):
            self._files.delete_file(f"{self._path}/{name}")

    def names(self, folder: str) -> dict[str, float]:
        """Objects directly in a folder: when each was last put (seconds, by the storage's clock) by its name there."""
        return {
            info.base_name: info.mtime_ns / 1e9
            for info in self._list(folder)
            if info.type == fs.FileType.File and not info.base_name.startswith(".")
        }

    def folders(self) -> list[str]:
        """Their names."""
        return [info.base_name for info in self._list("") if info.type == fs.FileType.Directory]

    def _list(self, folder: str) -> list[fs.FileInfo]:
        path = f"{self._path}/{folder}".rstrip("/")
        try:
            found: list[fs.FileInfo] = self._files.get_file_info(fs.FileSelector(path, allow_not_found=True))
        except FileNotFoundError:  # it came or went between pyarrow's two looks at a local folder
            return []
        return found


def join(uri: str, name: str) -> str:
    """URI of something below; options stay at the end."""
    place, mark, options = uri.partition("?")
    return f"{place.rstrip('/')}/{name}{mark}{options}"
