"""`index_report.html`: what an index holds, what it refused and why, and what it looks like, for a person to check."""
