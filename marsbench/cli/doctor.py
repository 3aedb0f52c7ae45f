"""``marsbench doctor``: what will work on this machine."""

import json
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from marsbench.cli.output import Format, FormatOption, friendly, say
from marsbench.doctor.problems import failure

Lines = Iterator[tuple[str, str]]


@friendly
def doctor(
    offline: Annotated[
        bool, typer.Option("--offline", help="Do not try whether data sources answer.")
    ] = False,
    form: FormatOption = Format.AUTO,
) -> None:
    """Show versions, devices, caches, data and sources, and what is wrong with them.

    Paste its output into a report of a bug. The exit code is 2 if no run can work here.
    """
    from marsbench.doctor.examine import examine

    report = examine(offline=offline)
    if form.is_json:
        say(json.dumps(report))
    else:
        _print(report)
    if any(problem["stops_runs"] for problem in report["problems"]):
        raise SystemExit(2)


def _print(report: dict[str, Any]) -> None:
    sections = {
        "Versions": _versions,
        "Extras": _extras,
        "Devices": _devices,
        "Folders": _folders,
        "Sources": _sources,
        "Data": _data,
    }
    for title, lines in sections.items():
        say(title)
        for name, text in lines(report):
            say(f"  {name:<18} {text}".rstrip())
        say("")
    problems = report["problems"]
    say(f"Problems: {len(problems)}" if problems else "No problems.")
    for number, problem in enumerate(problems, 1):
        stops = " No run can work." if problem["stops_runs"] else ""
        say(f"{number:>3}. {problem['problem']}{stops}")
        say(f"     {problem['remedy']}")


def _unknown(found: Any) -> str | None:
    reason = failure(found)
    return None if reason is None else f"unknown: {reason}"


def _versions(report: dict[str, Any]) -> Lines:
    versions, libraries = report["versions"], report["libraries"]
    if text := _unknown(versions):
        yield "versions", text
    else:
        for name, version in versions.items():
            if name != "git":
                yield name, str(version)
        if git := versions["git"]:
            yield "commit", f"{git['commit']}{' and changes' if git['dirty'] else ''}"
    if text := _unknown(libraries):
        yield "libraries", text
        return
    for name, facts in libraries.items():
        if reason := failure(facts):
            yield f"{name} loads", f"no: {reason}"
    if built := libraries["torch"].get("cuda"):
        yield "torch built for", f"CUDA {built}"


def _extras(report: dict[str, Any]) -> Lines:
    if text := _unknown(report["extras"]):
        yield "extras", text
        return
    for row in report["extras"]:
        found = ", ".join(f"{name} {version}" for name, version in row["packages"].items())
        yield row["extra"], found if row["installed"] else f"not installed: {row['install']}"


def _devices(report: dict[str, Any]) -> Lines:
    cpu, libraries = report["processor"], report["libraries"]
    if text := _unknown(cpu):
        yield "CPU", text
    else:
        yield (
            "CPU",
            f"{cpu['model']}, {_number(cpu['cores usable'])} of {cpu['cores']} cores usable",
        )
        yield "memory", f"{_size(cpu['memory'])}, {_size(cpu['memory free'])} free"
        yield "OMP_NUM_THREADS", cpu["OMP_NUM_THREADS"] or "not set"
    if text := _unknown(libraries) or _unknown(libraries["torch"]):
        yield "torch", text
        return
    torch = libraries["torch"]
    yield "torch threads", str(torch["threads"])
    yield "MPS", "yes" if torch["mps"] else "no"
    if text := _unknown(libraries["cuda"]):
        yield "CUDA", text
        return
    devices = libraries["cuda"]["devices"]
    if not devices:
        yield "CUDA", "no device"
    for device in devices:
        bf16 = "bf16" if device.get("bf16") else "no bf16"
        state = "" if device["works"] else ", DOES NOT WORK"
        memory = f"{_size(device.get('memory'))}, {_size(device.get('free'))} free"
        capability = f"capability {device.get('capability', 'unknown')}"
        text = f"{device.get('name', 'unknown')}, {memory}, {capability}, {bf16}{state}"
        yield f"CUDA {device['index']}", text


def _folders(report: dict[str, Any]) -> Lines:
    for name, found in report["caches"].items():
        if text := _unknown(found):
            yield name, text
            continue
        parts = [found["path"]]
        if "size" in found:
            parts.append(f"{'' if found['measured'] else 'over '}{_size(found['size'])}")
        if not found["exists"]:
            parts.append("not there yet")
        if not found["writable"]:
            parts.append("NOT WRITABLE")
        parts.append(f"{_size(found['free'])} free")
        yield name, ", ".join(parts)
    shared = report["shared memory"]
    if text := _unknown(shared):
        yield "shared memory", text
    elif shared is not None:
        yield "shared memory", f"{shared['path']}, {_size(shared['free'])} free"


def _sources(report: dict[str, Any]) -> Lines:
    if text := _unknown(report["sources"]):
        yield "sources", text
        return
    for name, found in report["sources"].items():
        state = "NOT REACHED: " if found["reachable"] is False else ""
        yield name, f"{found['url']}, {state}{found['said']}"


def _data(report: dict[str, Any]) -> Lines:
    data = report["data"]
    if text := _unknown(data):
        yield "data", text
        return
    yield "found", f"{len(data['found'])} of {data['tasks']} tasks"
    yield from data["found"].items()
    for what, path in data["searched"].items():
        yield "searched", f"{path} ({what})"
    yield "elsewhere", "add root=FOLDER to a run; without data, source=demo"


def _size(count: int | None) -> str:
    if count is None:
        return "unknown"
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e3:.0f} kB"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:g}"
