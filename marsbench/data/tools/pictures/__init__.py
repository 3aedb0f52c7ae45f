"""Sample sheets of a data set."""
