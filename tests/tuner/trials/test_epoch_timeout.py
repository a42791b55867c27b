"""How long an epoch may take."""

from tuner.trials.epoch_timeout import FIRST_EPOCH_TIMEOUT, MIN_EPOCH_TIMEOUT, TIMEOUT_EPOCHS, EpochTimeout


def test_the_longest_epoch_so_far_decides_but_no_epoch_is_hurried() -> None:
    timeout = EpochTimeout()
    assert timeout.seconds() == FIRST_EPOCH_TIMEOUT
    timeout.add(1.0)
    assert timeout.seconds() == MIN_EPOCH_TIMEOUT
    timeout.add(1000.0)
    timeout.add(2.0)
    assert timeout.seconds() == TIMEOUT_EPOCHS * 1000.0


def test_what_the_user_gives_holds() -> None:
    timeout = EpochTimeout(5.0)
    timeout.add(1000.0)
    assert timeout.seconds() == 5.0
