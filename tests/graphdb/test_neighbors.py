"""The crystal graph: against a plain loop over images, and the same however the crystal is written down."""

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from graphdb.errors import Unusable
from graphdb.graph import CrystalGraph
from graphdb.graphsettings import KINDS, GraphSettings, HardNeighbors, SoftNeighbors
from graphdb.neighbors import build_graph

Crystal = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]
"""Atomic numbers, cell (rows, Å), fractional coordinates."""
UNMERGED = SoftNeighbors(merge_tolerance=0.0)
FCC = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
DIAGONAL = np.array([[0, 0, 0], [0.25, 0.25, 0.25]])


def random_crystal(seed: int, atoms: int = 7) -> Crystal:
    """A triclinic cell without symmetry, its atoms at least 1.2 Å apart."""
    rng = np.random.default_rng(seed)
    length = (14.0 * atoms) ** (1 / 3)
    cell = length * (np.eye(3) + rng.uniform(-0.25, 0.25, (3, 3)))
    grid = np.array(list(itertools.product(range(3), repeat=3)))[rng.permutation(27)[:atoms]]
    frac = (grid + rng.uniform(-0.12, 0.12, (atoms, 3))) / 3
    return rng.integers(1, 90, atoms), cell, frac


CRYSTALS: dict[str, Crystal] = {
    "one atom, primitive fcc": (
        np.array([13]),
        4.05 * np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]),
        FCC[:1],
    ),
    "one atom, simple cubic": (np.array([84]), 3.35 * np.eye(3), np.zeros((1, 3))),
    "rock salt": (np.repeat([11, 17], 4), 5.64 * np.eye(3), np.concatenate([FCC, FCC + 0.5])),
    "diamond": (np.array([6, 6]), 3.57 * np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]), DIAGONAL),
    "perovskite": (np.array([38, 22, 8, 8, 8]), 3.9 * np.eye(3), np.array([[0.5] * 3, [0] * 3, *(np.eye(3) / 2)])),
    "hexagonal": (
        np.array([12, 12]),
        np.array([[3.2, 0, 0], [-1.6, 1.6 * math.sqrt(3), 0], [0, 0, 5.2]]),
        np.array([[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]]),
    ),
    "skewed": (
        np.array([30, 8]),
        np.array([[4.0, 0, 0], [11.0, 3.5, 0], [-9.0, 8.0, 3.8]]),
        np.array([[0] * 3, [0.5] * 3]),
    ),
    "slab": (np.array([6, 6]), np.diag([2.5, 4.3, 30.0]), np.array([[0, 0, 0], [0.5, 0.3, 0]])),
    "random 1": random_crystal(1),
    "random 2": random_crystal(2, atoms=3),
    "random 3": random_crystal(3, atoms=16),
}
every_crystal = pytest.mark.parametrize("crystal", CRYSTALS.values(), ids=CRYSTALS.keys())


def neighbors_by_loop(crystal: Crystal, k: int = 12, width: float = 0.03) -> list[list[tuple[int, float, float]]]:
    """Sender, distance and weight of each neighbor, by looking at every image and bisecting for the reach."""
    _, cell, frac = crystal
    radius = 12.6
    spans = [
        math.ceil(radius / (abs(np.linalg.det(cell)) / np.linalg.norm(np.cross(cell[i - 2], cell[i - 1])))) + 1
        for i in range(3)
    ]
    images = np.array(list(itertools.product(*(range(-n, n + 1) for n in spans))))
    result = []
    for i in range(len(frac)):
        found = []
        for j in range(len(frac)):
            lengths = np.linalg.norm((frac[j] - frac[i] + images) @ cell, axis=1)
            found += [(j, float(d)) for d in lengths[(lengths > 1e-6) & (lengths < radius)]]
        distance = np.array([d for _, d in found])
        assert len(distance) > k, "the loop must look farther"
        low, high = 0.0, radius
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (low, middle) if np.clip((middle - distance) / width, 0, 1).sum() >= k else (middle, high)
        weights = np.clip((high - distance) / width, 0, 1)
        result.append([(j, d, float(w)) for (j, d), w in zip(found, weights, strict=True) if w > 1e-9])
    return result


def edges_of(graph: CrystalGraph) -> list[list[tuple[int, float, float]]]:
    stops = np.cumsum(graph.neighbor_count)
    columns = [graph.neighbor_index.tolist(), graph.neighbor_distance.tolist(), graph.neighbor_weight.tolist()]
    edges = list(zip(*columns, strict=True))
    return [edges[stop - count : stop] for stop, count in zip(stops, graph.neighbor_count, strict=True)]


