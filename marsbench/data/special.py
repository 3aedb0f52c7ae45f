"""Special pixels: numbers that stand for missing data or saturation.

ISIS reserves a few numbers of each type (``SpecialPixel.h``: NULL, LRS, LIS, HIS, HRS); labels of
PDS3 and PDS4 name their own.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


@dataclass(frozen=True)
class Special:
    """Special numbers of an image, of the type of its pixels.

    Attributes:
        empty: Numbers of pixels without data, shape (n,).
        low: Numbers of pixels darker than the range, shape (n,).
        high: Numbers of pixels brighter than the range, shape (n,).
        has_nan: Whether the file names NaN as its number without data.
    """

    empty: NDArray[Any]
    low: NDArray[Any]
    high: NDArray[Any]
    has_nan: bool = False

    @property
    def all(self) -> NDArray[Any]:
        """All special numbers, shape (n,)."""
        return np.concatenate([self.empty, self.low, self.high])


def among(values: NDArray[Any], constants: NDArray[Any]) -> NDArray[np.bool_]:
    """Mask of the values that equal one of a few constants, in the shape of `values`."""
    mask = np.zeros(values.shape, dtype=np.bool_)
    if len(constants) > 1:
        # Most images hold none of them.
        near = (values >= constants.min()) & (values <= constants.max())
        if not near.any():
            return mask
    for constant in constants:
        mask |= values == constant
    return mask


def special(
    dtype: DTypeLike,
    empty: Iterable[float] = (),
    low: Iterable[float] = (),
    high: Iterable[float] = (),
) -> Special:
    """Special numbers of a type; numbers that the type cannot hold are left out."""
    kind = np.dtype(dtype)
    return Special(_of_type(empty, kind), _of_type(low, kind), _of_type(high, kind))


def _of_type(numbers: Iterable[float], dtype: np.dtype[Any]) -> NDArray[Any]:
    kept = [number for number in numbers if math.isfinite(number)]
    if dtype.kind != "f":
        limits = np.iinfo(dtype)
        kept = [n for n in kept if n == int(n) and limits.min <= n <= limits.max]
    with np.errstate(over="ignore"):  # pixels are stored with fewer digits than tags
        return np.unique(np.array(kept).astype(dtype))


_BITS = np.arange(0xFF7FFFFB, 0xFF800000).astype(">u4")
NULL, *_SATURATED = _BITS.view(">f4").astype(float).tolist()
"""NULL of floating-point pixels of ISIS; LRS, LIS, HIS and HRS are the next lower numbers."""

_ISIS: Mapping[str, tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]] = {
    "uint8": ((0,), (), (255,)),
    "uint16": ((0,), (1, 2), (65534, 65535)),
    "int16": ((-32768,), (-32767, -32766), (-32765, -32764)),
    "float32": ((NULL,), tuple(_SATURATED[:2]), tuple(_SATURATED[2:])),
}
_ISIS = {**_ISIS, "float64": _ISIS["float32"]}


def isis(dtype: DTypeLike) -> Special:
    """Special pixels of ISIS for a type of pixels; none for types that ISIS does not write."""
    return special(dtype, *_ISIS.get(np.dtype(dtype).name, ()))


def of_numbers(dtype: DTypeLike, nodata: Iterable[float]) -> Special:
    """Special numbers of an image that is not from ISIS, by its "no data" values.

    A floating-point image whose "no data" value is the NULL of ISIS has the special pixels of ISIS.
    In others, all five numbers are empty, since no measurement is near -3.4e38.
    """
    values = list(nodata)
    if np.dtype(dtype).kind != "f":
        return special(dtype, values)
    if any(math.isclose(value, NULL, rel_tol=1e-8) for value in values):
        return isis(dtype)
    has_nan = any(map(math.isnan, values))
    return replace(special(dtype, [*values, NULL, *_SATURATED]), has_nan=has_nan)


_EMPTY = frozenset({"missing", "null"}) | {
    f"{cause}_constant"
    for cause in ("missing", "null", "invalid", "unknown", "not_applicable", "error")
}
_LOW = frozenset(
    f"low_{kind}_saturation" for kind in ("repr", "instr", "representation", "instrument")
)
_HIGH = frozenset(name.replace("low", "high") for name in _LOW) | {"saturated_constant"}


def of_label(dtype: DTypeLike, statements: Iterable[tuple[str, str]]) -> Special | None:
    """Special numbers of a PDS label.

    Args:
        dtype: Type of the pixels.
        statements: Names and values of the label's constants. A value is a number, or the bits of
            one as ``16#FF7FFFFB#`` or ``0xFF7FFFFB``.

    Returns:
        The numbers; None if the label names none.
    """
    kinds: dict[str, list[float]] = {"empty": [], "low": [], "high": []}
    for name, text in statements:
        plain = name.lower().removeprefix("core_")
        value = _number(text, np.dtype(dtype))
        for kind, names in (("empty", _EMPTY), ("low", _LOW), ("high", _HIGH)):
            if value is not None and plain in names:
                kinds[kind].append(value)
    return special(dtype, **kinds) if any(kinds.values()) else None


def _number(text: str, dtype: np.dtype[Any]) -> float | None:
    """Value of a label's number; None for other texts, such as ``N/A``."""
    base, _, digits = text.strip("#").rpartition("#")
    if text.lower().startswith("0x"):
        base, digits = "16", text[2:]
    try:
        if not base:
            return float(digits)
        bits = int(digits, int(base))
        if dtype.kind == "f":
            size = 8 if bits > 0xFFFFFFFF else 4
            return float(np.array([bits], f">u{size}").view(f">f{size}")[0])
        # Two's complement of negative numbers.
        wrapped = bits - (1 << 8 * dtype.itemsize)
        return float(wrapped if dtype.kind == "i" and bits > np.iinfo(dtype).max else bits)
    except (ValueError, OverflowError):
        return None
