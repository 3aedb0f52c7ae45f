"""Question about an image, and the answers to it. Importable without torch."""

import hashlib
from collections.abc import Sequence

QUESTION = "Which class does this image of Mars show? Answer with one of these names: {names}."

USER, ASSISTANT = "<|im_start|>User:", "<end_of_utterance>\nAssistant:"
END = "<end_of_utterance>"
"""Words of SmolVLM's conversations (chat template of its repository)."""

START, SYSTEM = "<|im_start|>", "System: "
"""Words before instructions, which the user's turn follows."""

NO_ANSWER = -1
"""Class of an answer that is the name of no class."""


def question(classes: Sequence[str]) -> str:
    """Question with the names of the classes."""
    return QUESTION.format(names=", ".join(answer(name) for name in classes))


def answer(name: str) -> str:
    """Name of a class, as in questions and answers: underscores are spaces."""
    return " ".join(name.replace("_", " ").split())


def parse(text: str, classes: Sequence[str]) -> int:
    """Class of an answer; `NO_ANSWER` for a text that is not the name of a class alone.

    Case, surrounding spaces and a last full stop do not matter.
    """
    said = answer(text).removesuffix(".").casefold()
    names = [answer(name).casefold() for name in classes]
    return names.index(said) if said in names else NO_ANSWER


def digest() -> str:
    """Digest of the question and the words around it, for run ids."""
    return hashlib.sha256(f"{USER}{QUESTION}{ASSISTANT}{END}".encode()).hexdigest()[:16]
