"""Source layouts: how a data set lies on disk. Each module's docstring is the data sheet of its source."""

from covidct.data.sources import covid_ct, covid_ct_md, dicom_tree
from covidct.data.sources.layout import Claim, Layout, Source

SOURCES: dict[str, Source] = {
    source.name: source for source in (dicom_tree.SOURCE, covid_ct.SOURCE, covid_ct_md.SOURCE)
}

__all__ = ["SOURCES", "Claim", "Layout", "Source"]
