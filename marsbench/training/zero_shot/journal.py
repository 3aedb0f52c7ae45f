"""Answers of a run, kept as they arrive: a line of JSON per answer, flushed to the disk."""

import json
import os
import threading
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from marsbench.base.documents import parse_json
from marsbench.base.errors import StoreError
from marsbench.base.reading import check_regular
from marsbench.base.values import Problem, build

ANSWERS = "answers.jsonl"
"""File of the answers in a run's folder."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Answer to an image; fields of endpoints are empty or None for models on this machine.

    Attributes:
        sample_id: The image.
        prompt: Digest of the instructions.
        text: The answer, without the key of the endpoint.
        refused: Whether the model or the endpoint refused to answer.
        finish: Reason for the end of the answer, as the endpoint gives it.
        model: Name of the model as returned; empty if the endpoint returns none.
        structured: Whether the endpoint enforced the form of the answer.
        input_tokens: Tokens of instructions and image; None if the endpoint does not count.
        output_tokens: Tokens of the answer; None as above.
        cost: US dollars at the prices of the run; None without prices or tokens.
        seconds: Seconds of the request that was answered.
        time: Time of arrival, UTC, ISO 8601.
    """

    sample_id: str
    prompt: str
    text: str
    refused: bool
    finish: str
    model: str
    structured: bool
    input_tokens: int | None
    output_tokens: int | None
    cost: float | None
    seconds: float
    time: str


class Journal:
    """File of answers, read once and appended to by any thread.

    Args:
        folder: Folder of the run, which the caller has claimed.
        prompt: Digest of the instructions; other answers are not used.

    Attributes:
        answers: Usable answers by sample id: of the same prompt and, as all of a run, of the model
            that answered first.

    Raises:
        StoreError: If the file is not a file of answers.
    """

    def __init__(self, folder: Path, prompt: str) -> None:
        self.path = folder / ANSWERS
        self.prompt = prompt
        self.answers: dict[str, Answer] = {}
        self._lock = threading.Lock()
        if self.path.exists():
            self._read()

    @property
    def model(self) -> str | None:
        """Name of the model that answered first; None as long as no answer has one."""
        return next((answer.model for answer in self.answers.values() if answer.model), None)

    def add(self, answer: Answer) -> bool:
        """Keep an answer; returns whether it is of the model that answered first.

        It is on the disk when the function returns.
        """
        line = json.dumps(asdict(answer), ensure_ascii=True) + "\n"
        with self._lock:
            with self.path.open("ab") as file:
                file.write(line.encode())
                file.flush()
                os.fsync(file.fileno())
            return self._use(answer)

    def _use(self, answer: Answer) -> bool:
        # Refusals of the endpoint itself have no model.
        is_same = not answer.model or self.model in (None, answer.model)
        if is_same and answer.prompt == self.prompt:
            self.answers.setdefault(answer.sample_id, answer)
        return is_same

    def _read(self) -> None:
        """Read the answers; the torn line of a killed process is cut off."""
        check_regular(self.path)
        content = self.path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            with self.path.open("r+b") as file:
                file.truncate(len(whole))
        for number, line in enumerate(whole.splitlines(), 1):
            self._use(_parsed(line, f"{self.path}, line {number},"))


def _parsed(line: bytes, where: str) -> Answer:
    problems: list[Problem] = []
    try:
        content = parse_json(line.decode())
        answer = build(Answer, content, problems, strict=True)
    except (ValueError, AttributeError) as error:
        raise _damaged(where, str(error)) from error
    if answer is None:
        raise _damaged(where, problems[0].message)
    return answer


def _damaged(where: str, reason: str) -> StoreError:
    names = ", ".join(field.name for field in fields(Answer))
    return StoreError(
        f"{where} is not a kept answer: {reason}; expected {names}.",
        "Remove the line, whose image is then asked again, or start anew with --force.",
    )
