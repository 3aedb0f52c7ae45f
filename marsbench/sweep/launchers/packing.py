"""Packing of units onto GPUs by their device memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from marsbench.sweep.memory import Need

MARGIN = 0.1
"""Share of a GPU's memory left free by workers that share it."""

MOST_FAULTS = 3
"""Faults in a row after which a GPU gets no unit while another GPU works."""


@dataclass(frozen=True)
class Memory:
    """Memory of a GPU in bytes.

    Attributes:
        free: Free memory before any worker has started.
        total: Total memory.
    """

    free: int
    total: int

    @property
    def room(self) -> int:
        """Bytes for workers that share the GPU."""
        return max(0, self.free - int(MARGIN * self.total))

    def holds(self, need: Need, most: int) -> int:
        """Number of units of equal need that run at once, at least 1 and at most `most`."""
        if need.bytes is None:
            return 1
        return max(1, min(most, self.room // need.bytes if need.bytes else most))


@dataclass
class _Place:
    """GPU, or set of GPUs.

    Attributes:
        gpu: Its name.
        room: Memory for workers in bytes.
        units: Sizes of its units; None is exclusive.
        faults: Number of faults since the last unit without a fault.
    """

    gpu: str
    room: int
    units: dict[Path, int | None] = field(default_factory=dict)
    faults: int = 0


@dataclass(frozen=True)
class Start:
    """Unit to start.

    Attributes:
        unit: Its file.
        gpu: Name of its GPU, or set of GPUs.
        shares: Whether other units may run on its GPU at the same time.
    """

    unit: Path
    gpu: str
    shares: bool


class Packing:
    """Choice of the next unit to start, and of its GPU.

    At most `most` units share a GPU, and the sum of their estimates is within its memory. A unit
    without an estimate runs alone, and its peak is then the estimate of all like units. A unit
    larger than every GPU runs alone on the largest. A unit that ended with a fault starts again on
    another GPU if there is one, and a GPU with `MOST_FAULTS` in a row gets no unit while another
    has fewer.

    Args:
        gpus: Names of GPUs, or of sets of GPUs.
        most: Most units on a GPU.
        memory: Memory of each GPU; None counts the units alone.
        needs: Device memory of the units; unused without `memory`.
    """

    def __init__(
        self,
        gpus: Sequence[str],
        most: int,
        memory: Sequence[Memory] | None = None,
        needs: Mapping[Path, Need | None] | None = None,
    ) -> None:
        self.most = most
        self.by_memory = memory is not None
        rooms = [0] * len(gpus) if memory is None else [each.room for each in memory]
        self._places = [_Place(*each) for each in zip(gpus, rooms, strict=True)]
        self._needs = dict(needs or {})
        self._alone: set[Path] = set()
        self._faulted: dict[Path, str] = {}  # GPU of the last fault of a unit
        self._measured: dict[str, int] = {}

    def start(self, waiting: Sequence[Path]) -> Start | None:
        """Choose the first waiting unit that fits anywhere, and occupy its place.

        Of several GPUs, the one with the fewest units is taken.

        Returns:
            The unit and its GPU; None if no unit fits.
        """
        if all(len(place.units) >= self.most for place in self._places):
            return None
        for unit in waiting:
            size = self._size(unit)
            open_to = self._open_to(unit)
            largest = max(place.room for place in open_to)
            places = [place for place in open_to if self._fits(size, place, largest)]
            if places:
                place = min(places, key=lambda place: len(place.units))
                place.units[unit] = size
                shares = self.by_memory and size is not None and size <= place.room
                return Start(unit, place.gpu, shares)
        return None

    def end(self, unit: Path, *, is_fault: bool = False) -> str | None:
        """Free the place of a unit.

        Args:
            unit: The unit.
            is_fault: Whether its worker ended with a fault, which may be one of its GPU.

        Returns:
            The GPU, if others get its units from now on.
        """
        place = next(place for place in self._places if unit in place.units)
        del place.units[unit]
        place.faults = place.faults + 1 if is_fault else 0
        if is_fault:
            self._faulted[unit] = place.gpu
        is_out = place.faults == MOST_FAULTS and place not in self._open_to()
        return place.gpu if is_out else None

    def _open_to(self, unit: Path | None = None) -> list[_Place]:
        """Places for a unit, busy places too; at least one."""
        working = [place for place in self._places if place.faults < MOST_FAULTS]
        places = working or self._places
        gpu = None if unit is None else self._faulted.get(unit)
        return [place for place in places if place.gpu != gpu] or places

    def measure(self, unit: Path, size: int) -> Need | None:
        """Note the peak of a finished unit in bytes.

        Returns:
            The need of like units, if it was unknown before.
        """
        need = self._needs.get(unit)
        if need is None:
            return None
        before = self._measured.get(need.like)
        self._measured[need.like] = max(size, before or 0)
        return Need(need.like, size, 1) if before is None and need.bytes is None else None

    def isolate(self, unit: Path) -> None:
        """Have a unit run alone when it starts again."""
        self._alone.add(unit)

    def _size(self, unit: Path) -> int | None:
        """Estimate of a unit in bytes; None if it has to run alone."""
        if not self.by_memory:
            return 0
        need = self._needs.get(unit)
        if unit in self._alone or need is None:
            return None
        sizes = (need.bytes, self._measured.get(need.like))
        return max((size for size in sizes if size is not None), default=None)

    def _fits(self, size: int | None, place: _Place, largest: int) -> bool:
        """Whether a unit may start in a place.

        A unit larger than all GPUs is tried on the largest.
        """
        held = list(place.units.values())
        if not held:
            return size is None or size <= place.room or place.room == largest
        if len(held) >= self.most:
            return False
        sizes = [s for s in (*held, size) if s is not None]
        return len(sizes) == len(held) + 1 and (not self.by_memory or sum(sizes) <= place.room)
