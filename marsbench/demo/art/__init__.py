"""Drawing primitives of the demo scenes: terrain, shapes, light."""
