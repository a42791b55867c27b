"""A running average of a network's weights, which is often a little better than the last ones."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor

from model.network import MTCGCNN
from model.train_config import TrainConfig


class Average:
    """Follows a network that is trained, from some point of the training on.

    Source:
        Polyak and Juditsky 1992; of batch statistics as well, which then need no pass over the data.
    """

    def __init__(self, model: MTCGCNN, config: TrainConfig) -> None:
        """Nothing averaged yet.

        Args:
            model: that is trained.
            config: its `average` and `average_from`.
        """
        self._source, self._config = model, config
        self.model = copy.deepcopy(model)
        """The average, once it has begun."""
        self.begun = False

    @torch.no_grad()
    def update(self, progress: float) -> None:
        """Take the weights after a step in, when this share of all steps is done."""
        if progress < self._config.average_from:
            return
        if not self.begun:
            self.model.load_state_dict(self._source.state_dict())
            self.begun = True
            return
        torch._foreach_lerp_(_changing(self.model), _changing(self._source), 1 - self._config.average)

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from `model.state_dict()` of before, or from nothing if it had not begun."""
        self.begun = bool(tensors)
        if tensors:
            self.model.load_state_dict(dict(tensors))


def _changing(model: MTCGCNN) -> list[Tensor]:
    """What training changes: the weights, and the running statistics."""
    statistics = [buffer for name, buffer in model.named_buffers() if ".running_" in name]
    return [*model.parameters(), *statistics]
