"""The probes of a run for shortcuts: what they show the network, what they ask of the slice table.

`battery.audit` runs them; verdicts and sentences are `covidct.evaluation.shortcuts`'.
"""
