"""Seeded splits of groups of images, stratified by class."""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from marsbench.base.errors import ConfigError, DataError, some
from marsbench.tasks.spec import SPLITS

DEFAULT = "0.7,0.15,0.15"
"""Default shares of train, val and test."""

OBSERVATION = "observation"
"""Word that groups images by the observation id of an orbiter's camera in their names."""

OBSERVATIONS: Mapping[str, str] = {
    "HiRISE": r"(?:AEB|ESP|PSP|TRA)_\d{6}_\d{4}",
    "CaSSIS": r"MY\d{2}_\d{6}_\d{3}_\d",
    "CTX": r"[A-Z]\d{2}_\d{6}_\d{4}",
    "THEMIS": r"[IV]\d{8}",
}
"""Patterns of observation ids by camera."""

_COPIES = r"([^/]+)\.rf\."
"""Expression for the name of the picture in the augmented copies that Roboflow writes."""

_WHOLE = 1 << 40
"""All images of a class, in the parts that weigh differences."""

_FIRST = ("train", "test", "val")
"""Splits that a class with few groups fills first."""


@dataclass
class Unit:
    """Images that stay together.

    Attributes:
        key: Name of the group, or digest of the image.
        size: Number of images.
        classes: Number of images of each class; an image without a class counts as of "".
    """

    key: str
    size: int = 0
    classes: Counter[str] = field(default_factory=Counter)


def parse_shares(text: str) -> dict[str, Fraction]:
    """Shares of the splits of a text such as ``0.7,0.15,0.15``.

    Raises:
        ConfigError: If these are not three positive numbers with the sum 1.
    """
    try:
        shares = [Fraction(part.strip()) for part in text.split(",")]
    except (ValueError, ZeroDivisionError):
        shares = []
    if len(shares) != len(SPLITS) or min(shares) <= 0 or sum(shares) != 1:
        raise ConfigError(
            f"--splits is '{text}'; expected the shares of {', '.join(SPLITS)}: three positive "
            "numbers with the sum 1.",
            f"Write --splits {DEFAULT}, for example.",
        )
    return dict(zip(SPLITS, shares, strict=True))


def group_names(paths: Sequence[str], expression: str) -> dict[str, str]:
    """Group of each image.

    Args:
        paths: Paths of the images below the folder, with ``/``.
        expression: `OBSERVATION`, or a regular expression, searched in the path. The group is the
            text of its parentheses, or of the match if it has none.

    Raises:
        ConfigError: If the expression is invalid.
        DataError: If it does not match all images; names the first of them.
    """
    is_word = expression == OBSERVATION
    try:
        pattern = re.compile("|".join(OBSERVATIONS.values()) if is_word else expression)
    except re.error as error:
        raise ConfigError(
            f"--group-by '{expression}' is not a regular expression: {error}.",
            f"Correct it, or write --group-by {OBSERVATION}.",
        ) from error
    names: dict[str, str] = {}
    for path in paths:
        if match := pattern.search(path):
            names[path] = "_".join(text or "" for text in match.groups()) or match[0]
    missing = [path for path in paths if not names.get(path)]
    if missing:
        known = f" ({', '.join(OBSERVATIONS)} ids)" if is_word else ""
        raise DataError(
            f"--group-by '{expression}'{known} matches {len(paths) - len(missing)} of {len(paths)} "
            f"images, and not {some(missing)}.",
            "Give an expression that matches the path of every image, such as "
            r"--group-by '([^/_]+)_\d+\.png$'.",
        )
    return names


def suggested_groups(paths: Sequence[str]) -> tuple[str, int] | None:
    """Expression that groups images by their names, and the number of its groups.

    None if no known form fits the names of all images, or no two images share a group.
    """
    for expression in (OBSERVATION, _COPIES):
        try:
            names = group_names(paths, expression)
        except DataError:
            continue
        if (count := len(set(names.values()))) < len(paths):
            return expression, count
    return None


