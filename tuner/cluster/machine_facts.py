"""What a machine is: its versions, clock, memory, disks and GPUs.

The source of this file is sent to machines that may not have this package, nor the right Python: hence the standard
library only, nothing newer than Python 3.8, and no exception for what is missing.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import socket
import subprocess
import sys
import time

DISTRIBUTIONS = ("ray", "torch", "numpy", "crystune")
PACKAGES = ("graphdb", "model", "tuner")
ABSENT = "not installed"


def facts(folders: tuple[str, ...] = (), with_gpus: bool = True) -> dict[str, object]:
    """All that is asked of a machine; what cannot be found out is None.

    Args:
        folders: whose free space is wanted; of a missing one, that of the folder which will hold it.
        with_gpus: whether to ask the driver and torch for GPUs, which takes seconds.

    Returns:
        Values that JSON can hold; sizes in bytes, `time` in seconds since 1970.
    """
    answer: dict[str, object] = {
        "hostname": platform.node(),
        "executable": sys.executable,
        "versions": versions(),
        "memory": _memory(),
        "shared_memory": _size("/dev/shm", "total"),
        "free_disk": {folder: _size(folder, "free") for folder in folders},
        "raylets": _raylets(),
    }
    if with_gpus:
        names, problem = driver_gpus()
        answer.update(gpus=names, gpu_problem=problem, torch_gpus=_torch_gpus())
    answer["time"] = time.time()
    return answer


def versions() -> dict[str, str]:
    """Versions of Python and of what a training needs; crystune's with a digest of its files."""
    found = {"python": platform.python_version()}
    for name in DISTRIBUTIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = ABSENT
    digest = _code_digest()
    if digest is not None:
        release = "without a version" if found["crystune"] == ABSENT else found["crystune"]
        found["crystune"] = f"{release} (code {digest})"
    return found


def reach(address: str, port: int) -> str:
    """Whether a port of another machine can be reached: "open", "closed" (the machine answers), or what is wrong."""
    try:
        socket.create_connection((address, port), timeout=5).close()
    except ConnectionRefusedError:
        return "closed"
    except socket.gaierror:
        return "name unknown"
    except OSError as error:
        return str(error) or "no answer"
    return "open"


def driver_gpus() -> tuple[list[str], str | None]:
    """Names of the GPUs that NVIDIA's driver finds, and what is wrong if it finds none."""
    try:
        process = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True, timeout=30
        )
    except OSError:
        return [], "there is no nvidia-smi"
    except subprocess.TimeoutExpired:
        return [], "nvidia-smi does not answer"
    if process.returncode:
        lines = (process.stdout + process.stderr).strip().splitlines()
        return [], lines[0] if lines else f"nvidia-smi failed with {process.returncode}"
    names = [line.strip() for line in process.stdout.splitlines() if line.strip()]
    return names, None if names else "nvidia-smi lists no GPU"


def _code_digest() -> str | None:
    """Of the Python files: two builds of one version number differ in it."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            return None
        folder = os.path.dirname(spec.origin)
        for path, subfolders, files in os.walk(folder):
            subfolders.sort()
            for file in sorted(file for file in files if file.endswith(".py")):
                with open(os.path.join(path, file), "rb") as stream:
                    digest.update(os.path.relpath(os.path.join(path, file), folder).encode() + b"\0" + stream.read())
    return digest.hexdigest()[:8]


def _torch_gpus() -> int | None:
    """How many GPUs torch can use; asked in a process of its own, since Ray hides them from tasks that asked for none.

    None where there is no torch, or it does not even start.
    """
    if importlib.util.find_spec("torch") is None:
        return None
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    command = [sys.executable, "-c", "import torch; print(torch.cuda.device_count())"]
    try:
        process = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
        return int(process.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None


def _size(folder: str, which: str) -> int | None:
    folder = os.path.expanduser(os.path.expandvars(folder))
    while not os.path.isdir(folder) and os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)
    try:
        return int(getattr(shutil.disk_usage(folder), which))
    except OSError:
        return None


def _raylets() -> list[str]:
    """Addresses of the heads that Ray's processes on this machine belong to."""
    heads: set[str] = set()
    for process in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if process.isdigit():
            try:
                with open(f"/proc/{process}/cmdline", "rb") as stream:
                    words = stream.read().decode(errors="replace").split("\0")
            except OSError:
                continue
            if os.path.basename(words[0]) == "raylet":
                heads.update(w[len("--gcs-address=") :] for w in words if w.startswith("--gcs-address="))
    return sorted(heads)
