"""Where crystals come from: folders, archives, tables. Each is a stream of raw texts; nothing is unpacked to disk.

`open_source` tells the kind.
"""

import io
import os
import stat
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

from graphdb.errors import Reason, SkippedCrystal, SourceError, Unusable
from graphdb.filenames import file_id, name_format, uncompressed_name
from graphdb.files import READ_ERRORS, decompressed
from graphdb.foreign import HEAD_BYTES, LMDB_FILE, is_binary, what_is
from graphdb.names import clean_id
from graphdb.parse import MAX_TEXT_BYTES, Format, decode, sniff
from graphdb.rawcrystal import Entry, raw_crystal
from graphdb.tables import CsvSource, JsonSource, json_entries
from graphdb.targetfile import TargetFile
from graphdb.targets import TargetTable

_MAX_TABLE_BYTES = 256 * 2**20
#: Files of CGCNN's own layout that are no structures.
_ID_PROP = "id_prop.csv"
_COMPANIONS = frozenset({_ID_PROP, "atom_init.json"})
_TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_FORMAT_NAMES: dict[Format, tuple[str, str]] = {
    "cif": ("a CIF", ".cif"),
    "poscar": ("a POSCAR", ".vasp"),
    "json": ("pymatgen JSON", ".json"),
}


class Source(Protocol):
    """A place where crystals come from."""

    #: targets found beside the structures; complete once `entries` has ended
    targets: TargetTable
    #: files of targets found among the structures (``id_prop.csv``); complete once `entries` has ended
    target_files: list[TargetFile]

    def entries(self) -> Iterator[Entry]:
        """Every crystal, in an order that is the same each time, or why there is none.

        Raises:
            SourceError: if the source as a whole cannot be read to its end.
        """

    def progress(self) -> float:
        """The share of the source that was read, 0 to 1."""

    def may_repeat(self, material_id: str) -> bool:
        """Whether several entries with this id are to be expected, as of CONTCAR and POSCAR in one folder."""


def open_source(path: str | os.PathLike[str], *, target_names: Sequence[str] | None = None) -> Source:
    """A source by its path: folder, archive, CSV, JSON, or a single structure file.

    Args:
        path: see docs/data-format.md for what may lie there.
        target_names: names for the columns of an ``id_prop.csv``.

    Raises:
        SourceError: if nothing usable lies there.
    """
    path = Path(path)
    name = path.name.lower()
    if not path.exists():
        raise SourceError(f"{path} must be a file or a folder, but there is none")
    if path.is_dir():
        if (path / "data.mdb").exists():
            raise SourceError(f"{path} must be a source of crystals, but it is {': '.join(LMDB_FILE)}")
        return FolderSource(path, target_names=target_names)
    _check_file(path)
    if name.endswith(_TAR_SUFFIXES):
        return TarSource(path, target_names=target_names)
    plain = uncompressed_name(name)
    is_table = plain.endswith((".csv", ".tsv", ".json"))
    with path.open("rb") as raw:
        if foreign := what_is("" if is_table else path.name, _head(raw)):
            raise SourceError(f"{path} must be a source of crystals, but it is {foreign}")
    if is_table and not plain.endswith(".json"):
        return CsvSource(path)
    if is_table:
        return JsonSource(path)
    if name_format(path.name) is not None:
        return FolderSource(_naming_folder(path), files=[path])
    with path.open("rb") as raw:
        told = _about_unknown(path.name, _head(raw, MAX_TEXT_BYTES))
    raise SourceError(
        f"{path} must be a CIF or POSCAR file, .json, .csv (each also with .gz, .bz2 or .xz), .tar.gz or a folder; "
        + (told or "rename the file so that its suffix tells what it is")
    )


def _check_file(path: Path) -> None:
    """Refuse what has no content, but for an empty structure file, which is skipped with its id."""
    if not path.is_file():
        raise SourceError(f"{path} must be a file or a folder, but it is a pipe or a device; save what comes from it")
    if path.stat().st_size == 0 and name_format(path.name) in (None, "json"):
        raise SourceError(f"{path} must hold crystals, but it is empty; copy or download it again")


