"""Instructions to a generative model: what the images are, the classes, the form of the answer.

Importable without torch.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marsbench.base.errors import NotAvailableError
from marsbench.config.identity import digest
from marsbench.tasks.kinds import Kind
from marsbench.tasks.prompts import Prompts
from marsbench.tasks.spec import Platform, TaskSpec, normalise

VERSION = 1
"""Part of the digest; raise it when equal instructions are asked or read in another way."""

ONE, SEVERAL = "class", "classes"
"""Keys of an answer: a name, or a list of names."""

_PLACES = {
    Platform.ORBITER: "from orbit",
    Platform.ROVER: "on the ground by a rover",
    Platform.LABORATORY: "in a laboratory",
}

_PAIRS = (
    "Each image is a composite of the same ground at two dates: the blue channel is the earlier "
    "image, the green channel the later one, and the red channel is empty."
)

_QUESTIONS = {
    ONE: "Which class does this image show?",
    SEVERAL: "Which of the classes occur in this image?",
}

_FORMS = {
    ONE: (
        'Answer with a JSON object of the form {"class": "NAME"} and nothing else. NAME is exactly '
        "one of the names above, spelled as there."
    ),
    SEVERAL: (
        'Answer with a JSON object of the form {"classes": ["NAME", ...]} and nothing else. List '
        "the names, spelled as above, of all classes that occur in the image; the list is empty if "
        "none occurs."
    ),
}


@dataclass(frozen=True)
class Instructions:
    """Instructions for the images of a task.

    Attributes:
        system: System message: the images, the classes with descriptions, the form of the answer.
        question: Question beside each image.
        names: Names of the K classes in the order of their ids, as answers spell them.
        key: Key of the answer, `ONE` or `SEVERAL`.
    """

    system: str
    question: str
    names: tuple[str, ...]
    key: str

    @property
    def schema(self) -> dict[str, Any]:
        """JSON Schema of an answer, within the limits of strict structured output."""
        name: dict[str, Any] = {"type": "string", "enum": list(self.names)}
        value = name if self.key == ONE else {"type": "array", "items": name}
        return {
            "type": "object",
            "properties": {self.key: value},
            "required": [self.key],
            "additionalProperties": False,
        }

    @property
    def answers(self) -> list[str]:
        """Valid answers: each class, or all classes at once."""
        values: list[Any] = list(self.names) if self.key == ONE else [list(self.names)]
        return [json.dumps({self.key: value}, ensure_ascii=False) for value in values]

    @property
    def plain(self) -> Mapping[str, Any]:
        """Texts, for records."""
        return {"system": self.system, "question": self.question}

    @property
    def digest(self) -> str:
        """Digest of the texts and the schema, for run ids and kept answers."""
        return digest([VERSION, self.system, self.question, self.schema])[:16]


def instructions(task: TaskSpec, prompts: Prompts) -> Instructions:
    """Instructions for a task of labels.

    Args:
        task: The task; of masks as `marsbench.tasks.spec.recast`.
        prompts: Words of its classes, in the order of the data's ids.

    Raises:
        NotAvailableError: If answers cannot tell two classes apart.
    """
    classes = prompts.classes
    if len({normalise(c.name) for c in classes}) < len(classes):
        raise NotAvailableError(
            f"Two classes of {task.name} have the same name in an answer.",
            "Give the classes names that differ in more than case and punctuation.",
        )
    key = SEVERAL if task.kind is Kind.MULTILABEL else ONE
    camera = ", ".join(filter(None, (task.mission, task.sensor)))
    taken = f"{_PLACES[task.platform]}{f' ({camera})' if camera else ''}"
    lines = [
        "You are an expert in planetary science and label images of Mars.",
        f"The images are of the data set '{task.title or task.name}', taken {taken}.",
        *([_PAIRS] if task.is_pairs else []),
        "The classes are:",
        *(f"- {c.name}: {c.description}" if c.description else f"- {c.name}" for c in classes),
        _FORMS[key],
    ]
    return Instructions("\n".join(lines), _QUESTIONS[key], tuple(c.name for c in classes), key)
