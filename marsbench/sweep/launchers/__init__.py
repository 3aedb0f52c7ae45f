"""Launchers of sweeps: local processes, SLURM, ray."""