def _naming_folder(path: Path) -> Path:
    """The folder below which a structure file has its name: that of ``mp-1/POSCAR`` begins with ``mp-1``."""
    named_by_folder = file_id(f"folder/{path.name}") == "folder"
    return path.parent.parent if named_by_folder and path.parent.name not in ("", "..") else path.parent


class FolderSource:
    """Structure files in a folder and its subfolders, in the order of their paths."""

    def __init__(
        self, folder: Path, *, files: Sequence[Path] | None = None, target_names: Sequence[str] | None = None
    ) -> None:
        """Look at nothing yet.

        Args:
            folder: where the files lie.
            files: just these; None for all.
            target_names: names for the columns of ``id_prop.csv``.
        """
        self.targets = TargetTable()
        self.target_files: list[TargetFile] = []
        self._folder = folder
        self._files = files
        self._target_names = target_names
        self._num_files, self._num_read = 1, 0
        self._num_by_id: Counter[str] = Counter()

    def progress(self) -> float:
        """The share of files that were read."""
        return min(1.0, self._num_read / self._num_files)

    def entries(self) -> Iterator[Entry]:
        """Every file that is not hidden."""
        listed = list(self._files) if self._files is not None else sorted(self._walk())
        self._num_files = max(1, len(listed))
        self._num_by_id = Counter(clean_id(file_id(self._where(path))) for path in listed if name_format(path.name))
        for path in listed:
            yield from self._read(path)
            self._num_read += 1

    def may_repeat(self, material_id: str) -> bool:
        """Whether several files have this id."""
        return self._num_by_id[material_id] > 1

    def _where(self, path: Path) -> str:
        return str(path.relative_to(self._folder)) if path.is_relative_to(self._folder) else str(path)

    def _walk(self) -> Iterator[Path]:
        def refuse(error: OSError) -> None:
            raise SourceError(f"cannot read the folder {error.filename}: {error.strerror}") from error

        for folder, folders, files in os.walk(self._folder, onerror=refuse):
            linked = [name for name in folders if os.path.islink(os.path.join(folder, name))]
            folders[:] = [name for name in folders if not _is_hidden(name)]
            yield from (Path(folder, name) for name in (*files, *linked) if not _is_hidden(name))

    def _read(self, path: Path) -> Iterator[Entry]:
        where = self._where(path)
        try:
            information = path.stat()
            if not stat.S_ISREG(information.st_mode):
                note = "a link to a folder is not followed" if path.is_dir() else "not a regular file"
                yield SkippedCrystal("", Reason.NOT_A_STRUCTURE, note, where)
            elif path.name == _ID_PROP:
                with path.open("rb") as stream:
                    self.target_files.append(TargetFile(stream, where, names=self._target_names))
            else:
                with path.open("rb") as stream:
                    yield from read_member(where, information.st_size, stream, self.targets)
        except OSError as error:
            yield SkippedCrystal(file_id(where), Reason.UNREADABLE, error.strerror or str(error), where)


