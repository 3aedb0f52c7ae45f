"""Tokens and cost: an estimate before the requests, the bill after them."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from marsbench.config.schema import ApiConfig
from marsbench.data.decode import image_size
from marsbench.plan.resolve import Plan
from marsbench.training.zero_shot.journal import Answer

CHARACTERS = 4
"""Characters of English text per token, about."""

PATCH = 28
"""Side in pixels of an image's share per token, about; endpoints differ by a factor of several."""

ANSWERED = 15
"""Tokens of an answer, about."""


@dataclass(frozen=True)
class Tokens:
    """Tokens of a number of requests.

    Attributes:
        requests: Number of requests.
        input: Tokens of instructions and images.
        output: Tokens of answers.
    """

    requests: int
    input: int
    output: int

    def cost(self, config: ApiConfig) -> float | None:
        """US dollars at the prices of a run; None without prices."""
        return cost_of(config, self.input, self.output)

    def words(self, config: ApiConfig) -> str:
        """Sizes and cost in words."""
        cost = self.cost(config)
        price = "prices unknown" if cost is None else dollars(cost)
        return f"{self.input:,} input and {self.output:,} output tokens, {price}"


def dollars(cost: float) -> str:
    """Cost in words, to a cent, or to a hundredth of a cent below a dollar."""
    return f"{cost:,.2f} USD" if cost >= 1 else f"{cost:.4f} USD"


def cost_of(config: ApiConfig, inputs: int | None, outputs: int | None) -> float | None:
    """US dollars of tokens; None without both prices or tokens."""
    if None in (config.input_price, config.output_price, inputs, outputs):
        return None
    prices = (config.input_price or 0.0, config.output_price or 0.0)
    return ((inputs or 0) * prices[0] + (outputs or 0) * prices[1]) / 1e6


def estimate(plan: Plan) -> Tokens:
    """Estimate all requests of a run before the first, from the texts and the first test image."""
    count = plan.num_samples["test"]
    texts = len(plan.instructions.system) + len(plan.instructions.question)
    if plan.side is None:
        raw = plan.source.read("test", 0)
        height, width = image_size(raw.image, raw.where, raw.path)
    else:
        height = width = plan.side
    each = texts // CHARACTERS + math.ceil(height / PATCH) * math.ceil(width / PATCH)
    return Tokens(count, count * each, count * ANSWERED)


def by_answers(answers: Iterable[Answer], count: int) -> Tokens | None:
    """Estimate further requests from the tokens of answers; None if none was counted."""
    counted = [
        (answer.input_tokens, answer.output_tokens)
        for answer in answers
        if answer.input_tokens is not None and answer.output_tokens is not None
    ]
    if not counted:
        return None
    means = [fmean(tokens) for tokens in zip(*counted, strict=True)]
    return Tokens(count, round(count * means[0]), round(count * means[1]))


def bill(answers: Iterable[Answer]) -> Mapping[str, Any]:
    """Bill of a run for its record: tokens and cost of all kept answers.

    A sum is None if an answer without its number is among them.
    """
    kept = list(answers)
    return {
        "answers": len(kept),
        "input_tokens": _total([answer.input_tokens for answer in kept]),
        "output_tokens": _total([answer.output_tokens for answer in kept]),
        "cost_usd": _total([answer.cost for answer in kept]),
    }


def _total(numbers: Iterable[float | None]) -> float | None:
    known = list(numbers)
    return None if None in known else sum(number or 0 for number in known)
