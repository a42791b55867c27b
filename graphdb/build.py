"""``python -m graphdb.build SOURCE STORE``: crystals become graphs in a store, once.

Run again after an interruption, it goes on; run again with more targets, it adds them without building any graph again.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from graphdb.buildreport import (
    BuildReport,
    columns_text,
    count_reasons,
    counted,
    example,
    summary,
    unmatched_rows,
    write_skipped,
)
from graphdb.command import Parser, count, run, split_names
from graphdb.cpus import usable_cpus
from graphdb.errors import SkippedCrystal, SourceError, StoreError
from graphdb.files import network_file_system, skipped_path
from graphdb.graphsettings import KINDS, GraphSettings, SoftNeighbors
from graphdb.matching import shown
from graphdb.progress import Progress

if TYPE_CHECKING:  # what is heavy is loaded by `build_store`, so that a command answers a mistake at once
    import numpy as np
    from numpy.typing import NDArray

    from graphdb.intake import Intake
    from graphdb.sources import Source
    from graphdb.targetfile import Matching, TargetFile
    from graphdb.targets import TargetTable


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
        targets: CSV files of targets by id; columns of one name are merged, and of two values of one crystal that
            of the later file counts.
        settings: of the graphs.
        target_names: for the columns of an ``id_prop.csv``, or of another file of targets without header.
        strict: a crystal, or a file of the source, that cannot be used is an error.
        overwrite: take nothing over from a store or a build that is there.
        num_workers: processes; None for one per core.
        report: told now and then the share that is done, and a note.

    Raises:
        GraphDBError: whatever the user can fix; what was built is kept for the next run.
    """
    import numpy as np

    from graphdb.ingest import build_all
    from graphdb.intake import Intake
    from graphdb.sources import open_source
    from graphdb.store import Store
    from graphdb.targetfile import Matching
    from graphdb.targets import MergedTargets, align
    from graphdb.writer import StoreWriter

    start = time.monotonic()
    path = Path(store)
    _check_destination(path)
    origin = open_source(source, target_names=target_names)
    files = _target_files([Path(name) for name in targets], Path(source), target_names)
    with StoreWriter(path, settings or SoftNeighbors(), afresh=overwrite) as writer:
        intake = Intake(origin, writer)
        num_read = num_built = 0
        for batch in intake.batches():
            for built in build_all(batch, writer.settings, num_workers or usable_cpus()):
                num_read += 1
                num_built += not isinstance(built.outcome, SkippedCrystal)
                intake.settle(built)
                report(origin.progress(), count(intake.num_known + num_read, "crystal"))
        if intake.failure is not None:
            raise intake.failure
        report(1.0, "writing the store")
        skipped = sorted(intake.skipped + writer.skipped(intake.digests), key=_order)
        material_ids = writer.graph_ids(intake.digests)
        matched = _match(origin, files, intake, target_names)
        matchings = [matching for _, found in matched for matching in found]
        if remarks := origin.targets.remarks:
            matchings.insert(0, Matching.of_source(Path(source).name, remarks))
        merged = MergedTargets(material_ids)
        barren: list[str] = []
        for table, found in matched:
            given = merged.add(table, found[0].name if found else Path(source).name)
            if found and not given:
                problem = next((f"{note.message} ({note.where})" for note in table.problems()), "no column")
                why = columns_text({name: merged.left_out[name] for name in table.names()}) or problem
                barren.append(f"{found[0].name} must have numbers for crystals in SOURCE, got none: {why}")
        target_notes = sorted([*merged.notes, *(note for table, _ in matched for note in table.problems())], key=_order)
        notes = sorted(writer.notes(intake.digests), key=_order)
        write_skipped(skipped_path(path), [*skipped, *notes, *target_notes, *unmatched_rows(matchings)])
        _check_outcome(path, Path(source), material_ids, skipped, [*skipped, *notes] if strict else [])
        if barren:
            raise SourceError(barren[0])
        columns: dict[str, NDArray[np.float64]] = {}
        units: dict[str, str] = {}
        if path.exists() and not overwrite:
            columns, units = _columns_of(path, material_ids, intake.digests)
        for name, values in merged.columns.items():
            columns[name], units[name] = align(values, material_ids), merged.units[name]
        fingerprint = writer.finish(intake.digests, columns, units, [*skipped, *notes])
    with Store(path) as finished:
        return BuildReport(
            path=path,
            num_crystals=len(finished),
            num_atoms=int(finished.sizes[:, 0].sum(dtype=np.int64)),
            num_built=num_built,
            skipped=skipped,
            notes=notes,
            target_notes=target_notes,
            matchings=matchings,
            without_row={
                found[0].name: sum(material_id not in table.ids for material_id in material_ids)
                for table, found in matched
                if found
            },
            left_out=merged.left_out,
            properties=finished.properties,
            fingerprint=fingerprint,
            seconds=time.monotonic() - start,
        )


