"""Why a training ended badly, from what Ray reports of it."""

import re

from ray.exceptions import RayActorError, RayError, RayTaskError

from tuner.protocol import Failure

LOST_WORKER = "the worker process disappeared (killed, or out of memory)"
LOST_NODE = "its node disappeared (switched off, taken back, or cut off)"
_RAY_ERROR = re.compile(r"\b(ActorDied|ActorUnavailable|WorkerCrashed|NodeDied|OutOfMemory|LocalRayletDied)Error\b")
_NODE = re.compile(r"\bnode (?:has )?(?:died|is dead|was (?:terminated|lost))|NodeDiedError|its node", re.IGNORECASE)
_GPU_MEMORY = re.compile(r"(?:CUDA|HIP|MPS backend)[^\n]{0,40}out of memory|(?:CUBLAS|CUDNN)_STATUS_ALLOC_FAILED")


def failure_of(error: object, details: str) -> Failure:
    """A failure by its kind: an error of Ray itself is a lost worker; other exceptions, which Ray carries, are ours.

    Args:
        error: what Ray raised; None if it could not be read.
        details: its text.
    """
    lines = [line.strip() for line in details.splitlines() if line.strip()] or ["no details"]
    if isinstance(error, RayTaskError):
        cause = error.cause if isinstance(error.cause, BaseException) else None
        if isinstance(cause, RayError):
            return failure_of(cause, details)
        text = str(cause).strip().splitlines() if cause is not None else []
        reason = f"{type(cause).__name__}: {text[0]}" if text else lines[-1]
        return _exception(reason, details)
    if isinstance(error, RayActorError) and error.actor_init_failed:  # the cause's text is all it keeps
        return _exception(lines[-1], details)
    if isinstance(error, RayError) or (error is None and _RAY_ERROR.search(details)):
        return Failure(kind="lost worker", reason=LOST_NODE if _NODE.search(details) else LOST_WORKER, details=details)
    return _exception(lines[-1], details)


def _exception(reason: str, details: str) -> Failure:
    return Failure(
        kind="out of GPU memory" if _GPU_MEMORY.search(reason) else "exception", reason=reason, details=details
    )
