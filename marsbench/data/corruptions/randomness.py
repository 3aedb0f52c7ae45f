"""Random numbers of a corruption: functions of a sample's seed and a position.

A hash of (seed, stream, position) gives each number. It is the same in any batch, in any order and
on any device, and is computed for a whole batch at once where the images are; generators of torch
give other numbers on other devices.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_WORD = 2**32


def sample_seed(seed: int, sample_id: str, corruption: str) -> int:
    """Seed of a sample's corruption, in [0, 2^63).

    The severity is no part: a stronger severity has the same pattern, more strongly.

    Args:
        seed: Seed of the evaluation.
        sample_id: Id of the sample.
        corruption: Name of the corruption.
    """
    text = f"{seed}\n{corruption}\n{sample_id}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


@dataclass(frozen=True)
class Draws:
    """Random numbers of the samples of a batch.

    Attributes:
        seeds: A seed of each sample, B of them.
        device: Device of the numbers.
    """

    seeds: Sequence[int]
    device: torch.device

    def uniform(self, stream: int, *shape: int) -> Tensor:
        """Uniform numbers in (0, 1), float32 (B, *shape).

        Args:
            stream: Number that tells apart the drawings of a corruption.
            shape: Shape of a sample's numbers.
        """
        # 24 bits, as many as float32 holds, in the middle of their interval.
        bits = (self._hash(stream, math.prod(shape)) >> 8) & 0xFFFFFF
        return ((bits.float() + 0.5) * 2.0**-24).view(-1, *shape)

    def normal(self, stream: int, *shape: int) -> Tensor:
        """Standard normal numbers, float32 (B, *shape), after Box and Muller (1958)."""
        count = math.prod(shape)
        radius, angle = self.uniform(stream, 2, -(-count // 2)).unbind(1)
        radius = radius.log_().mul_(-2.0).sqrt_()
        angle = angle.mul_(2.0 * math.pi)
        both = torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)
        return both[:, :count].reshape(-1, *shape)

    def ranks(self, stream: int, count: int) -> Tensor:
        """A random order of `count` items, int64 (B, count): the rank of each item."""
        return self.uniform(stream, count).argsort(dim=1).argsort(dim=1)

    def _hash(self, stream: int, count: int) -> Tensor:
        """Hashes int32 (B, count)."""
        keys = torch.tensor([_keys(seed, stream) for seed in self.seeds], dtype=torch.int32)
        first, second = keys.view(-1, 2, 1).to(self.device, non_blocking=True).unbind(1)
        position = torch.arange(count, dtype=torch.int32, device=self.device)
        return _mixed(_mixed(position ^ first) ^ second)


def _keys(seed: int, stream: int) -> tuple[int, int]:
    """Two signed words of 32 bits from a seed and a stream."""
    digest = hashlib.blake2b(f"{seed} {stream}".encode(), digest_size=8).digest()
    first, second = int.from_bytes(digest[:4], "big"), int.from_bytes(digest[4:], "big")
    return first - _WORD // 2, second - _WORD // 2


def _mixed(x: Tensor) -> Tensor:
    """Mix the bits of words of 32 bits in place: two multiplications and three shifted xors.

    Shifts of signed words copy the sign, hence the masks. Constants of C. Wellons, lowbias32.
    """
    x ^= (x >> 16) & 0xFFFF
    x *= 0x7FEB352D
    x ^= (x >> 15) & 0x1FFFF
    x *= 0x846CA68B - _WORD
    x ^= (x >> 16) & 0xFFFF
    return x
