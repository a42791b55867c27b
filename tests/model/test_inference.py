"""Predictions and errors of a network over batches."""

import numpy as np
import pytest

from graphdb.loader import InMemoryGraphs, Loader
from model.inference import choose_device, evaluate, in_order, predict
from model.metrics import task_metrics
from model.network import MTCGCNN, Architecture

SMALL = Architecture(num_convs=1, atom_dim=6, head_dim=5, num_rbf=8)
ROWS = np.array([7, 2, 20, 11, 0])


@pytest.fixture
def model(graphs: InMemoryGraphs) -> MTCGCNN:
    return MTCGCNN(SMALL, graphs.tasks)


def test_predictions_come_in_the_order_of_the_loader(model: MTCGCNN, graphs: InMemoryGraphs) -> None:
    values, index = predict(model, Loader(graphs, ROWS, batch_size=2))
    assert index.tolist() == ROWS.tolist()
    everything, _ = predict(model, Loader(graphs, batch_size=100))
    np.testing.assert_allclose(values, everything[ROWS], rtol=1e-4, atol=1e-5)
    assert predict(model, [])[0].shape == (0, 2)


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_an_evaluation_has_targets_and_predictions_of_the_same_crystals(
    model: MTCGCNN, graphs: InMemoryGraphs, batch_size: int
) -> None:
    found = evaluate(model, Loader(graphs, ROWS, batch_size=batch_size))
    assert found.index.tolist() == ROWS.tolist()
    np.testing.assert_array_equal(found.target, graphs.targets[ROWS])
    assert np.isnan(found.target).any() == np.isnan(graphs.targets[ROWS]).any()
    names = [task.name for task in graphs.tasks]
    expected = task_metrics(found.prediction, graphs.targets[ROWS], model.scaler.mad.numpy(), names)
    assert str(found.metrics) == str(expected)


def test_unknown_device_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^device must be auto or one that is here, got 'abacus'; there are: cpu"):
        choose_device("abacus")


@pytest.mark.parametrize("num_threads", [1, 2, 5])
def test_what_threads_make_comes_in_the_order_of_the_items(num_threads: int) -> None:
    assert list(in_order(lambda number: number * number, range(20), num_threads)) == [n * n for n in range(20)]


def test_what_goes_wrong_in_a_thread_is_raised_and_ends_the_others() -> None:
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        if number == 3:
            raise ValueError("three")
        return number

    with pytest.raises(ValueError, match="three"):
        list(in_order(work, range(100), 2))
    assert len(begun) < 20
