"""An AWS account, and how it is asked: reading only, retry for seconds, and never with an exception."""

from dataclasses import dataclass, field
from typing import Any

from tuner.cluster.cluster_file import ClusterFile
from tuner.preflight.finding import Finding, error, warning

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
    instance_types: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What EC2 says of those that were asked about; nothing of one that it does not know."""

    def call(self, service: str, operation: str, **arguments: Any) -> dict[str, Any]:
        """Call an operation of one of AWS's services; gives up after seconds."""
        from botocore.config import Config

        if service not in self.clients:
            config = Config(connect_timeout=5, read_timeout=20, retries={"max_attempts": 2})
            self.clients[service] = self.session.client(service, config=config)
        answer: dict[str, Any] = getattr(self.clients[service], operation)(**arguments)
        return answer

    def ask(self, where: str, what: str, fix: str, service: str, operation: str, **arguments: Any) -> dict[str, Any]:
        """As `call`; empty, with a finding, if the account has no such thing or does not let us ask."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return self.call(service, operation, **arguments)
        except ClientError as problem:
            code = problem.response["Error"]["Code"]
            message = problem.response["Error"].get("Message", code)
            if code in (*_DENIED, _UNKNOWN):
                self.add(warning(where, f"could not be checked, {what}: {message}"))
            else:
                self.add(error(where, f"{what} must exist: {message}", fix))
        except (BotoCoreError, ValueError) as problem:
            self.add(warning(where, f"could not be checked, {what}: {problem}"))
        return {}

    def add(self, *findings: Finding) -> None:
        """Note what was found; once, where it is the same of several node types, which share groups and images."""
        for new in findings:
            if not any((f.severity, f.what, f.fix) == (new.severity, new.what, new.fix) for f in self.findings):
                self.findings.append(new)

    def instance_type(self, name: str, where: str) -> dict[str, Any]:
        """What EC2 says of an instance type."""
        if name not in self.instance_types:
            what, fix = f"instance type {name}", "choose one that this region has"
            answer = self.ask(where, what, fix, "ec2", "describe_instance_types", InstanceTypes=[name])
            self.instance_types[name] = next(iter(answer.get("InstanceTypes", [])), {})
        return self.instance_types[name]

    @property
    def zones(self) -> list[str]:
        """The zones that the file names; none if any will do."""
        text = str(self.file.provider.get("availability_zone") or "")
        return [zone.strip() for zone in text.split(",") if zone.strip()]
