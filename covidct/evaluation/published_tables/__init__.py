"""Tables of a publication, checked: can the printed figures be true of the printed counts, all at once?

From the ground up: `printed` (a figure and what it allows), `rows` (one class against the rest), `joint` (all rows by
one confusion matrix), `wrong_cells`, `mix`, `averages`, `publication` and `reader` (the YAML file), `hypotheses`,
`context`, `audit`, `page`; `own` puts our reports under the same audit.
"""
