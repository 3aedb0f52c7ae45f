"""The catalogue's entries by kind, as plain data; `marsbench.data.catalog` joins them."""
