"""Published data sets in miniature: their folders, names and tables as they are described, with made-up pictures."""

from __future__ import annotations

import zlib
from pathlib import Path

import nibabel
import numpy as np
import openpyxl
from PIL import Image

from tests.ct.dicom_fixtures import chest


def picture(path: Path, *, side: int = 24) -> None:
    """An 8-bit picture of noise that its name and the two folders above decide."""
    path.parent.mkdir(parents=True, exist_ok=True)
    g = np.random.default_rng(zlib.crc32("/".join(path.parts[-3:]).encode()))
    Image.fromarray(g.integers(0, 256, (side, side), dtype=np.uint8)).save(path)


def volume(path: Path, seed: int, slices: int = 3) -> None:
    """A NIfTI volume of the synthetic chest, 8 mm between slices."""
    path.parent.mkdir(parents=True, exist_ok=True)
    hu = np.stack([chest(seed=10 * seed + number).T for number in range(slices)], axis=-1)
    image = nibabel.Nifti1Image(hu.astype(np.int16), np.diag([0.7, 0.7, 8.0, 1.0]))
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)


def sheet(path: Path, *rows: tuple[object, ...]) -> None:
    """An Excel workbook."""
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.save(path)


COVIDX = {
    # name in the lists: part, class code, patient of metadata.csv
    "NCP_96_1328_0032.png": ("train", 2, "NCP_96"),
    "NCP_96_1329_0007.png": ("train", 2, "NCP_96"),
    "CP_10_3153_0172.png": ("train", 1, "CP_10"),
    "Normal_1668_174_0011.png": ("train", 0, "Normal_1668"),
    "137covid_patient76_SR_2_IM00014.png": ("test", 2, "patient76"),
    "normal1_patient7_SR_4_IM00023.png": ("val", 0, "patient7"),
    "volume-covid19-A-0383_1_ct-0018.png": ("val", 2, "volume-covid19-A-0383"),
    "LIDC-IDRI-0068-1.3.6.1.4.1.14519-0048.png": ("test", 0, "LIDC-IDRI-0068"),
    "radiopaedia_4_85506_1-0012.png": ("train", 2, "radiopaedia_4_85506"),
    "COVIDCTMD-cap001-IM0055.png": ("val", 1, "COVIDCTMD-cap001"),
    "CP_1_2_0001.png": ("test", 1, "CP_1"),
}

_METADATA = """\
patient id,source,country,sex,age,finding,verified finding,slice selection,view,modality
NCP_96,CNCB,China,,,COVID-19,Yes,Expert,Axial,CT
CP_1,CNCB,China,,,Pneumonia,Yes,Expert,Axial,CT
CP_10,CNCB,China,,,Pneumonia,Yes,Automatic,Axial,CT
Normal_1668,CNCB,China,,,Normal,Yes,N/A,Axial,CT
patient7,COVID-CTset,Iran,F,53,Normal,Yes,N/A,Axial,CT
patient76,COVID-CTset,Iran,M,61,COVID-19,Yes,Expert,Axial,CT
volume-covid19-A-0383,TCIA,China,,,COVID-19,Yes,Non-expert,Axial,CT
LIDC-IDRI-0068,LIDC-IDRI,USA,,,Normal,Yes,N/A,Axial,CT
radiopaedia_4,COVID-19-CT-Seg,,,,COVID-19,Yes,Expert,Axial,CT
radiopaedia_4_85506,COVID-19-CT-Seg,,,,COVID-19,Yes,Expert,Axial,CT
COVIDCTMD-cap001,COVID-CT-MD,Iran,,,Pneumonia,Yes,Automatic,Axial,CT
"""


def covidx_ct(root: Path) -> Path:
    """Names as each of six sources has them; lists of version 2A."""
    for name in COVIDX:
        picture(root / "2A_images" / name)
    for part in ("train", "val", "test"):
        lines = [f"{name} {code} 9 94 512 405\n" for name, (place, code, _) in COVIDX.items() if place == part]
        (root / f"{part}_COVIDx_CT-2A.txt").write_text("".join(lines))
    (root / "metadata.csv").write_text(_METADATA)
    return root


def cc_ccii(root: Path) -> Path:
    """A patient with two scans, one with pneumonia in JPEG, one normal; a listed lesion."""
    for place in ("NCP/1/1200/0000.png", "NCP/1/1200/0001.png", "NCP/1/1201/0000.png", "CP/10/3153/0172.jpg",
                  "CP/10/3153/0175.jpg", "Normal/1668/174/0003.png"):  # fmt: skip
        picture(root / place)
    (root / "lesions_slices.csv").write_text("imgpath\nNCP/1/1200/0001.png\nCP/10/3153/0172.jpg\n")
    (root / "unzip_filenames.csv").write_text(
        "zip_file,label,patient_id,scan_id,n_slice\n"
        "NCP-1.zip,NCP,1,1200,2\nNCP-1.zip,NCP,1,1201,1\nCP-1.zip,CP,10,3153,2\nNormal-1.zip,Normal,1668,174,1\n"
    )
    return root


def mosmed(root: Path) -> Path:
    """Five studies, one of each severity, a mask and the registry."""
    rows = []
    for number, study in enumerate(("study_0001", "study_0255", "study_0939", "study_1064", "study_1109")):
        volume(root / "studies" / f"CT-{number}" / f"{study}.nii.gz", seed=number)
        rows.append((int(study[-4:]), f"CT-{number}", f"/studies/CT-{number}/{study}.nii.gz", None))
    volume(root / "masks" / "study_0255_mask.nii.gz", seed=99)
    sheet(root / "dataset_registry.xlsx", ("study_id", "category", "study_file", "mask_file"), *rows)
    return root


def sars_cov_2_ct(root: Path) -> Path:
    """Twelve pictures of each class."""
    for number in range(1, 13):
        picture(root / "COVID" / f"Covid ({number}).png")
        picture(root / "non-COVID" / f"Non-Covid ({number}).png")
    return root


def ictcf(root: Path) -> Path:
    """Labelled slices, twelve of each type."""
    for kind in ("NiCT", "nCT", "pCT"):
        for number in range(1, 13):
            picture(root / kind / f"{kind}{number}.jpg")
    return root


def ictcf_patients(root: Path) -> Path:
    """Two patients with two slices each, and labels."""
    for number, slice_ in ((1, 1), (1, 2), (12, 1), (12, 2)):
        picture(root / f"Patient {number}" / "CT" / f"IMG-{number:04d}-{slice_:05d}.jpg")
    (root / "labels.csv").write_text("patient,label,site\nPatient 1,covid19,union\nPatient 12,normal,liyuan\n")
    return root
