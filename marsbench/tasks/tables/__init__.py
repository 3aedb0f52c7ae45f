"""The catalogue's entries by kind, as plain data; `marsbench.tasks.catalog` joins them."""
