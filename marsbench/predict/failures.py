"""Summarise the errors of failed images."""

import re
from collections.abc import Iterator, Sequence

from marsbench.base.errors import MarsbenchError, some
from marsbench.base.names import display_name
from marsbench.predict.walk import Item

_PLURAL = {"is": "are", "has": "have", "holds": "hold", "says": "say", "was": "were"}
"""Plural of the first verb of error messages, after the file name."""


def summarise(failed: Sequence[tuple[Item, MarsbenchError]]) -> Iterator[str]:
    """Lines about failed images, grouped by reason, the most frequent first."""
    groups: dict[tuple[str, str], list[tuple[Item, MarsbenchError]]] = {}
    for item, error in failed:
        reason = error.problem.removeprefix(f"{item.path} ")
        groups.setdefault((reason, error.remedy), []).append((item, error))
    for (reason, remedy), members in sorted(groups.items(), key=lambda group: -len(group[1])):
        if len(members) == 1:
            item, error = members[0]
            name = str(item.path)
            text = error.problem if name in error.problem else f"{name}: {error.problem}"
        else:
            names = some(item.name for item, _ in members)
            verb, _, rest = reason.removesuffix(".").partition(" ")
            text = f"{len(members)} images {_PLURAL.get(verb, verb)} {rest} ({names})."
            remedy = re.sub(r"\bit\b", "them", remedy)
        yield display_name(f"{text} {remedy}".rstrip())
