"""Demo scenes of Spirit and Opportunity for surface_multi_label_cls."""
