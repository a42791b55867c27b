"""Several hosts on one machine, for `ray up` in tests: network, processes, disk and sshd of their own, no cloud.

A host is a set of Linux namespaces (network, mounts, processes, host name, IPC) with an sshd. Hosts reach only each
other. Each has its own /root (its HOME), /tmp, /home, /mnt, /run and /dev/shm, and sees the rest of this machine read
only; /mnt/shared is the one folder that all share. A host's network and mounts end with its processes, so nothing has
a global name, labs may run side by side, and a lab is gone when its processes are.

    with Lab(folder) as lab:
        lab.exec("launcher", "ssh", ...)         # subprocess.run on a host
        lab.power_off("gpu1"); lab.power_on("gpu1")
        lab.cut("gpu1"); lab.fix("gpu1")        # the cable

By hand (`-h` says more), for instance:

    python -m tests.cluster.lab up
    python -m tests.cluster.lab exec head -- ip addr
    python -m tests.cluster.lab down
"""

import argparse
import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[2]
HOSTS = {"launcher": "10.77.0.1", "head": "10.77.0.2", "gpu1": "10.77.0.3", "gpu2": "10.77.0.4"}
"""Address by name, unless told otherwise."""
KEY = "/root/.ssh/lab_key"
"""On the launcher: the key that opens every host."""
_TOOLS = ("bash", "ip", "mount", "nsenter", "rsync", "setpriv", "ssh", "ssh-keygen", "sshd", "unshare")
_TRY = (
    "mount -t tmpfs none /mnt && ip link add br0 type bridge && ip link add v0 type veth peer name v1 && hostname lab"
)


@dataclass(kw_only=True, slots=True)
class _Process:
    """A process that may be gone, and whose number may be someone else's by now."""

    pid: int
    started: str
    """In clock ticks since the machine's start: with `pid`, unique."""

    @classmethod
    def of(cls, pid: int) -> "_Process":
        return cls(pid=pid, started=_stat(pid)[19])

    def alive(self) -> bool:
        try:
            stat = _stat(self.pid)
        except (FileNotFoundError, ProcessLookupError):
            return False
        return stat[19] == self.started and stat[0] != "Z"

    def kill(self) -> None:
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


@dataclass(kw_only=True, slots=True)
class _Host:
    address: str
    prefix: int
    init: _Process | None = None
    """Process 1 of the host; None while it is off."""


