"""Thousands of runs: suites, the plan of what is left of them, units of work, launchers.

Engines schedule; this part only plans and records, and what is done is known by its records alone.
"""
