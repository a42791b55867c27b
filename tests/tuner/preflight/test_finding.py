"""How findings are made."""

from collections.abc import Iterator

import pytest

from tuner.preflight.finding import Finding, error, fix_for, ok, otherwise


@otherwise("all is well")
def check(*names: str) -> Iterator[Finding]:
    for name in names:
        yield error(name, "must not be", "remove it")


def test_a_check_that_finds_nothing_says_what_holds() -> None:
    assert check() == [ok("all is well")]
    assert check("a", "b") == [error("a", "must not be", "remove it"), error("b", "must not be", "remove it")]


@pytest.mark.parametrize(
    ("name", "known", "fix"),
    [
        ("imageid", ["ImageId", "KeyName"], "did you mean 'ImageId'?"),
        ("max_worker", ["max_workers"], "did you mean 'max_workers'?"),
        ("x", ["b", "a"], "known are a, b"),
        ("x", [f"{number}{number}" for number in range(30)], "remove it"),
    ],
)
def test_a_wrong_name_is_answered_with_the_nearest_or_all(name: str, known: list[str], fix: str) -> None:
    assert fix_for(name, known) == fix
