"""Source layouts: how a data set lies on disk. Each module's docstring is the data sheet of its source."""

from covidct.data.sources import (
    cc_ccii,
    covid_ct,
    covid_ct_md,
    covidx_ct,
    dicom_tree,
    ictcf,
    mosmed,
    sars_cov_2_ct,
)
from covidct.data.sources.layout import Claim, Layout, Source

SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        dicom_tree.SOURCE,
        covid_ct.SOURCE,
        covid_ct_md.SOURCE,
        covidx_ct.SOURCE,
        cc_ccii.SOURCE,
        mosmed.SOURCE,
        sars_cov_2_ct.SOURCE,
        ictcf.SOURCE,
    )
}

__all__ = ["SOURCES", "Claim", "Layout", "Source"]
