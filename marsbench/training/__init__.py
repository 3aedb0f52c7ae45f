"""Training: data and models meet here, a config becomes a record."""
