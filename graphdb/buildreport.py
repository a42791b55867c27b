"""What a build did, as a report, as a summary for a person, and as the CSV beside the store."""

import csv
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from graphdb.command import count, invocation
from graphdb.errors import Reason, SkippedCrystal
from graphdb.files import skipped_path
from graphdb.matching import shown
from graphdb.progress import duration_text

if TYPE_CHECKING:
    from graphdb.store import Property
    from graphdb.targetfile import Matching

_MAX_LISTED_ROWS = 20
_MAX_SHOWN_COLUMNS = 8


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
    """crystals and files of the source that could not be used, sorted by id"""
    notes: list[SkippedCrystal]
    """what there is to be said of crystals in the store, sorted by id"""
    target_notes: list[SkippedCrystal]
    """cells and rows of targets that could not be used"""
    matchings: "list[Matching]"
    """how the rows of each file of targets found their crystals"""
    without_row: dict[str, int]
    """crystals of the store that have no row in a file of targets, by its name"""
    left_out: dict[str, str]
    """columns that are no targets, each with what it holds instead of numbers"""
    properties: "dict[str, Property]"
    """targets, by name"""
    fingerprint: str
    """of the store"""
    seconds: float
    """of this run"""


def summary(report: BuildReport, source: str) -> Iterator[str]:
    """Lines for a person.

    Args:
        report: of the build.
        source: as the user gave it.
    """
    size = report.path.stat().st_size
    num_skipped = f", {len(report.skipped):,} skipped" if report.skipped else ""
    yield (
        f"{count(report.num_crystals, 'crystal')} ({report.num_built:,} built now{num_skipped}) of "
        f"{count(report.num_atoms, 'atom')} in {duration_text(report.seconds)}: {report.path}, {size / 1e6:.1f} MB, "
        f"{size / report.num_atoms:.0f} bytes an atom"
    )
    for name, entry in report.properties.items():
        unit = entry.unit if entry.unit != "1" else ""
        span = f"{entry.minimum:.4g} to {entry.maximum:.4g} {unit}".rstrip()
        known = f"{entry.count:,} known, {span}, mean {entry.mean:.4g}" if entry.count else "nothing known"
        yield f"  {name}: {known}"
    if report.left_out:
        yield f"  left out: {columns_text(report.left_out)}"
    yield from _matching_lines(report)
    yield f"Fingerprint: {report.fingerprint}"
    listed = f"(listed in {skipped_path(report.path)})"
    if report.skipped:
        yield f"Skipped {len(report.skipped):,} {listed}:"
        yield from _reason_lines(report.skipped)
    if report.notes:
        yield f"{count(len(report.notes), 'note')} on crystals that are in the store {listed}:"
        yield from _reason_lines(report.notes)
    if report.target_notes:
        yield f"{count(len(report.target_notes), 'note')} on targets; their crystals are in the store {listed}:"
        yield from _reason_lines(report.target_notes)
    store = shlex.quote(str(report.path))
    if report.properties:
        yield f"Next: {invocation('tuner.search')} --space table5 --store {store}"
    else:
        build = f"{invocation('graphdb.build')} {shlex.quote(source)} {store}"
        yield f"Next: {build} --targets CSV adds targets, without which there is nothing to train on"


def _matching_lines(report: BuildReport) -> Iterator[str]:
    for matching in report.matchings:
        yield from (f"{matching.name}: {remark}" for remark in matching.remarks)
        if matching.unmatched:
            rows = count(len(matching.unmatched), "row")
            are = "is for a crystal that is" if len(matching.unmatched) == 1 else "are for crystals that are"
            yield f"{rows} of {matching.name} {are} not in SOURCE ({shown(matching.unmatched)})"
    for name, num in report.without_row.items():
        if num:
            yield f"{count(num, 'crystal has', 'crystals have')} no row in {name}"


def _reason_lines(skipped: Sequence[SkippedCrystal]) -> Iterator[str]:
    for reason, num in count_reasons(skipped).items():
        yield f"  {num:,} {reason}, e.g. {example(skipped, reason)}"


def unmatched_rows(matchings: "Iterable[Matching]") -> list[SkippedCrystal]:
    """Rows of targets for crystals that the source lacks; of many, the first ones and their number."""
    rows = []
    for matching in matchings:
        for material_id in matching.unmatched[:_MAX_LISTED_ROWS]:
            message = "targets for a crystal that is not in SOURCE"
            rows.append(SkippedCrystal(material_id, Reason.TARGET_WITHOUT_CRYSTAL, message, matching.name))
        if more := len(matching.unmatched[_MAX_LISTED_ROWS:]):
            message = f"{count(more, 'more row is', 'more rows are')} for crystals that are not in SOURCE"
            rows.append(SkippedCrystal("", Reason.TARGET_WITHOUT_CRYSTAL, message, matching.name))
    return rows


def write_skipped(path: Path, skipped: Sequence[SkippedCrystal]) -> None:
    """Write the list of what was skipped; without any, the file goes, so that no old one misleads."""
    if not skipped:
        path.unlink(missing_ok=True)
        return
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", newline="", encoding="utf-8", errors="replace") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["material_id", "reason", "message", "where"])
        writer.writerows([skip.material_id, skip.reason, skip.message, skip.where] for skip in skipped)
    os.replace(temporary, path)


def count_reasons(skipped: Sequence[SkippedCrystal]) -> dict[str, int]:
    """How often each reason occurs, the most frequent first."""
    counts: dict[str, int] = {}
    for skip in skipped:
        counts[skip.reason] = counts.get(skip.reason, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def counted(skipped: Sequence[SkippedCrystal]) -> str:
    """The reasons with their counts, after a colon; empty without any."""
    counts = count_reasons(skipped)
    return ": " + ", ".join(f"{num:,} {reason}" for reason, num in counts.items()) if counts else ""


def example(skipped: Sequence[SkippedCrystal], reason: str) -> str:
    """One that was skipped for a reason, and why; rather one of which is known what it is."""
    those = [skip for skip in skipped if skip.reason == reason]
    skip = next((skip for skip in those if skip.message.startswith("it ")), those[0])
    return f"{skip.material_id or skip.where}: {skip.message}"


def columns_text(left_out: Mapping[str, str]) -> str:
    """Columns with why they are no targets, those with the same reason together."""
    by_reason: dict[str, list[str]] = {}
    for name, why in left_out.items():
        by_reason.setdefault(why.partition(", such as")[0], []).append(name)
    texts = []
    for why, names in by_reason.items():
        more = f" and {len(names) - _MAX_SHOWN_COLUMNS} more" if len(names) > _MAX_SHOWN_COLUMNS else ""
        kind = "column" if len(names) == 1 else "columns"
        detail = left_out[names[0]] if len(names) == 1 else why
        texts.append(f"{kind} {', '.join(names[:_MAX_SHOWN_COLUMNS])}{more} ({detail})")
    return "; ".join(texts)
