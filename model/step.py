"""One step of training: loss, gradient, Adam. Nothing in it waits for a GPU, so that the next one can be prepared."""

from typing import Literal

import torch
from torch import Tensor

from graphdb.batch import GraphBatch
from graphdb.shapes import Bool, Float
from model.network import MTCGCNN
from model.train_config import TrainConfig

_ROUNDING = 1e-5
"""Of scaled targets."""


class TrainingStep:
    """Adam on a network, batch by batch."""

    def __init__(self, model: MTCGCNN, config: TrainConfig) -> None:
        """Nothing trained yet.

        Args:
            model: on the device it is trained on, in training mode when called.
            config: what is minimised, and how.

        Raises:
            ValueError: for loss weights that are not one per task.
        """
        num_tasks = len(model.tasks)
        if config.loss_weights is not None and len(config.loss_weights) != num_tasks:
            raise ValueError(f"loss_weights must be one per task ({num_tasks}), got {len(config.loss_weights)}")
        device = model.elements.device
        weights = torch.tensor(config.loss_weights or (1.0,) * num_tasks)
        self.model = model
        self.optimizer = _adam(model, config, device)
        self.loss_sum: Float[Tensor, ""] = torch.zeros((), device=device)
        """Sum over batches of loss times crystals, since it was last set to zero."""
        self._config = config
        self._loss_weights = (weights / weights.mean()).to(device)

    def set_rate(self, rate: float) -> None:
        """Choose the largest change of a weight in the next steps."""
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    def __call__(self, batch: GraphBatch, num_crystals: int | Float[Tensor, ""]) -> None:
        """Change the weights once.

        Args:
            batch: on the device of the model.
            num_crystals: of the batch, those that only fill it up left out.
        """
        self.optimizer.zero_grad(set_to_none=True)
        loss = multitask_loss(
            self.model(batch),
            self.model.scaler.scale(batch.target),
            batch.target_mask,
            self._loss_weights,
            self._config.loss,
            huber_delta=self._config.huber_delta,
            floor=self.model.scaler.scaled_floor,
        )
        loss.backward()  # type: ignore[no-untyped-call]
        if self._config.grad_clip is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self._config.grad_clip)
        self.optimizer.step()
        self.loss_sum += loss.detach() * num_crystals


def _adam(model: MTCGCNN, config: TrainConfig, device: torch.device) -> torch.optim.Adam:
    """Adam whose numbers all lie on a GPU: as an argument, the step size would be frozen in a CUDA graph."""
    on_gpu = device.type not in ("cpu", "mps")
    optimizer = torch.optim.Adam(
        model.parameters(),
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        fused=device.type in ("cpu", "cuda"),
        capturable=on_gpu,
    )
    if on_gpu:
        for group in optimizer.param_groups:
            group["lr"] = torch.full((), config.learning_rate, device=device)
    return optimizer


def multitask_loss(
    output: Float[Tensor, "crystals tasks"],
    target: Float[Tensor, "crystals tasks"],
    mask: Bool[Tensor, "crystals tasks"],
    weights: Float[Tensor, " tasks"],
    kind: Literal["mse", "l1", "huber"] = "mse",
    *,
    huber_delta: float = 1.0,
    floor: Float[Tensor, " tasks"] | None = None,
) -> Float[Tensor, ""]:
    """Mean over tasks of weight times mean error over the crystals whose target is known (Eq. 6 and 7, masked).

    Args:
        output: scaled predictions.
        target: scaled; ignored where the mask is False.
        mask: where the target is known.
        weights: of the tasks.
        kind: squared errors, absolute ones, or Huber's.
        huber_delta: error up to which "huber" is squared.
        floor: scaled; a target of this value stands for "this or less". -inf for a task without such targets.

    Returns:
        A number; a task without a known target in the batch adds nothing.

    Source:
        Huber's loss here is twice that of Huber 1964, so that small errors count as in "mse". Censored targets: the
        error that is left, as in Tobin 1958, of a target that says no more than "at most".
    """
    error = (output - target).masked_fill(~mask, 0.0)
    if floor is not None:
        error = torch.where(target <= floor + _ROUNDING, error.clamp(min=0.0), error)
    if kind == "huber":
        size = error.abs()
        error = torch.where(size <= huber_delta, error * error, huber_delta * (2 * size - huber_delta))
    else:
        error = error.abs() if kind == "l1" else error * error
    return (weights * error.sum(0) / mask.sum(0).clamp(min=1)).mean()
