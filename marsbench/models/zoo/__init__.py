"""Zoo entries and their lookup by name."""
