"""Encoders of users, in a Python file or an installed package."""
