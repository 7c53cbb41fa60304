"""covidct: chest-CT classification experiments whose numbers can be defended. Not a medical device."""

from importlib.metadata import PackageNotFoundError, version

from covidct import _torchvision

_torchvision.install()

try:
    __version__ = version("covidct")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0"
