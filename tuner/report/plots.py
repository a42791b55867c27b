"""Pictures: learning curves, importances, parity. matplotlib is loaded when one is drawn, without any display."""

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tuner.report.text_tables import state_word
from tuner.trials.board import Board

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLORS = {"finished": "tab:blue", "stopped": "0.7", "diverged": "tab:red", "failed": "tab:red", "running": "tab:green"}


def plot_curves(curves: Mapping[str, Mapping[int, float]], board: Board, path: Path) -> None:
    """Validation score against epoch for each trial; the best trial stands out."""
    figure = _figure(7, 4.5)
    axes = figure.add_subplot()
    best = board.best()
    seen = set()
    for key, curve in curves.items():
        state = board.trainings[key].state
        is_best = best is not None and key == best.key
        label = f"best: {key}" if is_best else state_word(state)
        axes.plot(
            list(curve),
            list(curve.values()),
            color="black" if is_best else _COLORS.get(state, "tab:green"),
            linewidth=2 if is_best else 1,
            marker="." if len(curve) < 3 else None,
            label=None if label in seen else label,
            zorder=3 if is_best else 2,
        )
        seen.add(label)
    values = np.array([value for curve in curves.values() for value in curve.values()])
    axes.set_ylim(max(0.0, values.min() * 0.9), min(float(np.quantile(values, 0.95)) * 1.1, values.max() * 1.05))
    axes.set(xlabel="epoch", ylabel="validation score (MAE / MAD, mean over tasks)")
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=130)


def plot_importances(importances: Mapping[str, float], path: Path) -> None:
    """A bar for each parameter."""
    figure = _figure(6, 0.6 + 0.35 * len(importances))
    axes = figure.add_subplot()
    axes.barh(list(importances)[::-1], list(importances.values())[::-1])
    axes.set_xlabel("importance")
    figure.savefig(path, dpi=130)


def plot_parity(
    true: NDArray[Any], predicted: NDArray[Any], labels: Sequence[str], maes: Sequence[float], path: Path
) -> None:
    """Predicted against true values, one panel per task.

    Args:
        true: (N, T) in the tasks' units, NaN where unknown.
        predicted: (N, T).
        labels: name and unit of each task.
        maes: mean absolute error of each task.
        path: PNG to write.
    """
    columns = min(3, len(labels))
    rows = -(-len(labels) // columns)
    figure = _figure(4 * columns, 3.8 * rows)
    for task, label in enumerate(labels):
        known = ~np.isnan(true[:, task])
        axes = figure.add_subplot(rows, columns, task + 1)
        axes.plot(true[known, task], predicted[known, task], ".", markersize=3, alpha=0.5)
        both = np.concatenate([true[known, task], predicted[known, task]])
        if len(both):
            axes.plot([both.min(), both.max()], [both.min(), both.max()], color="black", linewidth=0.8)
        axes.set(xlabel=f"true {label}", ylabel="predicted", title=f"MAE {maes[task]:.3g}")
    figure.savefig(path, dpi=130)


def _figure(width: float, height: float) -> "Figure":
    _load_matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _load_matplotlib() -> None:
    """Import it with a cache of fonts in a temporary folder, where MPLCONFIGDIR names none: it would write into HOME.

    What it reads and writes there, it does when it is imported. So a configuration of the user changes no picture. The
    list of fonts that other programs have left in HOME is taken: to look for fonts takes half of a report's time.
    """
    if "matplotlib" in sys.modules or "MPLCONFIGDIR" in os.environ:
        return
    with tempfile.TemporaryDirectory(prefix="crystune-matplotlib-") as folder:
        os.environ["MPLCONFIGDIR"] = folder
        with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: a user without a home
            for known in (Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "matplotlib").glob(
                "font*"
            ):
                shutil.copy(known, folder)
        try:
            import matplotlib.font_manager

            matplotlib.get_configdir()  # remembered, like the folder of the cache
        finally:
            del os.environ["MPLCONFIGDIR"]
