"""Make the C library keep the memory that tensors free."""

import ctypes
import platform

_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_INT_MAX = 2**31 - 1


def keep_freed_memory() -> None:
    """Stop glibc from returning every freed tensor to the kernel.

    By default each activation of more than 128 KiB is mapped when made and unmapped when freed,
    and the kernel clears its pages anew: on a CPU, most of a forward pass
    (``benchmarks/allocator.py`` measures it). Does nothing where the C library is another.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_MMAP_MAX, 0)
    libc.mallopt(_M_TRIM_THRESHOLD, _INT_MAX)
