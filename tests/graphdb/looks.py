"""What a crystal looks like, in a form that tests can state."""

from collections import Counter

from graphdb.crystal import SYMBOLS, Crystal
from graphdb.graphsettings import SoftNeighbors
from graphdb.neighbors import build_graph


def formula(crystal: Crystal) -> str:
    """All atoms of the cell, 'Cl4 Na4'."""
    counts = Counter(SYMBOLS[number] for number in crystal.atomic_numbers.tolist())
    return " ".join(f"{symbol}{count}" for symbol, count in sorted(counts.items()))


def shortest_distance(crystal: Crystal) -> float:
    """Between two atoms, in Å."""
    graph = build_graph(crystal.atomic_numbers, crystal.lattice, crystal.frac_coords, SoftNeighbors())
    return float(graph.neighbor_distance.min())
