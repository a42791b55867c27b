"""How we log in to a host of a cluster: by the user's ssh, with a key, and never with a question."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Login:
    """A user of a host."""

    address: str
    """IP address or host name, as seen from here."""
    user: str | None
    """None leaves it to ssh."""
    key: str | None
    """Private key file; None leaves it to ssh."""
    proxy_command: str | None
    """ssh's ProxyCommand, where the host is behind another one."""
    remember_host: bool
    """Refuse the address if another host answers there than last time. In a cloud one does, and `ray up` never asks."""

    @property
    def name(self) -> str:
        """``user@address``."""
        return f"{self.user}@{self.address}" if self.user else self.address

    @property
    def ssh(self) -> list[str]:
        """The ssh command, without the host and what runs there."""
        options = ["BatchMode=yes", "LogLevel=ERROR", "ConnectTimeout=10"]
        options += ["ServerAliveInterval=5", "ServerAliveCountMax=3"]
        if self.remember_host:
            options += ["StrictHostKeyChecking=accept-new"]
        else:
            options += ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null"]
        if self.key is not None:
            options += ["IdentitiesOnly=yes"]
        if self.proxy_command:
            options += [f"ProxyCommand={self.proxy_command}"]
        key = ["-i", self.key] if self.key is not None else []
        return ["ssh", *key, *(word for option in options for word in ("-o", option))]
