"""When a trial is stopped: one file for each rule."""

from collections.abc import Mapping
from typing import Any

from tuner.errors import SearchError
from tuner.trials.stopping.asha import Asha
from tuner.trials.stopping.base import StoppingRule
from tuner.trials.stopping.none import NoStopping

RULES: Mapping[str, type[StoppingRule]] = {rule.name: rule for rule in (Asha, NoStopping)}
SECTIONS = {name: rule.options for name, rule in RULES.items() if rule.options}
"""Sections of a search space for those rules that have something to set."""


def make_rule(settings: Mapping[str, Any], max_epochs: int) -> StoppingRule:
    """The rule of a search.

    Args:
        settings: name of the ``rule``, and its resolved options.
        max_epochs: of a trial that nothing stops.

    Raises:
        SearchError: if there is no such rule, or it has no such options.
    """
    options = dict(settings)
    rule = RULES.get(options.pop("rule", ""))
    if rule is None or not options.keys() <= rule.options.keys():
        raise SearchError(f"the rule that stops trials must be one of {', '.join(RULES)}, got {dict(settings)!r}")
    return rule(max_epochs=max_epochs, **options)