def assert_same_graph(graph: CrystalGraph, other: CrystalGraph, copies: int = 1) -> None:
    """`other` is the graph of `copies` cells of the crystal of `graph`."""
    assert other.num_atoms == copies * graph.num_atoms
    assert other.atomic_numbers.tolist() == graph.atomic_numbers.tolist()
    assert other.multiplicity.tolist() == (copies * graph.multiplicity).tolist()
    assert other.neighbor_count.tolist() == graph.neighbor_count.tolist()
    assert other.neighbor_index.tolist() == graph.neighbor_index.tolist()
    np.testing.assert_allclose(other.neighbor_distance, graph.neighbor_distance, atol=2e-6)
    np.testing.assert_allclose(other.neighbor_weight, graph.neighbor_weight, atol=2e-5)


def supercell(crystal: Crystal, repeats: tuple[int, int, int]) -> Crystal:
    numbers, cell, frac = crystal
    shifts = np.array(list(itertools.product(*map(range, repeats))))
    return (
        np.repeat(numbers, len(shifts)),
        cell * np.array(repeats)[:, None],
        ((frac[:, None] + shifts) / np.array(repeats)).reshape(-1, 3),
    )


def unimodular(rng: np.random.Generator) -> NDArray[np.int64]:
    """A matrix of integers and determinant 1 or -1: another cell of the same lattice."""
    matrix = np.eye(3, dtype=np.int64)[rng.permutation(3)]
    for _ in range(4):
        i, j = rng.permutation(3)[:2]
        matrix[i] += rng.integers(-1, 2) * matrix[j]
    return matrix


def rotated(crystal: Crystal, rng: np.random.Generator) -> Crystal:
    matrix, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return crystal[0], crystal[1] @ matrix, crystal[2]


def translated(crystal: Crystal, rng: np.random.Generator) -> Crystal:
    return crystal[0], crystal[1], crystal[2] + rng.uniform(-3, 3, 3)


def permuted(crystal: Crystal, rng: np.random.Generator) -> Crystal:
    order = rng.permutation(len(crystal[0]))
    return crystal[0][order], crystal[1], crystal[2][order]


def in_another_cell(crystal: Crystal, rng: np.random.Generator) -> Crystal:
    matrix = unimodular(rng)
    frac = crystal[2] @ np.linalg.inv(matrix)
    return crystal[0], matrix @ crystal[1], frac + rng.integers(-2, 3, frac.shape)


@every_crystal
def test_neighbors_and_weights_are_those_of_a_plain_loop_over_images(crystal: Crystal) -> None:
    graph = build_graph(*crystal, UNMERGED)
    assert graph.atomic_numbers.tolist() == crystal[0].tolist()
    for mine, theirs in zip(edges_of(graph), neighbors_by_loop(crystal), strict=True):
        assert Counter(j for j, _, w in mine if w > 1e-6) == Counter(j for j, _, w in theirs if w > 1e-6)
        expected = np.array(sorted((j, round(d, 4), w) for j, d, w in theirs if w > 1e-6))
        found = np.array(sorted((j, round(d, 4), w) for j, d, w in mine if w > 1e-6))
        np.testing.assert_allclose(found, expected, atol=2e-4)


@every_crystal
@pytest.mark.parametrize("settings", [SoftNeighbors(), UNMERGED, SoftNeighbors(num_neighbors=5, shell_width=0.4)])
def test_weights_of_every_node_add_up(crystal: Crystal, settings: GraphSettings) -> None:
    graph = build_graph(*crystal, settings)
    assert (graph.neighbor_weight > 0).all()
    assert (graph.neighbor_count > 0).all()
    assert graph.multiplicity.sum() == graph.num_atoms == len(crystal[0])
    sums = [sum(w for _, _, w in edges) for edges in edges_of(graph)]
    np.testing.assert_allclose(sums, settings.num_neighbors, rtol=1e-6)


