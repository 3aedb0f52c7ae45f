"""Old module path of the task in pickles of submitted jobs."""

from marsbench.sweep.launchers.slurm import Task

__all__ = ["Task"]
