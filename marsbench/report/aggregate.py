"""Public functions of `marsbench.report.statistics.aggregate`, by their documented name."""

from marsbench.report.statistics.aggregate import *  # noqa: F403
