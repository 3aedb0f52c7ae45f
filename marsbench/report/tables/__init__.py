"""Tables of a report as CSV, Markdown and LaTeX."""
