"""``python -m graphdb.build SOURCE STORE``: crystals become graphs in a store, once.

Run again after an interruption, it goes on; run again with more targets, it adds them without building any graph again.
"""

import argparse
import csv
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from graphdb.errors import GraphDBError, Reason, SkippedCrystal, SourceError, StoreError
from graphdb.files import network_file_system, skipped_path
from graphdb.graph import GraphSettings
from graphdb.ingest import available_cores, build_all, text_digest
from graphdb.progress import Progress, format_seconds
from graphdb.sources import RawCrystal, Source, open_source
from graphdb.store import Property, Store
from graphdb.targets import TargetTable, align, read_targets
from graphdb.writer import StoreWriter

_MAX_MESSAGE_IDS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildReport:
    """What a build did."""

    path: Path
    """of the store"""
    num_crystals: int
    """in the store"""
    num_atoms: int
    """in their cells, together"""
    num_built: int
    """graphs built in this run; the others were there"""
    skipped: list[SkippedCrystal]
    """everything that could not be used, sorted by id"""
    notes: list[SkippedCrystal]
    """what there is to be said of crystals in the store, sorted by id"""
    properties: dict[str, Property]
    """targets, by name"""
    fingerprint: str
    """of the store"""
    seconds: float
    """of this run"""


class _Intake:
    """Reads a source: hands on what has to be built, remembers what there is and what cannot be used."""

    def __init__(self, source: Source, writer: StoreWriter) -> None:
        self.digests: dict[str, bytes] = {}
        self.skipped: list[SkippedCrystal] = []
        self.num_known = 0
        self.failure: SourceError | None = None
        self._source = source
        self._writer = writer
        self._first_place: dict[str, str] = {}

    def pending(self) -> Iterator[tuple[RawCrystal, bytes]]:
        """What has to be built; a source that breaks off ends here, so that what was read is built and kept."""
        try:
            yield from self._pending()
        except SourceError as error:
            self.failure = error

    def _pending(self) -> Iterator[tuple[RawCrystal, bytes]]:
        for entry in self._source.entries():
            if isinstance(entry, SkippedCrystal):
                self.skipped.append(entry)
            elif entry.material_id in self.digests:
                message = f"the id is that of {self._first_place[entry.material_id]} too; that one counts"
                self.skipped.append(SkippedCrystal(entry.material_id, Reason.DUPLICATE_ID, message, entry.where))
            else:
                digest = text_digest(entry)
                self.digests[entry.material_id] = digest
                self._first_place[entry.material_id] = entry.where
                if self._writer.known(entry.material_id, digest):
                    self.num_known += 1
                else:
                    yield entry, digest


def build_store(
    source: str | os.PathLike[str],
    store: str | os.PathLike[str],
    *,
    targets: Sequence[str | os.PathLike[str]] = (),
    settings: GraphSettings | None = None,
    target_names: Sequence[str] | None = None,
    strict: bool = False,
    overwrite: bool = False,
    num_workers: int | None = None,
    report: Callable[[float, str], None] = lambda fraction, note: None,
) -> BuildReport:
    """Build a store, or finish or extend one.

    Args:
        source: see `graphdb.sources.open_source`.
        store: the file to be.
        targets: CSV files of targets by id; a later one wins where two have a column of the same name.
        settings: of the graphs.
        target_names: for the columns of an ``id_prop.csv``.
        strict: anything skipped is an error, and so is a note on a crystal.
        overwrite: take nothing over from a store or a build that is there.
        num_workers: processes; None for one per core.
        report: told now and then the share that is done, and a note.

    Raises:
        GraphDBError: whatever the user can mend; what was built is kept for the next run.
    """
    start = time.monotonic()
    path = Path(store)
    _check_destination(path)
    origin = open_source(source, target_names=target_names)
    tables = [_read_table(Path(name), Path(source)) for name in targets]
    with StoreWriter(path, settings or GraphSettings(), afresh=overwrite) as writer:
        intake = _Intake(origin, writer)
        num_read = num_built = 0
        for built in build_all(intake.pending(), writer.settings, num_workers or available_cores()):
            num_read += 1
            if not isinstance(built.outcome, SkippedCrystal):
                num_built += 1
                writer.add_graph(built.material_id, built.digest, built.outcome, built.notes)
            elif built.outcome.reason == Reason.WORKER_CRASHED:  # not remembered: more memory may help next time
                intake.skipped.append(built.outcome)
            else:
                writer.add_skipped(built.outcome, built.digest)
            report(origin.progress(), f"{intake.num_known + num_read:,} crystals")
        if intake.failure is not None:
            raise intake.failure
        report(1.0, "writing the store")
        skipped = intake.skipped + writer.skipped(intake.digests)
        material_ids = writer.graph_ids(intake.digests)
        columns: dict[str, NDArray[np.float64]] = {}
        units: dict[str, str] = {}
        if path.exists() and not overwrite:
            columns, units = _columns_of(path, material_ids, intake.digests)
        for table in [origin.targets, *tables]:
            skipped += table.problems() + _without_crystal(table, intake)
            for name, values in table.columns().items():
                columns[name] = align(values, material_ids)
                units[name] = table.units[name]
        skipped.sort(key=lambda skip: (skip.material_id, skip.reason, skip.where, skip.message))
        notes = sorted(writer.notes(intake.digests), key=lambda note: (note.material_id, note.reason, note.message))
        write_skipped(skipped_path(path), [*skipped, *notes])
        _check_outcome(path, Path(source), material_ids, [*skipped, *notes] if strict else skipped, strict)
        fingerprint = writer.finish(intake.digests, columns, units, [*skipped, *notes])
    with Store(path) as finished:
        return BuildReport(
            path=path,
            num_crystals=len(finished),
            num_atoms=int(finished.sizes[:, 0].sum(dtype=np.int64)),
            num_built=num_built,
            skipped=skipped,
            notes=notes,
            properties=finished.properties,
            fingerprint=fingerprint,
            seconds=time.monotonic() - start,
        )


