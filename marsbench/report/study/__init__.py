"""Records of a store as comparable groups, and problems with them."""
