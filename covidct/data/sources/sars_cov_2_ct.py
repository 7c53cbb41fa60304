"""`sars_cov_2_ct`: SARS-CoV-2 CT-scan dataset (Soares, Angelov et al. 2020).

Format: PNG, 8 bit, of different sizes, an unknown window: `COVID/Covid (1).png`, `non-COVID/Non-Covid (1).png`. No
Hounsfield units, no spacing, no order.
Classes: `COVID` -> covid19 (1,252 pictures by the paper), `non-COVID` -> noncovid (1,230). By folder. noncovid is not
"normal": these patients had been scanned for a reason too.
Patients: unknown. The paper speaks of patients of hospitals in Sao Paulo, the pictures say nothing: several come from
one person, and nobody can tell which.
Sites: one, "sao_paulo", although there were several hospitals: none is told.
Split: none, and none by patients can be made: `split=image_level` divides pictures, with a leak that cannot be counted.
Slice labels: none.
Weaknesses: results on divided pictures of one person say nothing about new people; slices were chosen by hand; sizes
and crops differ between the classes.
Licence: CC BY-NC-SA 4.0 by its Kaggle page, as we remember it; look there.
Citation: Soares, Angelov, Biaso, Froes, Abe 2020, medRxiv, doi 10.1101/2020.04.24.20078584.
Not seen: the pictures and the Kaggle page (plameneduardo/sarscov2-ctscan-dataset). The names are those that others'
code opens; any name is read.
"""

from __future__ import annotations

from pathlib import Path

from covidct.ct.ingest import Record
from covidct.data.sources.layout import Claim, Layout, Source, class_folder, refuse_own
from covidct.errors import DataRefused
from covidct.labels import ClassScheme

SITE = "sao_paulo"
CLASSES = ClassScheme(("noncovid", "covid19"), normal=None, positive="covid19")
FOLDERS = {"COVID": "covid19", "non-COVID": "noncovid"}


class SarsCov2CT(Layout):
    """See the module's data sheet."""

    kinds = ("png",)
    patients_known = False

    def wants(self, path: str) -> bool:
        """What lies in one of the two folders."""
        return class_folder(path, FOLDERS) is not None

    def claim(self, record: Record) -> Claim:
        """By folder."""
        place = class_folder(record.path, FOLDERS)
        assert place is not None  # wants() let it through
        label, parts = place
        if len(parts) != 1:
            raise DataRefused("not directly in COVID or non-COVID")
        return Claim(None, SITE, label, "folder")


def open_sars_cov_2_ct(root: Path, labels: Path | None, classes: ClassScheme | None) -> SarsCov2CT:
    """Open a folder.

    Raises:
        UsageError: A labels file was given, or classes without noncovid and covid19.
        DataRefused: One of the two folders is missing.
    """
    refuse_own("sars_cov_2_ct", CLASSES, labels, classes)
    for folder in FOLDERS:
        if not (root / folder).is_dir():
            raise DataRefused(f"there is no folder {folder}", where=str(root), remedy="give the folder that holds both")
    return SarsCov2CT()


SOURCE = Source("sars_cov_2_ct", "SARS-CoV-2 CT-scan: PNG, two classes, patients unknown", CLASSES, open_sars_cov_2_ct)
