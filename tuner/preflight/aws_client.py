"""An AWS account, and how it is asked: reading only, retry for seconds, and never with an exception."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tuner.preflight.clusterfile import ClusterFile
from tuner.preflight.finding import Finding, error, ok, warning

IN_DOCS = "name one of this region; deploy/aws.yaml makes one (docs/cluster.md)"
"""How to fix what the account has not got."""
_DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError", "403")
_UNKNOWN = "NoSuchResourceException"  # a quota that nobody asked about yet


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """An account as seen from the region of a cluster, and what was found there so far."""

    file: ClusterFile
    session: Any
    findings: list[Finding] = field(default_factory=list)
    clients: dict[str, Any] = field(default_factory=dict)

    def client(self, service: str) -> Any:
        """For one of AWS's services; gives up after seconds."""
        from botocore.config import Config

        if service not in self.clients:
            patience = Config(connect_timeout=5, read_timeout=20, retries={"max_attempts": 2})
            self.clients[service] = self.session.client(service, config=patience)
        return self.clients[service]

    def ask(self, where: str, what: str, fix: str, call: Callable[[], Any]) -> Any:
        """The answer; None, with a finding, if the account has no such thing or does not let us ask."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return call()
        except ClientError as problem:
            code = problem.response["Error"]["Code"]
            message = problem.response["Error"].get("Message", code)
            if code in (*_DENIED, _UNKNOWN):
                self.add(warning(where, f"could not be checked, {what}: {message}"))
            else:
                self.add(error(where, f"{what} must exist: {message}", fix))
        except (BotoCoreError, ValueError) as problem:
            self.add(warning(where, f"could not be checked, {what}: {problem}"))
        return None

    def add(self, *findings: Finding) -> None:
        """Note what was found."""
        self.findings.extend(findings)

    @property
    def zones(self) -> list[str]:
        """The zones that the file names; none if any will do."""
        text = str(self.file.provider.get("availability_zone") or "")
        return [zone.strip() for zone in text.split(",") if zone.strip()]


def identity(account: Account) -> Finding:
    """Whose credentials these are."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return ok(f"logged in as {account.client('sts').get_caller_identity()['Arn']}")
    except (BotoCoreError, ClientError) as problem:
        return error("", f"AWS must accept your credentials, but: {problem}", "aws configure, or aws sso login")
