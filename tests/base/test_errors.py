import errno

import pytest

from marsbench.base.errors import DataError, StoreError, is_disk_full

NO_SPACE = "No space left on device"


def raised(outer: Exception, inner: BaseException | None) -> Exception:
    try:
        raise outer from inner
    except type(outer) as error:
        return error


@pytest.mark.parametrize(
    ("error", "is_full"),
    [
        (OSError(errno.ENOSPC, "x"), True),
        (raised(DataError("x"), raised(ValueError("x"), OSError(errno.EDQUOT, "x"))), True),
        (RuntimeError('IoError(Os { code: 28, message: "No space left on device" })'), True),
        (RuntimeError("[enforce fail] PytorchStreamWriter failed writing file data/1"), True),
        (RuntimeError(f"shared memory(shm) for file </torch_1_2>: {NO_SPACE} (28)"), False),
        (OSError(errno.EACCES, "x"), False),
        (raised(StoreError("x"), KeyError("x")), False),
        (StoreError("x"), False),
    ],
)
def test_a_full_disk(error: Exception, is_full: bool) -> None:
    assert is_disk_full(error) == is_full


def test_errors_that_cause_each_other() -> None:
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert not is_disk_full(first)
