"""How a host is logged in to."""

from typing import Any

import pytest

from tuner.cluster.ssh import Login


def login(**changes: Any) -> Login:
    given: dict[str, Any] = {"address": "10.0.0.2", "user": "me", "key": None, "proxy_command": None}
    return Login(**{**given, "remember_host": True, **changes})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "BatchMode=yes"),  # no question is ever asked
        ({}, "StrictHostKeyChecking=accept-new"),
        ({"remember_host": False}, "StrictHostKeyChecking=no"),
        ({"key": "/home/my self/key"}, "/home/my self/key"),
        ({"key": "/home/my self/key"}, "IdentitiesOnly=yes"),
        ({"proxy_command": "ssh -W %h:%p gate"}, "ProxyCommand=ssh -W %h:%p gate"),
    ],
)
def test_ssh_is_told_how_to_log_in(changes: dict[str, Any], words: str) -> None:
    assert words in login(**changes).ssh


def test_a_key_and_a_proxy_are_left_to_ssh_unless_they_are_given() -> None:
    assert "-i" not in login().ssh
    assert not [word for word in login().ssh if word.startswith(("IdentitiesOnly", "ProxyCommand"))]


def test_a_login_without_a_user_is_that_of_ssh() -> None:
    assert (login().name, login(user=None).name) == ("me@10.0.0.2", "10.0.0.2")
