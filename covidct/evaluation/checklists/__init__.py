"""Reporting checklists as data, filled in from the evidence of a run folder."""