class Lab:
    """Hosts that come up on entering, and are gone after leaving, whatever happened."""

    def __init__(
        self,
        folder: Path,
        hosts: Mapping[str, str] = HOSTS,
        *,
        environment: Mapping[str, str] | None = None,
        visible: Sequence[Path] = (),
        outlive: bool = False,
    ) -> None:
        """Prepare; nothing starts before `up` or ``with``.

        Args:
            folder: scratch; the hosts' disks are in there. Not emptied afterwards.
            hosts: address by name, all in one /24; more can come later, see `add`.
            environment: for every process on every host, beside what the code under test needs.
            visible: folders that hosts see at the same place, beside Python, its packages and this repository.
            outlive: stay up when this process ends; otherwise the hosts die with it, even if it is killed.
        """
        self.folder = folder.resolve()
        self._switch: _Process | None = None
        self._started: list[subprocess.Popen[bytes]] = []
        self._hosts = {name: _Host(address=address, prefix=24) for name, address in hosts.items()}
        self._visible = [str(path) for path in (ROOT, Path(sys.prefix), Path(sys.base_prefix), *visible)]
        self._outlive = outlive
        self.environment = {
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
            "LANG": "C.UTF-8",
            **(environment or {}),
        }

    @staticmethod
    @functools.cache
    def unavailable() -> str | None:
        """Why there can be no lab on this machine; None if there can."""
        if sys.platform != "linux" or os.geteuid() != 0:
            return "the lab needs Linux and root"
        missing = [tool for tool in _TOOLS if shutil.which(tool, path=_own_path()) is None]
        if missing:
            return f"the lab needs {', '.join(missing)} (packages openssh-server, rsync, iproute2, util-linux)"
        attempt = subprocess.run(
            ["unshare", "-m", "-u", "-i", "-n", "-p", "-f", "--mount-proc", "bash", "-c", _TRY],
            capture_output=True,
            text=True,
            env={"PATH": _path()},
        )
        if attempt.returncode:
            reason = (attempt.stderr.strip().splitlines() or ["no reason given"])[-1]
            return f"the lab needs permission for namespaces, mounts, bridges: {reason}"
        return None

    def __enter__(self) -> "Lab":
        try:
            self.up()
        except BaseException:
            self.down()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def up(self) -> None:
        """Switch on everything."""
        reason = self.unavailable()
        if reason is not None:
            raise RuntimeError(reason)
        (self.folder / "shared").mkdir(parents=True, exist_ok=True)
        keys = self.folder / "keys"
        if not (keys / "lab").exists():
            keys.mkdir(exist_ok=True)
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(keys / "lab"))
        switch = self._start("unshare", "-n", "sleep", "infinity")
        _wait(lambda: _has_own_network(switch.pid), "the switch")
        assert switch.stdin is not None
        switch.stdin.close()
        self._switch = _Process.of(switch.pid)
        for command in ("link set lo up", "link add br0 type bridge", "link set br0 up"):
            self._ip(self._switch, command)
        for name in self._hosts:
            self._power_on(name)
        for name in self._hosts:
            self._wait_for_sshd(name)
        self._save()

    def down(self) -> None:
        """End everything that runs on the hosts, and the hosts."""
        processes = [host.init for host in self._hosts.values() if host.init] + [self._switch]
        for process in processes:
            if process is not None:
                process.kill()
        for process in processes:
            if process is not None:
                _wait(lambda process=process: not process.alive(), "the end of a host")  # type: ignore[misc]
        for started in self._started:
            started.wait(20)
        self._started.clear()
        for host in self._hosts.values():
            host.init = None
        self._switch = None
        (self.folder / "lab.json").unlink(missing_ok=True)

    @property
    def addresses(self) -> dict[str, str]:
        """Address by name of host."""
        return {name: host.address for name, host in self._hosts.items()}

    def add(self, name: str, address: str, prefix: int = 24) -> None:
        """One more host, at any address; switched on."""
        self._hosts[name] = _Host(address=address, prefix=prefix)
        self.power_on(name)

    def power_on(self, name: str) -> None:
        """With the disk that the host had."""
        self._power_on(name)
        self._wait_for_sshd(name)
        self._save()

    def power_off(self, name: str) -> None:
        """At once, as by pulling the plug. What was on its disk stays."""
        host = self._host(name)
        assert host.init is not None
        assert self._switch is not None
        host.init.kill()
        _wait(lambda: host.init is not None and not host.init.alive(), f"the end of {name}")
        # The kernel clears away a network some time after its last process; the port must be free when we return.
        self._ip(self._switch, f"link del {_port(name)}", check=False)
        host.init = None
        self._save()

    def cut(self, name: str) -> None:
        """Pull the network cable of a host: nobody is told, packets are just lost."""
        assert self._switch is not None
        self._ip(self._switch, f"link set {_port(name)} down")

    def fix(self, name: str) -> None:
        """Plug the cable in again."""
        assert self._switch is not None
        self._ip(self._switch, f"link set {_port(name)} up")

    def is_on(self, name: str) -> bool:
        """Whether a host has power."""
        init = self._host(name).init
        return init is not None and init.alive()

    def trust(self, public_key: str) -> None:
        """Let one more SSH key into all hosts, those to come included."""
        with (self.folder / "keys" / "more.pub").open("a") as file:
            file.write(public_key.strip() + "\n")
        for name in self._hosts:
            self._write_authorized_keys(name)

    def add_address(self, name: str, address: str) -> None:
        """One more address for a host that is on, such as "169.254.169.254/32"."""
        init = self._host(name).init
        assert init is not None
        self._ip(init, f"addr add {address} dev eth0")

    # --- what runs on a host

    def command(
        self, name: str, command: Sequence[str], *, cwd: str = "/root", environment: Mapping[str, str] | None = None
    ) -> list[str]:
        """The command line that runs a command on a host, without SSH; it ends when this process or its child does."""
        init = self._host(name).init
        if init is None:
            raise RuntimeError(f"{name} must be on")
        values = {"HOME": "/root", "USER": "root", "TERM": "dumb", "PATH": _path(), **self.environment}
        values.update(environment or {})
        enter = ["nsenter", "-t", str(init.pid), "-m", "-u", "-i", "-n", "-p", "--"]
        dies_with_parent = ["setpriv", "--pdeathsig", "KILL"]
        return [*enter, *dies_with_parent, "env", "-i", "-C", cwd, *[f"{k}={v}" for k, v in values.items()], *command]

    def exec(
        self, name: str, *command: str, check: bool = True, timeout: float = 120.0, **how: Any
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command on a host; stderr goes to stdout. `how`: as in `command`.

        Raises:
            RuntimeError: if it fails, with its output.
        """
        line = self.command(name, command, **how)
        done = subprocess.run(
            line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout
        )
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed on {name} ({done.returncode}):\n{done.stdout}")
        return done

    def popen(
        self, name: str, *command: str, output: "IO[str] | int" = subprocess.PIPE, **how: Any
    ) -> "subprocess.Popen[str]":
        """Start a command on a host; killing the Popen kills it. Other signals: `signal_inside`."""
        return subprocess.Popen(
            self.command(name, command, **how),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    @staticmethod
    def signal_inside(process: "subprocess.Popen[str]", number: signal.Signals) -> None:
        """Send a signal to the command that `popen` started; Popen.send_signal would reach nsenter only."""
        for child in _children(process.pid):
            os.kill(child, number)

    def path(self, name: str, path: str) -> Path:
        """A file of a host, seen from this machine; of a host that is off, what is on its disk (/root, /tmp, ...)."""
        init = self._host(name).init
        root = self.folder / "hosts" / name if init is None else Path(f"/proc/{init.pid}/root")
        return root / path.lstrip("/")

    def processes(self, name: str) -> dict[int, str]:
        """Command line of all processes of a host, by the number that they have on this machine (for `os.kill`)."""
        init = self._host(name).init
        if init is None or not init.alive():
            return {}
        here = os.readlink(f"/proc/{init.pid}/ns/mnt")
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if os.readlink(entry / "ns" / "mnt") == here:
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        return {pid: command for pid, command in found.items() if command}

    # --- disks with limits

    def mount_small_disk(self, name: str, path: str, megabytes: int) -> None:
        """A file system of a few MiB at a folder of a host; gone when the host loses power."""
        size = f"size={megabytes}m"
        self.exec(name, "bash", "-c", f"mkdir -p {path} && mount -t tmpfs -o {size} none {path}")

    def fill(self, name: str, path: str) -> None:
        """Leave no byte on the file system of a folder."""
        self.exec(name, "dd", "if=/dev/zero", f"of={path}/.filler", "bs=4k", check=False)

    def clear(self, name: str, path: str) -> None:
        """End of `fill`."""
        self.exec(name, "rm", "-f", f"{path}/.filler")

    def hide(self, name: str, path: str) -> None:
        """Let a folder vanish, as when its server is away: empty, and nothing can be made in it."""
        self.exec(name, "mount", "-t", "tmpfs", "-o", "ro,size=4k", "none", path)

    def show(self, name: str, path: str) -> None:
        """End of `hide`."""
        _wait(lambda: self.exec(name, "umount", path, check=False).returncode == 0, f"the end of all use of {path}")

    # --- inside

    def _host(self, name: str) -> _Host:
        if name not in self._hosts:
            raise KeyError(f"host must be one of {', '.join(self._hosts)}, got {name!r}")
        return self._hosts[name]

    def _start(self, *command: str, output: "IO[bytes] | None" = None) -> "subprocess.Popen[bytes]":
        owned = [] if self._outlive else ["setpriv", "--pdeathsig", "KILL"]
        process = subprocess.Popen(
            [*owned, *command],
            stdin=subprocess.PIPE,
            stdout=output or subprocess.DEVNULL,
            stderr=output or subprocess.DEVNULL,
            start_new_session=True,
            env={"PATH": _path()},
        )
        self._started.append(process)
        return process

    def _power_on(self, name: str) -> None:
        host, folder = self._host(name), self.folder / "hosts" / name
        assert self._switch is not None
        assert host.init is None
        self._write_disk(name, host, folder)
        with (folder / "console.log").open("ab") as log:
            outer = self._start(
                *["unshare", "-m", "-u", "-i", "-n", "-p", "-f", "--kill-child=KILL", "--mount-proc"],
                *("bash", str(Path(__file__).with_name("host.sh")), name, str(folder), *self._visible),
                output=log,
            )
        _wait(lambda: bool(_children(outer.pid)), f"the first process of {name}")
        host.init = _Process.of(_children(outer.pid)[0])
        # A card keeps its number when the power comes back; with another one, the others would not find it for 30 s.
        card = f"address {_card(host.address)} netns {host.init.pid}"
        self._ip(self._switch, f"link add {_port(name)} type veth peer name eth0 {card}")
        self._ip(self._switch, f"link set {_port(name)} master br0 up")
        self._ip(host.init, "link set lo up")
        self._ip(host.init, f"addr add {host.address}/{host.prefix} dev eth0")
        self._ip(host.init, "link set eth0 up")
        # All addresses are on this one cable, whatever their prefix; and "which is my address?" has an answer.
        self._ip(host.init, "route add default dev eth0")
        assert outer.stdin is not None
        outer.stdin.write(b"go\n")
        outer.stdin.close()

    def _write_disk(self, name: str, host: _Host, folder: Path) -> None:
        for place in ("root/.ssh", "tmp", "home", "mnt", "run/lab", "run/sshd"):
            (folder / place).mkdir(parents=True, exist_ok=True)
        for place in ("root", "root/.ssh", "run/sshd"):
            (folder / place).chmod(0o700)
        key = folder / "run/lab/host_key"
        if not key.exists():
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
        self._write_authorized_keys(name)
        if not (folder / "root/.profile").exists():  # what matters here of Debian's and Ubuntu's
            (folder / "root/.profile").write_text('. ~/.bashrc\nPATH="$HOME/.local/bin:$PATH"\n')
            (folder / "root/.bashrc").touch()
        if name == "launcher":
            shutil.copy(self.folder / "keys" / "lab", folder / "root/.ssh/lab_key")
        names = "".join(f"{other.address} {name}\n" for name, other in self._hosts.items())
        for each in {name, *self._hosts}:
            table = self.folder / "hosts" / each / "etc-hosts"
            table.parent.mkdir(parents=True, exist_ok=True)
            table.write_text(f"127.0.0.1 localhost\n{names}")
        values = " ".join(f'{key}="{value}"' for key, value in self.environment.items())
        (folder / "run/lab/sshd_config").write_text(
            f"ListenAddress {host.address}\nHostKey /run/lab/host_key\nPidFile none\nUsePAM no\nUseDNS no\n"
            f"PasswordAuthentication no\nMaxSessions 64\nMaxStartups 64\nSetEnv {values}\n"
            "Subsystem sftp internal-sftp\n"
        )

    def _write_authorized_keys(self, name: str) -> None:
        target = self.folder / "hosts" / name / "root/.ssh/authorized_keys"
        target.write_text("".join(path.read_text() for path in sorted((self.folder / "keys").glob("*.pub"))))
        target.chmod(0o600)

    def _wait_for_sshd(self, name: str) -> None:
        init = self._host(name).init
        assert init is not None

        def listening() -> bool:
            if not init.alive():
                log = (self.folder / "hosts" / name / "console.log").read_text()
                raise RuntimeError(f"{name} must stay up, but its first process ended:\n{log[-2000:]}")
            lines = Path(f"/proc/{init.pid}/net/tcp").read_text().splitlines()[1:]
            return any(line.split()[1].endswith(":0016") and line.split()[3] == "0A" for line in lines)

        _wait(listening, f"sshd on {name}")

    def _ip(self, where: _Process, command: str, *, check: bool = True) -> None:
        line = ["nsenter", "-t", str(where.pid), "-n", "ip", *command.split()]
        done = subprocess.run(line, capture_output=True, text=True, env={"PATH": _path()})
        if check and done.returncode:
            raise RuntimeError(f"`ip {command}` failed: {done.stderr.strip()}")

    def _save(self) -> None:
        content = {
            "switch": asdict(self._switch) if self._switch else None,
            "hosts": {name: asdict(host) for name, host in self._hosts.items()},
        }
        (self.folder / "lab.json").write_text(json.dumps(content, indent=1))

    @classmethod
    def load(cls, folder: Path) -> "Lab":
        """A lab that another process has brought up."""
        if not (folder / "lab.json").exists():
            raise RuntimeError(f"no lab is up in {folder}")
        content = json.loads((folder / "lab.json").read_text())
        lab = cls(folder, {}, outlive=True)
        lab._switch = _Process(**content["switch"]) if content["switch"] else None
        for name, host in content["hosts"].items():
            init = _Process(**host["init"]) if host["init"] else None
            lab._hosts[name] = _Host(address=host["address"], prefix=host["prefix"], init=init)
        return lab


def _path() -> str:
    return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def _own_path() -> str:
    """Where this process finds programs, and the sbin beside each bin: `sshd` lies there, which few have on PATH."""
    folders = os.environ.get("PATH", "").split(os.pathsep)
    return os.pathsep.join([*folders, *(f"{folder[:-3]}sbin" for folder in folders if folder.endswith("/bin"))])


def _port(name: str) -> str:
    """A host's end of its cable at the switch; names of interfaces have at most 15 letters."""
    return f"v-{name}"[:15]


def _card(address: str) -> str:
    """Number of a host's network card."""
    return "02:00:" + ":".join(f"{int(part):02x}" for part in address.split("."))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the third (state) on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _children(pid: int) -> list[int]:
    return list(_children_of(pid))


def _children_of(pid: int) -> Iterator[int]:
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if _stat(int(entry.name))[1] == str(pid):
                yield int(entry.name)


def _has_own_network(pid: int) -> bool:
    return os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")


def _wait(condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"the lab waited {seconds:g} s in vain for {what}")
        time.sleep(0.01)


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.lab", description="hosts on one machine")
    default = Path(tempfile.gettempdir()) / "crystune-lab"
    parser.add_argument("--folder", type=Path, default=default, help=f"the lab's scratch ({default})")
    actions = parser.add_subparsers(dest="action", required=True)
    for action in ("up", "down"):
        actions.add_parser(action)
    for action, does in (("kill", "power off"), ("hostup", "power on"), ("cut", "pull the cable"), ("fix", "plug in")):
        actions.add_parser(action, help=does).add_argument("host")
    run = actions.add_parser("exec", help="run a command on a host")
    run.add_argument("host")
    run.add_argument("command", nargs="+")
    arguments = parser.parse_args(argv)
    try:
        return _act(arguments)
    except (RuntimeError, KeyError) as error:
        print(f"error: {error.args[0]}", file=sys.stderr)
        return 2


def _act(arguments: argparse.Namespace) -> int:
    if arguments.action == "up":
        if (arguments.folder / "lab.json").exists():
            raise RuntimeError(f"a lab is up in {arguments.folder}; take it down first")
        lab = Lab(arguments.folder, outlive=True)
        try:
            lab.up()
        except BaseException:
            lab.down()
            raise
        return 0
    lab = Lab.load(arguments.folder)
    if arguments.action == "exec":
        return subprocess.run(lab.command(arguments.host, arguments.command)).returncode
    if arguments.action == "down":
        lab.down()
        return 0
    {"kill": lab.power_off, "hostup": lab.power_on, "cut": lab.cut, "fix": lab.fix}[arguments.action](arguments.host)
    return 0


if __name__ == "__main__":
    sys.exit(main())
