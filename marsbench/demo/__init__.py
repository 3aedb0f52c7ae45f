"""Demo data: procedural scenes and spectra with exact labels.

Parameters with the same meaning in all scenes: ``rng`` is the source of
randomness; ``side``, ``size`` and ``n`` are the sides of a square picture, field and plan in
pixels; ``light`` and ``sun`` are the direction of the light. Functions without a result change
their arrays in place.
"""
