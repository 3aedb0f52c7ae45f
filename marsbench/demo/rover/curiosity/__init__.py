"""Demo scenes and hardware of Curiosity for surface_cls."""
