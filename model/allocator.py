"""Let glibc keep freed memory: a training step allocates the same large arrays again and again."""

import ctypes
import platform

_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -3, -1  # malloc.h


def keep_freed_memory() -> bool:
    """Ask this process's allocator not to hand freed memory back to the kernel, for as long as it lives.

    By default glibc maps every array above 32 MB anew, and the kernel clears its pages: a gather of 24,000 edges of 128
    channels took 12.9 ms with and 2.7 ms without. For entry points; a library must not decide this for its caller.

    Returns:
        Whether there was a glibc to ask.
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)) and bool(libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1))
