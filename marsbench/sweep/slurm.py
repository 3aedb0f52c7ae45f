"""Name under which submitit's pickles of submitted jobs find their task."""

from marsbench.sweep.launchers.slurm import Task

__all__ = ["Task"]
