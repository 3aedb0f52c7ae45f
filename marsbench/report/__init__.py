"""Reports: statistics over records, figures, tables and one page."""