@every_crystal
def test_merged_edges_add_up_to_the_unmerged_ones(crystal: Crystal) -> None:
    merged, plain = build_graph(*crystal, SoftNeighbors()), build_graph(*crystal, UNMERGED)

    def table(graph: CrystalGraph) -> dict[tuple[int, int, float], float]:
        """Weight of all bonds between two elements at a distance."""
        sums: dict[tuple[int, int, float], float] = defaultdict(float)
        for number, count, edges in zip(graph.atomic_numbers, graph.multiplicity, edges_of(graph), strict=True):
            for j, d, w in edges:
                sums[int(number), int(graph.atomic_numbers[j]), round(d, 3)] += int(count) * w
        return {key: value for key, value in sums.items() if value > 1e-5}

    assert table(merged) == pytest.approx(table(plain), rel=1e-5)
    assert len(merged.neighbor_index) <= len(plain.neighbor_index)


@pytest.mark.parametrize(("name", "nodes"), [("rock salt", 2), ("diamond", 1), ("perovskite", 3), ("hexagonal", 1)])
def test_equivalent_atoms_share_a_node(name: str, nodes: int) -> None:
    assert len(build_graph(*CRYSTALS[name], SoftNeighbors()).atomic_numbers) == nodes


def test_equal_elements_in_different_surroundings_keep_their_own_nodes() -> None:
    chain = (np.array([6, 6, 6]), np.diag([9.0, 3.0, 3.0]), np.array([[0, 0, 0], [0.2, 0, 0], [0.5, 0, 0]]))
    assert len(build_graph(*chain, SoftNeighbors()).atomic_numbers) == 3


@every_crystal
@pytest.mark.parametrize("rewrite", [rotated, translated, permuted, in_another_cell])
def test_graph_does_not_change_with_how_the_crystal_is_written_down(
    crystal: Crystal, rewrite: Callable[[Crystal, np.random.Generator], Crystal]
) -> None:
    graph = build_graph(*crystal, SoftNeighbors())
    for seed in range(3):
        assert_same_graph(graph, build_graph(*rewrite(crystal, np.random.default_rng(seed)), SoftNeighbors()))


@every_crystal
@pytest.mark.parametrize("repeats", [(2, 1, 1), (1, 3, 1), (2, 2, 2)])
def test_supercell_is_the_same_graph_with_larger_multiplicities(
    crystal: Crystal, repeats: tuple[int, int, int]
) -> None:
    graph = build_graph(*crystal, SoftNeighbors())
    assert_same_graph(graph, build_graph(*supercell(crystal, repeats), SoftNeighbors()), copies=math.prod(repeats))


@every_crystal
def test_weights_are_continuous_in_the_positions(crystal: Crystal) -> None:
    step = 1e-6
    if len(crystal[0]) == 1:
        crystal = supercell(crystal, (2, 1, 1))
    moved = crystal[2].copy()
    moved[0] += np.array([0.6, -0.64, 0.48]) @ np.linalg.inv(crystal[1]) * step

    def weights(frac: NDArray[np.float64]) -> dict[tuple[int, int], float]:
        sums: dict[tuple[int, int], float] = defaultdict(float)
        graph = build_graph(crystal[0], crystal[1], frac, UNMERGED)
        for i, edges in enumerate(edges_of(graph)):
            for j, _, w in edges:
                sums[i, j] += w
        return sums

    before, after = weights(crystal[2]), weights(moved)
    largest = max(abs(before[pair] - after[pair]) for pair in before.keys() | after.keys())
    assert largest <= 12 * 2 * step / UNMERGED.shell_width + 1e-5  # 12 bonds between two atoms at most, and float32


def test_isolated_atoms_find_their_neighbors_up_to_the_cutoff_and_are_refused_beyond() -> None:
    def alone(length: float) -> CrystalGraph:
        return build_graph(np.array([18]), length * np.eye(3), np.zeros((1, 3)), SoftNeighbors())

    np.testing.assert_allclose(sorted(alone(14.0).neighbor_distance), [14.0, 14.0 * math.sqrt(2)], rtol=1e-6)
    for length in (14.149, 15.0, 40.0):  # the first has its 12th neighbor within the width beyond the cutoff
        with pytest.raises(Unusable, match=r"12 neighbors within 20.0 Å, atom 0 .* has [06]$") as caught:
            alone(length)
        assert caught.value.reason == "too sparse"


def test_larger_cutoff_admits_sparser_crystals() -> None:
    graph = build_graph(np.array([18]), 15 * np.eye(3), np.zeros((1, 3)), SoftNeighbors(cutoff=22.0))
    assert graph.neighbor_weight.sum() == pytest.approx(12)


