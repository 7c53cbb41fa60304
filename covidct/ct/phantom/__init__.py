"""A synthetic hospital network: chest CT that looks like chest CT, with known lesions and known numbers.

Not a simulation of physics: it gives software something honest to be tested on, and a demonstration something to show.
Results on it say nothing about patients.
"""

from covidct.ct.phantom.network import PhantomSpec, PhantomSummary, write_network
from covidct.ct.phantom.scanner import DEFAULT_SCANNERS, Encoding, Scanner

__all__ = ["DEFAULT_SCANNERS", "Encoding", "PhantomSpec", "PhantomSummary", "Scanner", "write_network"]
