"""When a trial is stopped: one file for each rule."""

from collections.abc import Mapping

from tuner.trials.stopping.asha import Asha, AshaSettings
from tuner.trials.stopping.base import StoppingRule
from tuner.trials.stopping.none import NoStopping


def make_rule(asha: Mapping[str, int] | None, max_epochs: int) -> StoppingRule:
    """The rule of a search.

    Args:
        asha: fields of `AshaSettings`; None where no trial is stopped.
        max_epochs: of a trial that nothing stops.
    """
    return NoStopping() if asha is None else Asha(AshaSettings(**asha), max_epochs)
