"""How a network is trained: the settings that a user, a TOML file or a search chooses."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from graphdb.records import read_record


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """How a network is trained."""

    learning_rate: float = 0.005
    """Largest step of Adam."""
    weight_decay: float = 0.0
    """L2 term, added to the gradient (Adam, not AdamW)."""
    batch_size: int = 128
    """Crystals; the loaders are made with it."""
    epochs: int = 100
    """Of the whole run; the schedule ends there."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """"cosine": rise over the warmup, then fall along half a cosine to 1/1000 of the largest step."""
    warmup: float = 0.05
    """Share of all steps during which the step size rises from 0."""
    loss: Literal["mse", "l1", "huber"] = "mse"
    """Of scaled targets: squared errors (Eq. 7); absolute ones, which is what the reported MAE measures; or "huber",
    squared up to `huber_delta` and absolute beyond it."""
    huber_delta: float = 0.3
    """In standard deviations of the task."""
    censored: bool = False
    """Targets of 0 of a task that is never negative and often 0, such as a band gap, stand for "0 or less": predictions
    below 0 are no error there, and become 0 in the end."""
    average: float = 0.0
    """Share of the weights so far in their running average, per step (0.998 is usual); 0 keeps the last weights."""
    average_from: float = 0.5
    """Share of all steps after which averaging begins."""
    loss_weights: tuple[float, ...] | None = None
    """One weight per task (Eq. 6); all 1 when None. Divided by their mean, so that they do not act on the step size."""
    grad_clip: float | None = 1.0
    """Largest norm of the gradient; None leaves it alone."""
    patience: int | None = None
    """Epochs without a better validation score after which training ends; None goes on to `epochs`."""
    seed: int = 0
    """Of the initial weights; the loader has its own."""

    def __post_init__(self) -> None:
        def check(name: str, rule: Callable[[Any], bool], text: str) -> None:
            value = getattr(self, name)
            try:
                holds = rule(value)
            except (TypeError, ValueError):  # a value of another type
                holds = False
            if not holds:
                raise ValueError(f"{name} must be {text}, got {value!r}")

        check("learning_rate", lambda x: 0 < x <= 10, "above 0 and at most 10")
        check("weight_decay", lambda x: 0 <= x <= 1, "in 0 to 1")
        check("batch_size", lambda x: isinstance(x, int) and x >= 1, "an integer of at least 1")
        check("epochs", lambda x: isinstance(x, int) and x >= 1, "an integer of at least 1")
        check("schedule", lambda x: x in ("cosine", "constant"), '"cosine" or "constant"')
        check("warmup", lambda x: 0 <= x < 1, "a share in 0 to 1")
        check("loss", lambda x: x in ("mse", "l1", "huber"), '"mse", "l1" or "huber"')
        check("huber_delta", lambda x: 0 < x < math.inf, "above 0")
        check("censored", lambda x: isinstance(x, bool), "true or false")
        check("average", lambda x: 0 <= x < 1, "at least 0 and below 1")
        check("average_from", lambda x: 0 <= x < 1, "at least 0 and below 1")
        check("grad_clip", lambda x: x is None or x > 0, "above 0 or none")
        check("patience", lambda x: x is None or x >= 1, "at least 1 or none")
        check("seed", lambda x: isinstance(x, int) and 0 <= x < 2**63, "an integer of at least 0 and below 2^63")
        if self.loss_weights is not None:
            check(
                "loss_weights",
                lambda x: len(x) > 0 and all(0 < float(weight) < math.inf for weight in x),
                "positive numbers, one per task",
            )
            object.__setattr__(self, "loss_weights", tuple(float(weight) for weight in self.loss_weights))

    def as_dict(self) -> dict[str, Any]:
        """The settings as JSON-able values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The settings that `as_dict` wrote.

        Raises:
            ValueError: for an unknown key or a value out of range.
        """
        return read_record(cls, values, "the training settings")