def _check_destination(path: Path) -> None:
    if path.is_dir():
        raise StoreError(f"STORE must be a file, {path} is a folder; give a name in it, such as {path / 'my.store'}")
    if not path.parent.is_dir():
        raise StoreError(f"the folder of STORE must exist, {path.parent} does not; make it first")


def _read_table(path: Path, source: Path) -> TargetTable:
    table = TargetTable()
    if not path.exists():
        raise SourceError(f"--targets must name a CSV file, there is none at {path}")
    if not path.samefile(source):  # a CSV source brings its numeric columns itself
        read_targets(path, table)
    return table


def _columns_of(
    path: Path, material_ids: Sequence[str], digests: Mapping[str, bytes]
) -> tuple[dict[str, NDArray[np.float64]], dict[str, str]]:
    """The targets of the store that is there, for the new ids.

    Raises:
        StoreError: if it has crystals that the source lacks; they would be lost.
    """
    with Store(path) as store:
        missing = [material_id for material_id in store.material_ids if material_id not in digests]
        if missing:
            raise StoreError(
                f"{path} holds {len(missing):,} crystals that SOURCE lacks ({_some(missing)}): a store holds what its "
                "source holds; give another STORE, add the missing crystals to SOURCE, or let --overwrite drop them"
            )
        columns = {}
        for name in store.properties:
            values = store.targets([name])[:, 0]
            columns[name] = align(dict(zip(store.material_ids, values.tolist(), strict=True)), material_ids)
        return columns, {name: entry.unit for name, entry in store.properties.items()}


def _without_crystal(table: TargetTable, intake: _Intake) -> list[SkippedCrystal]:
    message = "targets for an id that is not in SOURCE"
    return [
        SkippedCrystal(material_id, Reason.TARGET_WITHOUT_CRYSTAL, message, where)
        for material_id, where in table.ids.items()
        if material_id not in intake.digests
    ]


def _check_outcome(
    path: Path, source: Path, material_ids: Sequence[str], skipped: Sequence[SkippedCrystal], strict: bool
) -> None:
    listed = f"; {skipped_path(path)} lists why" if skipped else ""
    if not material_ids:
        raise SourceError(
            f"SOURCE must hold at least one usable crystal, {source} holds none{_counted(skipped)}{listed}"
        )
    if strict and skipped:
        raise SourceError(
            f"--strict allows nothing to be skipped, got{_counted(skipped).removeprefix(':')}{listed}; "
            "mend them and run again"
        )


def write_skipped(path: Path, skipped: Sequence[SkippedCrystal]) -> None:
    """Write the list of what was skipped; without any, the file goes, so that no old one misleads."""
    if not skipped:
        path.unlink(missing_ok=True)
        return
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", newline="", encoding="utf-8", errors="replace") as stream:
        writer = csv.writer(stream)
        writer.writerow(["material_id", "reason", "message", "where"])
        writer.writerows([skip.material_id, skip.reason, skip.message, skip.where] for skip in skipped)
    os.replace(temporary, path)


