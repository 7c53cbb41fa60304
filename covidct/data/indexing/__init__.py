"""From a folder of scans to the slice table: find and read files, name their slices, check them, order them.

`build` is the way through; `reading` and `reads` read files within `limits` and keep what was read; `entries`, `copies`
and `rows` judge and arrange it.
"""
