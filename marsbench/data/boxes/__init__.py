"""Boxes of detection tasks: the published forms, their files, and the columns of hub data."""
