"""Demo scenes of the fifteen landforms of domars16k."""