def _check_destination(path: Path) -> None:
    from graphdb.store import is_lmdb_file

    if path.is_dir():
        raise StoreError(f"STORE must be a file, {path} is a folder; give a name in it, such as {path / 'my.store'}")
    if not path.parent.is_dir():
        raise StoreError(f"the folder of STORE must exist, {path.parent} does not; make it first")
    if path.exists() and path.stat().st_size and not is_lmdb_file(path):
        raise StoreError(
            f"STORE must be a new file or a store of graphs, but {path} is a file of another kind; give another STORE"
        )


def _target_files(paths: Sequence[Path], source: Path, names: Sequence[str] | None) -> "list[TargetFile]":
    """The files of targets, but for the source itself: a CSV brings its numeric columns without being asked."""
    from graphdb.targetfile import open_target_file

    files = [open_target_file(path, names=names) for path in paths if not (path.is_file() and path.samefile(source))]
    without = [file.name for file in files if not file.has_header]
    if len(without) > 1 and names is None:
        raise SourceError(
            f"targets must have distinct names, but {' and '.join(without)} have no header; give them one"
        )
    return files


def _match(
    origin: "Source", files: "Sequence[TargetFile]", intake: "Intake", names: Sequence[str] | None
) -> "list[tuple[TargetTable, list[Matching]]]":
    """The targets beside the structures, those of ``id_prop.csv``, then those of each file, for the crystals there are.

    Raises:
        SourceError: if nothing in a file belongs to a crystal of the source, or names were given to no column.
    """
    from graphdb.matching import CrystalIds
    from graphdb.targets import TargetTable

    crystals = CrystalIds(intake.ids())
    groups = [origin.target_files, *([file] for file in files)]
    matched: list[tuple[TargetTable, list[Matching]]] = [(origin.targets, [])]
    for group in groups:
        table = TargetTable()
        found = [file.match(crystals, table) for file in group]
        if found:
            matched.append((table, found))
    if names is not None and not any(file.names_used for group in groups for file in group):
        raise SourceError(
            "--target-names names the columns of id_prop.csv, or of a file of targets without header, but there is none"
        )
    return matched


def _order(skip: SkippedCrystal) -> tuple[str, str, str, str]:
    return skip.material_id, skip.reason, skip.where, skip.message


def _columns_of(
    path: Path, material_ids: Sequence[str], digests: Mapping[str, bytes]
) -> "tuple[dict[str, NDArray[np.float64]], dict[str, str]]":
    """The targets of the store that is there, for the new ids.

    Raises:
        StoreError: if it has crystals that the source lacks; they would be lost.
    """
    from graphdb.store import Store
    from graphdb.targets import align

    with Store(path) as store:
        missing = [material_id for material_id in store.material_ids if material_id not in digests]
        if missing:
            raise StoreError(
                f"{path} holds {count(len(missing), 'crystal')} that SOURCE lacks ({shown(missing)}): a store holds "
                "what its source holds; give another STORE, add them to SOURCE, or let --overwrite drop them"
            )
        columns = {}
        for name in store.properties:
            values = store.targets([name])[:, 0]
            columns[name] = align(dict(zip(store.material_ids, values.tolist(), strict=True)), material_ids)
        return columns, {name: entry.unit for name, entry in store.properties.items()}


