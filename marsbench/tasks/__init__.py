"""Tasks: kinds, specifications, the catalogue and custom tasks, without torch."""
