"""From a portion of graphs to the rows of a table of predictions."""

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from graphdb.batch import GraphBatch, collate
from graphdb.errors import Reason
from model.elements import element_symbols
from model.inference import predict
from model.network import MTCGCNN
from model.output import PredictionTable
from model.seen import SeenElements, crystals_with
from model.tally import Tally

if TYPE_CHECKING:
    from graphdb.portions import Portion

_CRYSTALS_AT_ONCE, _NODES_AT_ONCE = 1024, 20_000
"""At most, in a batch for the network; a larger crystal comes alone."""


def rows_of(
    model: MTCGCNN, portion: "Portion", device: torch.device | str, seen: SeenElements | None
) -> tuple[str, Tally]:
    """The rows of a portion, and what they count: predictions and warnings, or errors.

    Args:
        model: in evaluation mode.
        portion: of graphs of the kind that the model was trained on.
        device: of the model.
        seen: the elements that were in training; None if they are not known.
    """
    graphs, num_tasks = portion.graphs, len(model.tasks)
    num_graphs = len(graphs.num_atoms)
    without_vector = ~model.elements.any(dim=1).cpu().numpy()
    strange = crystals_with(without_vector, graphs.atomic_numbers, graphs.atom_ptr)
    unseen = seen.warnings(graphs.atomic_numbers, graphs.atom_ptr) if seen is not None else {}
    usable = np.delete(np.arange(num_graphs), list(strange))
    predictions = iter(predict(model, _batches(portion, usable, num_tasks), device)[0].tolist())
    text = io.StringIO()
    table, tally, crystals = PredictionTable(text, None), Tally(), iter(range(num_graphs))
    for row, material_id in enumerate(portion.material_ids):
        refusal = portion.refusals.get(row)
        crystal = next(crystals) if refusal is None else -1
        error = refusal.message if refusal is not None else _about(strange.get(crystal))
        if refusal is not None and not refusal.is_crystal:
            tally.others += 1
        else:
            tally.read += 1
            tally.failed += bool(error)
        if error:
            table.add(material_id, [None] * num_tasks + ["", error])
            continue
        note, warning = portion.notes.get(row, ""), unseen.get(crystal, "")
        repeat = f"repeated id: {portion.repeats[row]} has a crystal with this id too" if row in portion.repeats else ""
        tally.warned += bool(warning)
        tally.noted += bool(note)
        tally.repeated += bool(repeat)
        table.add(material_id, [*next(predictions), "; ".join(filter(None, (warning, note, repeat))), ""])
    return text.getvalue(), tally


def _about(elements: list[int] | None) -> str:
    """Why there is no prediction, if a crystal has elements that the model has no vectors for."""
    if elements is None:
        return ""
    names = " ".join(element_symbols()[number] for number in elements)
    return f"{Reason.ELEMENT_WITHOUT_FEATURES}: this model knows no {names}"


def _batches(portion: "Portion", rows: NDArray[np.int64], num_tasks: int) -> Iterator[GraphBatch]:
    """The graphs at these positions, in batches whose bounds depend on the graphs alone."""
    graphs = portion.graphs
    unknown = np.full((len(graphs.num_atoms), num_tasks), np.nan, np.float32)
    start = nodes = 0
    for stop, more in enumerate(np.diff(graphs.atom_ptr)[rows].tolist()):
        if stop > start and (stop - start == _CRYSTALS_AT_ONCE or nodes + more > _NODES_AT_ONCE):
            yield collate(graphs, rows[start:stop], unknown)
            start, nodes = stop, 0
        nodes += more
    if start < len(rows):
        yield collate(graphs, rows[start:], unknown)
