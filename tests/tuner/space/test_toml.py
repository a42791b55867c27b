"""Search spaces: what they mean, and what is said about mistakes."""

from collections.abc import Callable

import pytest

from tuner.errors import SpaceError
from tuner.space.space import Space
from tuner.space.toml import builtin_spaces, parse_space, read_space_text

MakeSpace = Callable[..., Space]


def test_table_5_is_the_grid_of_the_paper(table5: Space) -> None:
    grid = {parameter.name: parameter.grid() for parameter in table5.parameters}
    assert grid == {
        "num_convs": (1, 2, 3, 4, 5),
        "atom_dim": (16, 32, 64, 128),
        "head_dim": (16, 32, 64, 128),
        "num_head_layers": (1, 2, 3, 4),
        "weight_decay": (0.0, 1e-6, 1e-4),
        "learning_rate": (1e-4, 1e-3, 1e-2, 1e-1),
        "loss_weight.band_gap": (1, 2, 3, 4, 5, 6, 7),
        "loss_weight.fermi_energy": (1, 2, 3, 4, 5, 6, 7),
    }
    assert table5.size() == 5 * 4 * 4 * 4 * 3 * 4 * 7**2
    assert table5.baseline is not None
    assert table5.baseline["loss_weight.band_gap"] == 1


def test_one_task_has_no_weight(make_space: MakeSpace) -> None:
    space = make_space(read_space_text("table5")[1], ("band_gap",))
    assert not any(parameter.name.startswith("loss_weight") for parameter in space.parameters)


