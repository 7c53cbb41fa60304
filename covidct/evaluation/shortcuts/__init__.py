"""Shortcuts: does a network look at disease, or at something that merely goes with the label?

`chance` says what permuted labels would give, `outcome` lists the probes with their pass lines, `judges` turns numbers
into verdicts and sentences, `section` makes the part of the report. The numbers come from `training.shortcuts`.
"""
