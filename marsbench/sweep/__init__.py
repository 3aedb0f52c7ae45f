"""Sweeps of thousands of runs: suites, plans of the remaining runs, units of work, launchers.

Launchers schedule; the rest plans and records. Records alone say which runs are done.
"""
