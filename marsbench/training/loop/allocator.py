"""Keep freed memory in the C library."""

import ctypes
import platform

_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_INT_MAX = 2**31 - 1


def keep_freed_memory() -> None:
    """Stop glibc from returning every freed tensor to the kernel.

    By default each activation of more than 128 KiB is mapped and unmapped, and the kernel clears
    its pages each time, which takes most of a forward pass on a CPU (measured by
    ``benchmarks/allocator.py``). Does nothing with other C libraries.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_MMAP_MAX, 0)
    libc.mallopt(_M_TRIM_THRESHOLD, _INT_MAX)
