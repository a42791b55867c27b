"""Versions: of Python and of packages, those that are not there included."""

import platform

from graphdb.versions import ABSENT, versions


def test_versions_come_in_the_order_asked_for_and_a_missing_package_says_so() -> None:
    found = versions("python", "numpy", "no-such-package")
    assert list(found) == ["python", "numpy", "no-such-package"]
    assert found["python"] == platform.python_version()
    assert found["numpy"][:1].isdigit()
    assert found["no-such-package"] == ABSENT
