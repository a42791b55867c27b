"""Learning curves for simulated searches: real ones, shifted by what the parameters are made up to be worth."""

import math
import random
from collections.abc import Mapping
from typing import Any

from tuner.protocol import TrainingSpec
from tuner.seeds import derived_seed

TASKS = ("a", "b", "c")
REAL_CURVES = tuple(
    tuple(map(float, scores.split()))
    for scores in (
        "1.18 .443 .442 .312 .306 .31 .302 .307 .283 .274 .284 .241 .247 .233 .226 .224 .219 .22",
        ".384 .32 .321 .242 .25 .236 .243 .231 .241 .208 .19 .192 .179 .172 .168 .163 .163 .162",
        ".396 .282 .261 .284 .253 .215 .221 .215 .229 .199 .192 .184 .171 .164 .159 .155 .154 .154",
        ".379 .312 .305 .276 .245 .231 .231 .253 .233 .212 .198 .194 .178 .176 .168 .159 .159 .16",
    )
)
"""Scores by epoch of the trials that ran to their end in the search of mp-e4 (table5 on mp29k)."""


class Curves:
    """What trainings would report: a floor and a pace that the parameters decide, and noise."""

    def __init__(self, epoch_seconds: float, seed: int, *, diverging: float = 0.4) -> None:
        """Mean seconds of an epoch on a node of speed 1; share of the trials that diverge at high learning rates."""
        self._diverging = diverging
        self._epoch_seconds = epoch_seconds
        self._seed = seed

    def floor(self, params: Mapping[str, Any]) -> float:
        """What a long training would reach; the best of the space is 0.2."""
        rate, decay = float(params["learning_rate"]), float(params["weight_decay"])
        weights = [float(params[f"loss_weight.{task}"]) for task in TASKS]
        uneven = sum(abs(math.log(weight * 3 / sum(weights))) for weight in weights)
        return (
            0.2
            + 0.08 * abs(math.log10(rate) + 2.4)
            + 0.02 * abs(int(params["num_convs"]) - 4)
            + 0.03 * abs(math.log2(int(params["atom_dim"]) / 96))
            + 0.02 * abs(math.log2(int(params["head_dim"]) / 80))
            + 0.01 * abs(int(params["num_head_layers"]) - 2)
            + (0.01 if decay == 0.0 else 0.03 if decay > 1e-5 else 0.0)
            + 0.03 * uneven
        )

    def _shape(self, rate: float, luck: random.Random, epoch: int) -> float:
        """A real curve's distance from its end; other learning rates than the best stretch it."""
        curve = luck.choice(REAL_CURVES)
        return curve[max(0, round((epoch - 1) / (1 + 0.5 * abs(math.log10(rate) + 1.8))))] - curve[-1]

    def score(self, spec: TrainingSpec, epoch: int) -> float | None:
        """Score of an epoch; None for a training that diverges there."""
        rate = float(spec.params["learning_rate"])
        luck = random.Random(derived_seed(self._seed, spec.seed, "luck"))
        if rate >= 0.05 and luck.random() < self._diverging and epoch >= luck.randrange(1, 6):
            return None
        noise = random.Random(derived_seed(self._seed, spec.seed, epoch)).gauss(0, 0.01)
        return max(0.1, self.floor(spec.params) + self._shape(rate, luck, epoch) + noise + luck.gauss(0, 0.01))

    def fails(self, spec: TrainingSpec, epoch: int) -> bool:
        """Whether the training raises an exception in this epoch, each time."""
        return random.Random(derived_seed(self._seed, spec.seed, "fails")).random() < 0.003 and epoch == 2

    def seconds(self, spec: TrainingSpec, epoch: int, speed: float) -> float:
        """Duration of an epoch: bigger networks take longer."""
        size = (0.5 + 0.2 * int(spec.params["num_convs"])) * (0.6 + int(spec.params["atom_dim"]) / 150)
        noise = random.Random(derived_seed(self._seed, spec.seed, epoch, "seconds")).lognormvariate(0, 0.1)
        return self._epoch_seconds * size * noise / speed
