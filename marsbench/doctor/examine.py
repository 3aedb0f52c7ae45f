"""The whole examination: every probe, none of which can fail the others."""

from collections.abc import Callable
from typing import Any

from marsbench.doctor import machine, network, places
from marsbench.doctor.libraries import reason
from marsbench.doctor.problems import failure, find_problems


def examine(*, offline: bool = False) -> dict[str, Any]:
    """Look at this machine.

    Args:
        offline: Whether to leave the network alone.

    Returns:
        A section per subject, then ``problems``: what is wrong, its ``remedy``, and whether it
        ``stops_runs``. Plain values, ready for JSON. Where a probe broke there is only its
        reason, ``failed``.
    """
    # Asked first and read last: loading torch takes longer than all the rest.
    libraries = _tried(machine.Libraries)
    report: dict[str, Any] = {
        "versions": _tried(machine.versions),
        "missing": _tried(machine.missing),
        "extras": _tried(machine.extras),
        "sources": _tried(lambda: network.sources(offline=offline)),
        "data": _tried(places.local_data),
        "caches": {name: _tried(probe) for name, probe in places.CACHES.items()},
        "shared memory": _tried(places.shared_memory),
        "processor": _tried(machine.processor),
        "nvidia device": _tried(machine.nvidia_device_present),
    }
    found = libraries if failure(libraries) else _tried(libraries.facts)
    report["libraries"] = found
    hub = None if failure(found) else found["torch"].get("hub")
    report["caches"]["torch hub"] = _tried(lambda: places.torch_cache(hub))
    try:
        problems = [problem.to_dict() for problem in find_problems(report)]
    except Exception as error:  # a finding of unforeseen form must not hide the findings
        problems = [{"problem": f"The findings cannot be judged: {reason(error)}."}]
        problems[0] |= {"remedy": "Report it, with all of the above.", "stops_runs": False}
    return {**report, "problems": problems}


def _tried(probe: Callable[[], Any]) -> Any:
    try:
        return probe()
    except Exception as error:  # whatever breaks one probe must not hide the others
        return {"failed": reason(error)}
