"""An AWS account that does not answer, or not to us."""

from typing import Any

import pytest
from botocore.exceptions import ClientError, NoCredentialsError

from tests.tuner.preflight.stand_ins import Cloud, quota, texts
from tuner.preflight.aws_client import Account


def test_what_may_not_be_asked_is_a_warning(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> Any:
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "not authorized"}}, "GetServiceQuota")

    quota(monkeypatch, refuse)
    findings = cloud.check()
    assert texts(findings, "error") == []
    assert any("could not be checked, the quota" in warning for warning in texts(findings, "warning"))


def test_credentials_that_are_missing_end_the_questions_at_once(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(self: Account, *_: str) -> Any:
        raise NoCredentialsError()

    monkeypatch.setattr(Account, "call", nobody)
    (only,) = texts(cloud.check(), "error")
    assert "aws configure" in only
