"""Procedural demo data: one recipe per task, exact labels."""
