"""What a user can fix about models; commands print it without a traceback."""

from graphdb.errors import CrystuneError


class CheckpointError(CrystuneError, ValueError):
    """A folder that is no checkpoint, or one that was damaged or written by another version."""


class DeviceError(CrystuneError, ValueError):
    """A device that this machine, or its PyTorch, does not have."""


class TrainingFailed(CrystuneError, RuntimeError):
    """A training without a usable result."""


class OutputError(CrystuneError, ValueError):
    """A place that cannot be written to, or must not be."""