def original_choice(crystal: Crystal, radius: float = 8.0) -> tuple[list[list[int]], list[list[float]]]:
    """CGCNN's recipe in plain words: all neighbors within the radius, by distance, the first 12, filled up."""
    from pymatgen.core.lattice import Lattice
    from pymatgen.core.structure import Structure

    structure = Structure(Lattice(crystal[1]), crystal[0].tolist(), crystal[2])
    indices, distances = [], []
    for neighbors in structure.get_all_neighbors(radius, include_index=True):
        nearest = sorted(neighbors, key=lambda neighbor: neighbor[1])[:12]
        missing = 12 - len(nearest)
        indices.append([int(neighbor[2]) for neighbor in nearest] + [0] * missing)
        distances.append([float(neighbor[1]) for neighbor in nearest] + [radius + 1.0] * missing)
    return indices, distances


@pytest.mark.parametrize("name", ["random 1", "random 2", "random 3", "sparse", "rock salt", "hexagonal"])
def test_rule_cgcnn_is_the_original_recipe(name: str) -> None:
    sparse: Crystal = (np.array([3, 9]), np.diag([5.0, 9.5, 9.0]), np.array([[0, 0, 0], [0.4, 0.31, 0.27]]))
    crystal = sparse if name == "sparse" else CRYSTALS[name]
    indices, distances = original_choice(crystal)
    graph = build_graph(*crystal, HardNeighbors())
    np.testing.assert_allclose(graph.neighbor_distance.reshape(-1, 12), distances, rtol=1e-6)
    if name in ("random 1", "random 2", "random 3"):  # elsewhere rounding decides among equal distances
        assert graph.neighbor_index.reshape(-1, 12).tolist() == indices
    if name == "sparse":
        assert (graph.neighbor_distance == 9.0).any()
    assert graph.neighbor_weight.tolist() == [1.0] * 12 * len(crystal[0])


CUBE = 4.0 * np.eye(3)
REFUSED: list[tuple[str, Any, Any, Any, str]] = [
    ("no atoms", [], CUBE, np.zeros((0, 3)), "at least one atom"),
    ("element without features", [101], CUBE, np.zeros((1, 3)), "1 to 100, got .101"),
    ("element without features", [0], CUBE, np.zeros((1, 3)), "1 to 100, got .0"),
    ("invalid cell", [1], np.diag([4.0, 4.0, 0.0]), np.zeros((1, 3)), "volume"),
    ("invalid cell", [1], np.full((3, 3), np.nan), np.zeros((1, 3)), "finite"),
    ("invalid cell", [1], np.eye(2), np.zeros((1, 3)), "three finite vectors"),
    ("invalid cell", [1], CUBE, [[np.inf, 0, 0]], "finite coordinates"),
    ("invalid cell", [1, 1], CUBE, np.zeros((1, 3)), "three finite coordinates"),
    ("coinciding atoms", [1, 8], CUBE, np.zeros((2, 3)), "0.000 Å between atoms"),
    ("coinciding atoms", [1, 8], CUBE, [[0, 0, 0], [1, 0, 0]], "0.000 Å"),
    ("coinciding atoms", [1, 8], CUBE, [[0, 0, 0], [0.99, 0, 0]], "0.040 Å"),
    ("coinciding atoms", [1], np.diag([0.4, 4.0, 4.0]), np.zeros((1, 3)), "0.400 Å between atoms 0 and 0"),
]


@pytest.mark.parametrize(("reason", "numbers", "cell", "frac", "message"), REFUSED, ids=lambda value: str(value)[:24])
@pytest.mark.parametrize("neighbors", ["shell", "cgcnn"])
def test_unusable_crystals_are_refused_with_their_reason(
    reason: str, numbers: Any, cell: Any, frac: Any, message: str, neighbors: Any
) -> None:
    with pytest.raises(Unusable, match=message) as caught:
        build_graph(np.array(numbers), np.array(cell), np.array(frac), KINDS[neighbors]())
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("atoms", "message"), [(4_000, r"below 10,000,000 bonds \(4000 atoms"), (20_000, "got 20,000")]
)
def test_graph_that_is_too_large_is_refused_before_memory_runs_out(atoms: int, message: str) -> None:
    frac = np.random.default_rng(0).uniform(size=(atoms, 3))
    with pytest.raises(Unusable, match=message) as caught:
        build_graph(np.ones(atoms), CUBE, frac, HardNeighbors())
    assert caught.value.reason == "too large"
