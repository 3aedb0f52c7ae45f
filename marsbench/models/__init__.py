"""The model zoo and how its entries are built."""