def count_reasons(skipped: Sequence[SkippedCrystal]) -> dict[str, int]:
    """How often each reason occurs, the most frequent first."""
    counts: dict[str, int] = {}
    for skip in skipped:
        counts[skip.reason] = counts.get(skip.reason, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _counted(skipped: Sequence[SkippedCrystal]) -> str:
    counts = count_reasons(skipped)
    return ": " + ", ".join(f"{count:,} {reason}" for reason, count in counts.items()) if counts else ""


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MAX_MESSAGE_IDS])
    return shown + (", ..." if len(names) > _MAX_MESSAGE_IDS else "")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m graphdb.build", description="Turn crystals into a store of graphs."
    )
    parser.add_argument(
        "source", metavar="SOURCE", help="folder of CIF/POSCAR/JSON files, .tar.gz of one, CSV(.gz), JSON(.gz)"
    )
    parser.add_argument("store", metavar="STORE", help="the file to write")
    parser.add_argument("--targets", metavar="CSV", action="append", default=[], help="targets by id; may be repeated")
    parser.add_argument("--target-names", metavar="A,B", help="names for the columns of CGCNN's id_prop.csv")
    parser.add_argument(
        "--neighbors", choices=["shell", "cgcnn"], default="shell", help="cgcnn: the original code's choice"
    )
    parser.add_argument("--num-neighbors", type=int, metavar="N", help="neighbors per atom (default: 12)")
    parser.add_argument(
        "--cutoff", type=float, metavar="A", help="largest distance of a neighbor in Å (default: 20; cgcnn: 8)"
    )
    parser.add_argument(
        "--strict", action="store_true", help="anything skipped, and any note on a crystal, is an error"
    )
    parser.add_argument("--overwrite", action="store_true", help="take nothing over from what is there")
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: one per core)")
    parser.add_argument("--quiet", action="store_true", help="no progress and no summary")
    return parser


def _settings(arguments: argparse.Namespace) -> GraphSettings:
    given = {"num_neighbors": arguments.num_neighbors, "cutoff": arguments.cutoff}
    return GraphSettings(neighbors=arguments.neighbors, **{k: v for k, v in given.items() if v is not None})


def _names(text: str | None) -> list[str] | None:
    return [name.strip() for name in text.split(",")] if text else None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    arguments = _parser().parse_args(argv)
    try:
        if arguments.workers is not None and not 1 <= arguments.workers <= 1024:
            raise ValueError(f"--workers must be in 1 to 1024, got {arguments.workers}")
        if kind := network_file_system(Path(arguments.store).absolute().parent):
            print(
                f"warning: {arguments.store} is on a network file system ({kind}); build on a local disk",
                file=sys.stderr,
            )
        with Progress("Building graphs", quiet=arguments.quiet) as progress:
            report = build_store(
                arguments.source,
                arguments.store,
                targets=arguments.targets,
                settings=_settings(arguments),
                target_names=_names(arguments.target_names),
                strict=arguments.strict,
                overwrite=arguments.overwrite,
                num_workers=arguments.workers,
                report=progress.update,
            )
    except (GraphDBError, ValueError, OSError) as error:
        print("\n".join([f"error: {error}", *getattr(error, "__notes__", [])]), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: run the same command again, it goes on where it stopped", file=sys.stderr)
        return 130
    if not arguments.quiet:
        _print_summary(report)
    return 0


def _print_summary(report: BuildReport) -> None:
    size = report.path.stat().st_size
    took = format_seconds(report.seconds)
    skipped = f", {len(report.skipped):,} skipped" if report.skipped else ""
    print(
        f"{report.num_crystals:,} crystals ({report.num_built:,} built now{skipped}) of {report.num_atoms:,} atoms in "
        f"{took}: {report.path}, {size / 1e6:.1f} MB, {size / report.num_atoms:.0f} bytes an atom"
    )
    for name, entry in report.properties.items():
        span = f"{entry.minimum:.4g} to {entry.maximum:.4g} {entry.unit}".rstrip()
        print(f"  {name}: {entry.count:,} known, {span}, mean {entry.mean:.4g}")
    print(f"Fingerprint: {report.fingerprint}")
    if report.skipped:
        print(f"Skipped {len(report.skipped):,} (listed in {skipped_path(report.path)}):")
        for reason, count in count_reasons(report.skipped).items():
            example = next(skip for skip in report.skipped if skip.reason == reason)
            print(f"  {count:,} {reason}, e.g. {example.material_id or example.where}: {example.message}")
    if report.notes:
        print(f"Noted {len(report.notes):,} on crystals that are stored (listed in {skipped_path(report.path)}):")
        for reason, count in count_reasons(report.notes).items():
            example = next(note for note in report.notes if note.reason == reason)
            print(f"  {count:,} {reason}, e.g. {example.material_id}: {example.message}")
    print(f"Next: python -m graphdb.info {report.path}, or python -m tuner.search --space table5 --store {report.path}")


if __name__ == "__main__":
    sys.exit(main())