def assign(
    units: Iterable[Unit],
    shares: Mapping[str, Fraction],
    seed: int,
    fixed: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Assign units to splits, with proportional classes.

    The classes are taken from the rarest to the most frequent, their units from the largest to the
    smallest, units of equal size in an order that follows from the seed and their keys alone. Each
    goes to the split that lacks most of its classes; then units of several images move while that
    improves the balance. For units of one image with one class, the
    number in each split is the share of the class, rounded up or down; a class with at least as
    many units as there are splits is in all of them.

    Args:
        units: Units with different keys.
        shares: Share of each split, with the sum 1.
        seed: Seed of the order.
        fixed: Split by key of units that are assigned already.

    Returns:
        Split by key.
    """
    fixed = fixed or {}
    units = list(units)
    balance = _Balance(units, shares)
    rank = {c: i for i, c in enumerate(balance.by_rarity)}

    def order(unit: Unit) -> tuple[bool, int, int, str]:
        digest = hashlib.sha256(f"{seed}\0{unit.key}".encode()).hexdigest()
        rarest = min((rank[c] for c in unit.classes), default=len(rank))
        return unit.key not in fixed, rarest, -unit.size, digest

    splits: dict[str, str] = {}
    units.sort(key=order)
    for unit in units:
        split = fixed.get(unit.key) or balance.neediest(unit)
        balance.add(unit, split)
        splits[unit.key] = split
    _improve([unit for unit in units if unit.key not in fixed], splits, balance)
    return splits


def _improve(units: Sequence[Unit], splits: dict[str, str], balance: "_Balance") -> None:
    """Move units of several images, in place, while that brings the classes nearer their shares.

    A class that is absent from a split weighs more than any other difference.
    """
    groups = [unit for unit in units if unit.size > 1]
    moved = True
    while moved:  # ends, since each move lowers the sum of the costs, an integer
        moved = False
        for unit in groups:
            own = splits[unit.key]
            balance.add(unit, own, sign=-1)
            # Equal costs leave the unit where it is.
            costs = {split: (*balance.cost(unit, split), split != own) for split in balance.splits}
            best = min(balance.splits, key=lambda split: costs[split])
            balance.add(unit, best)
            splits[unit.key] = best
            moved |= best != own


class _Balance:
    """Numbers of images that splits lack, by class.

    All are integers, in parts of an image, so that no rounding error moves an image. Floats would
    also be summed otherwise by other versions of Python.

    Args:
        units: All units.
        shares: Share of each split.

    Attributes:
        splits: Names of the splits.
        by_rarity: Classes, from the rarest.
    """

    def __init__(self, units: Sequence[Unit], shares: Mapping[str, Fraction]) -> None:
        self._scale = math.lcm(*(share.denominator for share in shares.values()))
        self._parts = {split: int(share * self._scale) for split, share in shares.items()}
        self._totals: Counter[str] = Counter()
        num_units: Counter[str] = Counter()
        for unit in units:
            self._totals.update(unit.classes)
            num_units.update(unit.classes.keys())
        self._weights = {c: _WHOLE // total for c, total in self._totals.items()}
        self.by_rarity = sorted(num_units, key=lambda c: (num_units[c], c))
        self._lacking: dict[str, Counter[str]] = {
            c: Counter(self._targets(self._totals[c], n)) for c, n in num_units.items()
        }
        self._sizes: Counter[str] = Counter()
        self._held: Counter[tuple[str, str]] = Counter()  # images by class and split
        self.splits = tuple(shares)

    def _targets(self, total: int, num_units: int) -> dict[str, int]:
        """Parts of images of a class for each split."""
        if num_units < len(self._parts):
            first = [split for split in _FIRST if split in self._parts][:num_units]
            targets = {split: self._scale * (split in first) for split in self._parts}
        else:
            targets = {s: max(part * total, self._scale) for s, part in self._parts.items()}
        largest = max(self._parts, key=lambda split: self._parts[split])
        targets[largest] += self._scale * total - sum(targets.values())
        return targets

    def neediest(self, unit: Unit) -> str:
        """Split that lacks most of a unit's classes."""
        return max(self._parts, key=lambda split: self._need(unit, split))

    def _need(self, unit: Unit, split: str) -> tuple[int, int]:
        # Whole images that a split lacks come first; the last, partial one of a class goes where
        # images of all classes together are missing.
        whole = sum(
            count * (-(-self._lacking[c][split] // self._scale) - 1) * self._weights[c]
            for c, count in unit.classes.items()
        )
        seen = self._sizes.total() + unit.size
        return whole, self._parts[split] * seen - self._scale * self._sizes[split]

    def cost(self, unit: Unit, split: str) -> tuple[int, int]:
        """Change by adding a unit to a split: absent classes, and sum of squared differences."""
        absent = squares = 0
        for c, count in unit.classes.items():
            absent -= not self._held[c, split]
            parts = self._scale * count
            squares += self._weights[c] ** 2 * parts * (parts - 2 * self._lacking[c][split])
        return absent, squares

    def add(self, unit: Unit, split: str, sign: int = 1) -> None:
        """Count a unit of a split; a sign of -1 takes it out."""
        self._sizes[split] += sign * unit.size
        for c, count in unit.classes.items():
            self._held[c, split] += sign * count
            self._lacking[c][split] -= sign * self._scale * count
