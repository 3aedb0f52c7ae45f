"""Demo scenes of the landmarks of landmark_cls."""
