"""The model zoo, and functions to build its entries."""
