"""Answers of the services."""

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Answer:
    """Content, status and headers."""

    content: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    needs_token: bool = False


def json_answer(value: Any) -> Answer:
    return Answer(json.dumps(value).encode(), headers={"Content-Type": "application/json"})