def test_ranges_conditions_and_fixed_settings_are_read(make_space: MakeSpace) -> None:
    space = make_space(
        """
        [parameters]
        num_convs = [2, 3, 4]
        head_dim = { low = 16, high = 128, step = 16 }
        atom_dim = { low = 8, high = 256, log = true }
        learning_rate = { low = 1e-4, high = 1e-1, log = true }
        num_head_layers = { values = [2, 3], when = { num_convs = [3, 4] } }
        [fixed]
        batch_size = 64
        [asha]
        grace_epochs = 2
        """
    )
    by_name = {parameter.name: parameter for parameter in space.parameters}
    assert by_name["head_dim"].grid() == range(16, 129, 16)
    assert by_name["atom_dim"].integer
    assert by_name["atom_dim"].log
    assert not by_name["learning_rate"].integer
    assert by_name["learning_rate"].grid() is None
    assert by_name["num_head_layers"].is_active({"num_convs": 3})
    assert not by_name["num_head_layers"].is_active({"num_convs": 2})
    assert space.fixed == {"batch_size": 64}
    assert space.stopping == {"asha": {"grace_epochs": 2}}
    assert space.size() is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"mine.toml must vary something"),
        ("[parameters", r"mine.toml must be TOML"),
        (
            "[parameter]\nnum_convs = [1]",
            r"'parameter' is not known in the file of mine.toml; did you mean 'parameters'\?",
        ),
        (
            "[parameters]\nnum_conv = [1]",
            r"'num_conv' is not known in \[parameters\] of mine.toml; did you mean 'num_convs'\?",
        ),
        ("[parameters]\nfish = [1]", r"'fish' is not known in \[parameters\] of mine.toml; known are "),
        ("[parameters]\nepochs = [1]", r"'epochs' cannot be set in \[parameters\] of mine.toml; use --max-epochs"),
        (
            "[parameters]\nnum_convs = 3",
            r"must be a list of values or a table .* got 3 .*constants belong in \[fixed\]",
        ),
        ("[parameters]\nnum_convs = []", r"values must be a list with at least one entry, got \[\]"),
        ("[parameters]\nnum_convs = [1, 1]", r"values must differ from each other, got \[1, 1\]"),
        ("[parameters]\nnum_convs = [1, [2]]", r"values must be numbers, strings or booleans, got \[2\]"),
        ("[parameters]\nnum_convs = { low = 1 }", r"high is missing \(mine.toml, \[parameters\] num_convs\)"),
        ("[parameters]\nnum_convs = { low = 5, high = 1 }", r"low must be below high, got low = 5, high = 1"),
        ("[parameters]\nnum_convs = { low = 'a', high = 1 }", r"low must be a number, got 'a'"),
        (
            "[parameters]\nnum_convs = { low = 1, high = 4, steps = 2 }",
            r"'steps' is not known .* did you mean 'step'\?",
        ),
        ("[parameters]\nnum_convs = { low = 1, high = 4, step = 2 }", r"step must divide high - low, got 2 for 1 to 4"),
        ("[parameters]\nweight_decay = { low = 0, high = inf, step = 1 }", "step must divide"),
        (
            "[parameters]\nlearning_rate = { low = 0.0, high = 1.0, log = true }",
            r"low must be > 0 where log = true, got 0.0",
        ),
        ("[parameters]\nnum_convs = { values = [1], low = 1 }", r"either values or a range, got values and low"),
        ("[parameters]\nloss_weight = [1, 2]", r"per_task must be true, got False"),
        ("[parameters]\nnum_convs = { values = [1], per_task = true }", r"only loss_weight exists once per task"),
        (
            "[parameters]\nnum_convs = { values = [1], when = { atom_dim = 2 } }\natom_dim = [2]",
            r"'atom_dim' is not known in when of \[parameters\] num_convs",
        ),
        (
            "[parameters]\natom_dim = [2]\nnum_convs = { values = [1], when = { atom_dim = 3 } }",
            r"atom_dim can never be 3 .*it is one of 2",
        ),
        ("[parameters]\nnum_convs = [1]\n[fixed]\nnum_convs = 2", r"num_convs must stand in one place"),
        (
            "[parameters]\nnum_convs = [1]\n[fixed]\nbatch_size = [2]",
            r"must be numbers, strings or booleans, got \[2\]",
        ),
        (
            "[parameters]\nnum_convs = [1, 2]\n[baseline]\nnum_convs = 7",
            r"num_convs must be one of 1, 2, got 7 .*\[baseline\]",
        ),
        (
            "[parameters]\nnum_convs = [1, 2]\n[asha]\nreduction = 2.5",
            r"reduction must be a whole number of at least 2 \(one in so many goes on; 3 is usual\), got 2.5",
        ),
    ],
)
def test_a_mistake_is_named_with_file_key_and_value(make_space: MakeSpace, text: str, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        make_space(text)


def test_values_that_the_model_refuses_are_found_before_the_search() -> None:
    def check(name: str, value: object) -> None:
        if value == 0:
            raise ValueError("must be positive")

    with pytest.raises(
        SpaceError, match=r"num_convs = 0 is not possible \(mine.toml, \[parameters\] num_convs\): must be positive"
    ):
        parse_space("[parameters]\nnum_convs = [0, 1]", "mine.toml", ["a"], ["num_convs"], check, {})


def test_a_space_is_found_by_name_or_path(tmp_path: object) -> None:
    assert "table5" in builtin_spaces()
    with pytest.raises(SpaceError, match=r"--space must be a TOML file or one of .*table5.*, got 'tabel5'"):
        read_space_text("tabel5")


def test_two_rules_that_stop_trials_are_one_too_many() -> None:
    text = "[parameters]\nnum_convs = [2, 3]\n[first]\nepochs = 2\n[second]\nepochs = 3"
    rules = {name: {"epochs": (1, "epochs")} for name in ("first", "second")}
    with pytest.raises(SpaceError, match=r"at most one rule may stop trials, got \[first\] and \[second\] "):
        parse_space(text, "mine.toml", ["a"], ["num_convs"], lambda name, value: None, rules)
    with pytest.raises(SpaceError, match=r"epochs must be a whole number of at least 1 \(epochs\), got 0 \(mine.toml"):
        parse_space(
            text.replace("[second]\nepochs = 3", "").replace("2\n", "0\n"),
            "mine.toml",
            ["a"],
            ["num_convs"],
            lambda name, value: None,
            rules,
        )
