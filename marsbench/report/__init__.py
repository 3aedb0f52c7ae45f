"""Reports: statistics over records, figures, tables and an HTML page."""
