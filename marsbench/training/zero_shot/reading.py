"""Kept answers of a run, read into classes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from marsbench.models.answering.instructions import Instructions
from marsbench.models.answering.parsing import NO_NAME, Reading, read_answer
from marsbench.training.zero_shot.journal import Answer

REFUSED = "refused"
"""Reason against answers that the model refused."""


@dataclass(frozen=True)
class Readings:
    """Classes of n answers.

    Attributes:
        scores: float32 (n, K): ones for the named classes.
        unanswered: bool (n,), invalid and refused answers.
        refused: bool (n,), refused answers.
        reasons: Number of unanswered images by reason.
    """

    scores: NDArray[np.float32]
    unanswered: NDArray[np.bool_]
    refused: NDArray[np.bool_]
    reasons: Mapping[str, int]


def read_answers(answers: Sequence[Answer], instructions: Instructions) -> Readings:
    """Read the answers to instructions."""
    readings = [_read(answer, instructions) for answer in answers]
    scores = np.zeros((len(answers), len(instructions.names)), np.float32)
    for i, reading in enumerate(readings):
        scores[i, list(reading.classes)] = 1
    problems = np.array([reading.problem for reading in readings])
    reasons = Counter(reading.problem for reading in readings if reading.problem)
    return Readings(scores, problems != "", problems == REFUSED, dict(sorted(reasons.items())))


def _read(answer: Answer, instructions: Instructions) -> Reading:
    if answer.refused:
        return Reading(problem=REFUSED)
    # The beginning of a list of names, or of a longer name, is an answer of its own.
    if answer.finish == "length" and not answer.text.rstrip().endswith(("}", "```")):
        return Reading(problem=NO_NAME)
    return read_answer(answer.text, instructions)
