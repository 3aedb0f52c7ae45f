"""``marsbench doctor``: checks of this machine."""

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from marsbench.cli.output import Format, FormatOption, friendly, say, size_text

BYTES = ("size", "free", "memory", "decoded images", "downloaded data")
"""Names of facts in bytes."""


@friendly
def doctor(
    offline: Annotated[
        bool, typer.Option("--offline", help="Send no requests to data sources.")
    ] = False,
    form: FormatOption = Format.AUTO,
) -> None:
    """Show versions, devices, caches, data and sources, and problems with them.

    Paste the output into a bug report. The exit code is 2 if no run can work here.
    """
    from marsbench.doctor import examine

    report = examine(offline=offline)
    problems = [problem for findings in report.values() for problem in findings.problems]
    problems.sort(key=lambda problem: not problem.stops_runs)
    if form.is_json:
        facts = {subject: findings.facts for subject, findings in report.items()}
        say(json.dumps({**facts, "problems": [asdict(problem) for problem in problems]}))
    else:
        for subject, findings in report.items():
            say(subject.capitalize())
            width = max(map(len, findings.facts), default=0)
            for name, fact in findings.facts.items():
                say(f"  {name:<{width}}  {words(name, fact)}")
            say("")
        say(f"Problems: {len(problems)}" if problems else "No problems.")
        for number, problem in enumerate(problems, 1):
            stops = " No run can work." if problem.stops_runs else ""
            say(f"{number:>3}. {problem.problem}{stops}\n     {problem.remedy}")
    if any(problem.stops_runs for problem in problems):
        raise SystemExit(2)


def words(name: str, fact: Any) -> str:
    """Format a fact; its name is added unless the value is self-explanatory."""
    if isinstance(fact, dict):
        return ", ".join(words(key, value) for key, value in fact.items())
    if isinstance(fact, list):
        return ", ".join(fact) or f"no {name}"
    if isinstance(fact, bool):
        return name if fact else f"not {name}"
    if fact is None:
        return f"no {name}"
    if isinstance(fact, int):
        return f"{name} {size_text(fact) if name in BYTES else fact}"
    return f"failed: {fact}" if name == "failed" else str(fact)
