"""From the text of one structure to its graph, or to the reason why there is none; building and predicting go this way.

No failure leaves this file: what is wrong with a text is told by a `SkippedCrystal`.
"""

from collections.abc import Set
from dataclasses import dataclass

from graphdb.crystal import SYMBOLS, Crystal
from graphdb.errors import Reason, SkippedCrystal, Unusable
from graphdb.graph import CrystalGraph
from graphdb.graphsettings import GraphSettings, HardNeighbors
from graphdb.neighbors import build_graph
from graphdb.parse import parse_crystal
from graphdb.rawcrystal import RawCrystal


@dataclass(frozen=True, slots=True)
class Converted:
    """The graph of a text, and what is worth a note about it."""

    graph: CrystalGraph
    notes: tuple[SkippedCrystal, ...]


def to_crystal(raw: RawCrystal) -> Crystal | SkippedCrystal:
    """The atoms in a cell that a text tells of."""
    try:
        return parse_crystal(raw.content, raw.format)
    except Unusable as error:
        return SkippedCrystal(raw.material_id, error.reason, error.message, raw.where)


def to_graph(
    raw: RawCrystal, settings: GraphSettings, *, elements: Set[int] | None = None
) -> Converted | SkippedCrystal:
    """The graph of a text.

    Args:
        raw: the text.
        settings: of the graph.
        elements: atomic numbers that the model knows; None for all.
    """
    try:
        crystal = parse_crystal(raw.content, raw.format, keep_order=isinstance(settings, HardNeighbors))
        if elements is not None and (strange := sorted(set(crystal.atomic_numbers.tolist()) - elements)):
            names = " ".join(SYMBOLS[number] for number in strange)
            raise Unusable(Reason.ELEMENT_WITHOUT_FEATURES, f"this model knows no {names}")
        graph = build_graph(crystal.atomic_numbers, crystal.lattice, crystal.frac_coords, settings)
    except Unusable as error:
        return SkippedCrystal(raw.material_id, error.reason, error.message, raw.where)
    except MemoryError:
        message = "not enough memory for its graph"
        return SkippedCrystal(raw.material_id, Reason.TOO_LARGE, message, raw.where)
    notes = tuple(SkippedCrystal(raw.material_id, note.reason, note.message, raw.where) for note in crystal.notes)
    return Converted(graph, notes)
