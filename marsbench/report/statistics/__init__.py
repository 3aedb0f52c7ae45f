"""Statistics over scores: aggregates, intervals, comparisons."""
