"""Demo data: procedural scenes and spectra with exact labels.

Parameters of one meaning everywhere are described here alone: ``rng`` is the source of
randomness; ``side``, ``size`` and ``n`` are the sides of a square picture, field and plan in
pixels; ``light`` and ``sun`` are the direction of the light. Functions that return nothing change
their arrays in place.
"""