def _check_outcome(
    path: Path,
    source: Path,
    material_ids: Sequence[str],
    skipped: Sequence[SkippedCrystal],
    forbidden: Sequence[SkippedCrystal],
) -> None:
    listed = f"; {skipped_path(path)} lists why" if skipped or forbidden else ""
    if not material_ids:
        reasons = list(count_reasons(skipped))
        first = f", e.g. {example(skipped, reasons[0])}" if reasons else ""
        raise SourceError(
            f"SOURCE must hold at least one usable crystal, {source} holds none"
            f"{counted(skipped) or ': there is no file of crystals in it'}{first}{listed}"
        )
    if forbidden:
        raise SourceError(
            f"--strict allows nothing to be skipped or noted, got{counted(forbidden).removeprefix(':')}{listed}; "
            "correct or remove them and run again"
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = Parser(
        "graphdb.build",
        "Turn crystals into a store of graphs. Interrupted, the same command goes on; run again with more targets, it "
        "adds them without building any graph again.",
        examples=[
            "my_cifs/ my.lmdb --targets my_targets.csv",
            "crystals.csv.gz my.lmdb",
            "cgcnn_folder/ my.lmdb --target-names band_gap --neighbors cgcnn",
        ],
    )
    parser.add_argument(
        "source", metavar="SOURCE", help="folder of CIF/POSCAR/JSON files, .tar.gz of one, CSV(.gz), JSON(.gz)"
    )
    parser.add_argument("store", metavar="STORE", help="the file to write")
    parser.add_argument("--targets", metavar="CSV", action="append", default=[], help="targets by id; may be repeated")
    parser.add_argument(
        "--target-names",
        metavar="A,B",
        help="names for the columns of CGCNN's id_prop.csv, or of targets without header",
    )
    parser.add_argument(
        "--neighbors", choices=list(KINDS), default=SoftNeighbors.kind, help="cgcnn: the original code's choice"
    )
    parser.add_argument("--num-neighbors", type=int, metavar="N", help="neighbors per atom (default: 12)")
    parser.add_argument(
        "--cutoff", type=float, metavar="A", help="largest distance of a neighbor in Å (default: 20; cgcnn: 8)"
    )
    parser.add_argument(
        "--strict", action="store_true", help="a crystal or file that cannot be used, or with a note, is an error"
    )
    parser.add_argument("--overwrite", action="store_true", help="take nothing over from what is there")
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: one per core)")
    parser.add_argument("--quiet", action="store_true", help="no progress and no summary")
    return run(parser, _build, argv, interrupted="nothing was built yet")


def _build(arguments: argparse.Namespace) -> int:
    if arguments.workers is not None and not 1 <= arguments.workers <= 1024:
        raise ValueError(f"--workers must be in 1 to 1024, got {arguments.workers}")
    if kind := network_file_system(Path(arguments.store).absolute().parent):
        print(
            f"warning: {arguments.store} is on a network file system ({kind}); build on a local disk", file=sys.stderr
        )
    done = 0.0
    with Progress("Building graphs", quiet=arguments.quiet) as progress:

        def report(fraction: float, note: str) -> None:
            nonlocal done
            done = fraction
            progress.update(fraction, note)

        try:
            outcome = build_store(
                arguments.source,
                arguments.store,
                targets=arguments.targets,
                settings=_settings(arguments),
                target_names=split_names(arguments.target_names) if arguments.target_names else None,
                strict=arguments.strict,
                overwrite=arguments.overwrite,
                num_workers=arguments.workers,
                report=report,
            )
        except KeyboardInterrupt as stop:
            kept = " ".join(getattr(stop, "__notes__", [])) or "nothing has to be kept; run the command again"
            stop.args = (f"at {100 * done:.0f} % of SOURCE; {kept}",)
            raise
    if not arguments.quiet:
        print("\n".join(summary(outcome, arguments.source)))
    return 0


def _settings(arguments: argparse.Namespace) -> GraphSettings:

    given = {"num_neighbors": arguments.num_neighbors, "cutoff": arguments.cutoff}
    kind: type[GraphSettings] = KINDS[arguments.neighbors]
    return kind(**{name: value for name, value in given.items() if value is not None})


if __name__ == "__main__":
    sys.exit(main())