class TarSource:
    """Structure files in a tar archive, compressed or not, in its order; members are read in passing."""

    def __init__(self, path: Path, *, target_names: Sequence[str] | None = None) -> None:
        """Open nothing yet."""
        self.targets = TargetTable()
        self.target_files: list[TargetFile] = []
        self._path = path
        self._target_names = target_names
        self._size = max(1, path.stat().st_size)
        self._position = 0

    def progress(self) -> float:
        """The share of the archive's bytes that were read."""
        return min(1.0, self._position / self._size)

    def may_repeat(self, material_id: str) -> bool:
        """Unknown before the end of the archive."""
        return bool(material_id)

    def entries(self) -> Iterator[Entry]:
        """Every regular member that is not hidden."""
        num_members = 0
        try:
            with self._path.open("rb") as raw, decompressed(raw) as stream:
                with tarfile.open(fileobj=stream, mode="r|") as archive:
                    for member in archive:
                        archive.members.clear()  # type: ignore[attr-defined]  # else they pile up, 1 kB each
                        self._position = raw.tell()
                        num_members += 1
                        yield from self._read(archive, member)
                while stream.read(2**20):  # a cut archive shows at its end, where the checksum of gzip stands
                    pass
        except (tarfile.TarError, *READ_ERRORS) as error:
            raise SourceError(
                f"{self._path} must be a complete tar archive, but after {num_members:,} members: {error}; "
                "copy or download it again"
            ) from error

    def _read(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[Entry]:
        path = PurePosixPath(member.name)
        if member.isdir() or any(_is_hidden(part) for part in path.parts):
            return
        stream = archive.extractfile(member) if member.isreg() else None
        if stream is None:
            yield SkippedCrystal("", Reason.NOT_A_STRUCTURE, "a link or device, not a regular file", member.name)
        elif path.name == _ID_PROP:
            content = io.BytesIO(stream.read())
            self.target_files.append(TargetFile(content, member.name, names=self._target_names))
        else:
            yield from read_member(member.name, member.size, stream, self.targets)


def read_member(where: str, size: int, stream: IO[bytes], targets: TargetTable) -> Iterator[Entry]:
    """The entries of one file of a folder or archive: one, except for JSON files with several structures."""
    if PurePosixPath(where).name in _COMPANIONS:
        return
    format = name_format(where)
    if format is None:
        message = "the name is not that of a CIF, POSCAR or JSON file"
        told = _about_unknown(where, stream.read(HEAD_BYTES)) if size else "it is empty"
        yield SkippedCrystal("", Reason.NOT_A_STRUCTURE, told or message, where)
        return
    material_id = file_id(where)
    limit = _MAX_TABLE_BYTES if format == "json" else MAX_TEXT_BYTES
    if size > limit:
        yield SkippedCrystal(material_id, Reason.TOO_LARGE, f"must be below {limit:,} bytes, got {size:,}", where)
        return
    content = stream.read()
    try:
        with decompressed(io.BytesIO(content)) as unzipped:  # by content, for some are named as if they were not
            content = unzipped.read(limit + 1)
    except READ_ERRORS as error:
        if uncompressed_name(where) != where or is_binary(content[:HEAD_BYTES]):
            kind = {b"\x1f\x8b": "gzip", b"BZ": "bzip2"}.get(content[:2], "xz")
            yield SkippedCrystal(material_id, Reason.UNPARSABLE, f"the {kind} stream is damaged: {error}", where)
            return
    if format != "json" and (foreign := what_is("", content[:HEAD_BYTES])):
        yield SkippedCrystal(material_id, Reason.UNPARSABLE, f"it is {foreign}", where)
        return
    if format == "json" and content:
        yield from json_entries(content, material_id, where, targets)
    else:
        yield raw_crystal(material_id, format, content, where)


def _about_unknown(name: str, head: bytes) -> str:
    """What a file is whose name is not that of a structure; empty if nothing is known about it."""
    base = uncompressed_name(name).lower()
    try:
        format = sniff(decode(head))
    except Unusable:
        format = None
    if format is not None and not base.endswith((found := _FORMAT_NAMES[format])[1]):
        return f"it looks like {found[0]}: give it a name that ends in {found[1]}"
    foreign = what_is(name, head)
    return f"it is {foreign}" if foreign else ""


def _head(raw: IO[bytes], size: int = HEAD_BYTES) -> bytes:
    """The first bytes of a file, decompressed; none if they cannot be."""
    try:
        return decompressed(raw).read(size)
    except READ_ERRORS:
        return b""


def _is_hidden(name: str) -> bool:
    return (name.startswith(".") and name not in (".", "..")) or name == "__MACOSX"
