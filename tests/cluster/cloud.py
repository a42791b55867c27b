"""A pretended AWS in the lab: moto answers on the launcher, and every instance that it runs becomes a lab host.

    with Cloud(folder) as cloud:
        cloud.aws("ec2", "describe_instances")      # any call of boto3, made on the launcher
        cloud.ray("up", "-y", "cluster.yaml")       # on the launcher, in the folder of the project

moto knows nothing of quotas, of real permissions or of the two minutes' notice before a reclaim.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.cluster.lab import ROOT, Lab

HOME = "/home/ubuntu"
"""Of every host; the real image's user is `ubuntu`, the lab's is root."""
PROJECT = f"{HOME}/project"
"""On the launcher: where `cluster.yaml` and `dist/` lie."""
_ADDRESS, _PORT = "169.254.169.253", 5000
_PLACE = "/run/aws"
_CALL = """
import boto3, json, sys
service, call, arguments = json.loads(sys.argv[1])
answer = getattr(boto3.client(service), call)(**arguments)
answer.pop("ResponseMetadata", None)
if "Body" in answer:
    answer["Body"] = answer["Body"].read().decode()
print(json.dumps(answer, default=str))
"""


@dataclass(kw_only=True, slots=True)
class Instance:
    """What the pretended AWS says of a machine, and the lab host that it is."""

    id: str
    state: str
    address: str
    type: str
    host: str
    on: bool = False
    since: float = field(default_factory=time.monotonic)
    """When its state was seen first, on the monotonic clock."""


class Cloud:
    """A lab whose one host, the launcher, finds an AWS; the other hosts come and go as instances do."""

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        """Prepare; nothing starts before ``with``.

        Args:
            folder: the lab's scratch.
            environment: for every process on every host.
        """
        settings = {
            "HOME": HOME,
            "AWS_ENDPOINT_URL": f"http://{_ADDRESS}:{_PORT}",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-west-2",
            "AWS_EC2_METADATA_DISABLED": "true",
            "RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES": "150000000",
        }
        self.lab = Lab(folder, {"launcher": "172.31.255.254"}, environment={**settings, **(environment or {})})
        self.instances: dict[str, Instance] = {}
        self._server: subprocess.Popen[str] | None = None
        self._follower: threading.Thread | None = None
        self._trouble: BaseException | None = None
        self._keys: set[str] = set()

    def __enter__(self) -> "Cloud":
        self.lab.up()
        try:
            self._start()
        except BaseException:
            self.lab.down()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._server is not None:
            self._server.kill()
            self._server.wait()
        if self._follower is not None:
            self._follower.join(20)
        if self._server is not None and self._server.stdout is not None:
            self._server.stdout.close()
        self.lab.down()

    def aws(self, service: str, call: str, **arguments: Any) -> Any:
        """The answer to a call of boto3 that the launcher makes; what is not JSON comes as text."""
        request = json.dumps([service, call, arguments])
        return json.loads(self.lab.exec("launcher", sys.executable, "-c", _CALL, request).stdout)

    def ray(self, *arguments: str, timeout: float = 240.0, check: bool = True) -> str:
        """Output of a `ray` command on the launcher."""
        ray = str(Path(sys.executable).with_name("ray"))
        return self.lab.exec("launcher", ray, *arguments, cwd=PROJECT, timeout=timeout, check=check).stdout

    def sell_out(self, *types: str) -> None:
        """From now on there is no capacity of these instance types (nor of any named before)."""
        self.lab.path("launcher", f"{_PLACE}/sold_out").write_text(" ".join(types))

    def requests(self) -> list[dict[str, Any]]:
        """All requests so far: time (s), from (address), service, action, type (of instance), refused, imdsv2."""
        lines = self.lab.path("launcher", f"{_PLACE}/requests.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def running(self, prefix: str = "") -> list[Instance]:
        """The instances that run, of types that begin so."""
        return [i for i in self.instances.values() if i.state == "running" and i.type.startswith(prefix)]

    def wait(self, what: str, condition: Callable[[], bool], seconds: float) -> float:
        """Wait for something to become true; the seconds that it took.

        Raises:
            TimeoutError: with what was waited for.
        """
        start = time.monotonic()
        while not condition():
            if self._trouble is not None:
                raise RuntimeError("an instance could not be made a lab host") from self._trouble
            if time.monotonic() - start > seconds:
                raise TimeoutError(f"waited {seconds:g} s in vain for {what}")
            time.sleep(0.2)
        return time.monotonic() - start

    def _start(self) -> None:
        self.lab.add_address("launcher", f"{_ADDRESS}/32")
        self.lab.exec("launcher", "mkdir", "-p", _PLACE, PROJECT)
        script = str(ROOT / "tests" / "cluster" / "pretended_aws.py")
        errors = (self.lab.folder / "aws.log").open("w")
        command = self.lab.command(
            "launcher", [sys.executable, script, _ADDRESS, str(_PORT), _PLACE], environment={"PYTHONWARNINGS": "ignore"}
        )
        self._server = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
        )
        errors.close()
        self._follower = threading.Thread(target=self._follow, args=(self._server,), daemon=True)
        self._follower.start()
        ready = f"import socket; socket.create_connection(('{_ADDRESS}', {_PORT}), 1)"
        self.wait(
            "the pretended AWS (aws.log in the lab's folder)",
            lambda: self.lab.exec("launcher", sys.executable, "-c", ready, check=False).returncode == 0,
            30,
        )

    def _follow(self, server: "subprocess.Popen[str]") -> None:
        assert server.stdout is not None
        for line in server.stdout:
            identifier, state, address, kind = json.loads(line)
            known = self.instances.get(identifier)
            host = known.host if known else f"i{len(self.instances) + 1}"
            now = Instance(id=identifier, state=state, address=address, type=kind, host=host)
            now.on = known is not None and known.on
            self.instances[identifier] = now
            try:
                if state == "running" and not now.on:
                    self._power_on(now)
                elif state not in ("running", "pending") and now.on:
                    now.on = False
                    self.lab.power_off(host)
            except Exception as error:  # noqa: BLE001 - the lab is taken down whatever happened
                self._trouble = error

    def _power_on(self, instance: Instance) -> None:
        """What AWS does with the key pair, and what the image and `setup_commands` do with Python, is done here."""
        for key in self.lab.path("launcher", f"{HOME}/.ssh").glob("*.pem"):
            public = subprocess.run(["ssh-keygen", "-y", "-f", str(key)], capture_output=True, text=True, check=True)
            if public.stdout not in self._keys:
                self._keys.add(public.stdout)
                self.lab.trust(public.stdout)
        home = self.lab.folder / "hosts" / instance.host / HOME.lstrip("/")
        home.mkdir(parents=True, exist_ok=True)
        (home / "venv").symlink_to(sys.prefix)
        root = self.lab.folder / "hosts" / instance.host / "root"
        root.mkdir(parents=True, exist_ok=True)
        # ssh takes `~` from the list of users, not from HOME; Ray puts the key of the workers into the head's HOME.
        (root / "ray_bootstrap_key.pem").symlink_to(f"{HOME}/ray_bootstrap_key.pem")
        self.lab.add(instance.host, instance.address, prefix=16)
        instance.on = True
