"""Records of runs and the store that keeps them."""
