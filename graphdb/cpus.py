"""How many CPUs there are to work with."""

import os


def usable_cpus() -> int:
    """CPUs that this process may use: those that a batch system or a container gave it, not all of the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
