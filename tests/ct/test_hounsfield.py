import re
import tomllib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.pixels.processing import apply_rescale
from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless

from covidct.ct import decode
from covidct.ct.hounsfield import FLOOR_HU, to_hounsfield
from covidct.ct.phantom.encodings import WRITINGS
from covidct.ct.read import read_slice
from covidct.ct.series import FLAGS
from covidct.errors import DataRefused
from tests.ct.dicom_fixtures import ENCODINGS, chest, ct_dataset, write_ct


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_one_slice_in_every_encoding_gives_one_array(tmp_path, encoding):
    got = read_slice(write_ct(tmp_path / "a.dcm", **ENCODINGS[encoding]))
    assert got.units == "HU"
    assert got.pixels.dtype == np.int16
    np.testing.assert_array_equal(got.pixels, chest())
    assert (got.row_mm, got.col_mm) == (0.8, 0.7)


def test_hash_is_the_same_in_every_encoding_and_differs_for_another_slice(tmp_path):
    hashes = {read_slice(write_ct(tmp_path / "a.dcm", **e)).pixel_hash() for e in ENCODINGS.values()}
    assert len(hashes) == 1
    assert read_slice(write_ct(tmp_path / "b.dcm", chest(seed=1))).pixel_hash() not in hashes


def test_agrees_with_pydicom_where_there_is_no_padding():
    ds = ct_dataset(slope=1.7, intercept=-1000.5, bits=16, hu=np.maximum(chest(), -1000))
    oracle = np.clip(np.rint(apply_rescale(ds.pixel_array, ds)), FLOOR_HU, None)
    np.testing.assert_array_equal(to_hounsfield(ds), oracle)


def test_each_slice_has_its_own_slope():
    """PET/CT and some vendors vary the slope from slice to slice."""
    one, two = ct_dataset(slope=0.5, bits=16), ct_dataset(slope=0.25, bits=16)
    assert one.PixelData != two.PixelData
    np.testing.assert_array_equal(to_hounsfield(one), to_hounsfield(two))


def test_bits_above_bits_stored_are_dropped():
    """0xF400 with 12 bits is 1024: 0 HU with the usual intercept (D.2)."""
    ds = ct_dataset()
    ds.PixelData = np.full(ds.Rows * ds.Columns, 0xF400, dtype="<u2").tobytes()
    assert set(np.unique(to_hounsfield(ds))) == {0}


def test_padding_is_found_before_the_rescale_and_never_below_the_floor():
    """-2000 with intercept -1024 would be -3024 HU; read as unsigned 63536, 62512."""
    ds = ct_dataset(signed=True, bits=16, padding=-2000, corners=-2000)
    assert to_hounsfield(ds)[0, 0] == -1024


def test_padding_written_with_the_wrong_sign_is_understood():
    """-200 in a signed picture, written as US: 65336. Taken literally, the padding would pass as fat."""
    ds = ct_dataset(signed=True, bits=16, intercept=0, padding=-200, corners=-200)
    ds["PixelPaddingValue"].VR = "US"
    ds["PixelPaddingValue"].value = 65336
    assert to_hounsfield(ds)[0, 0] == -1024


def test_padding_that_would_be_tissue_after_the_rescale():
    """Stored 1064 is 40 HU, but the header says it is padding."""
    ds = ct_dataset(padding=1064, corners=1064)
    got = to_hounsfield(ds)
    assert got[0, 0] == -1024
    np.testing.assert_array_equal(got == 40, np.zeros_like(got, dtype=bool))


def test_monochrome1_that_cannot_be_told_is_refused():
    body = np.full((32, 32), 40, dtype=np.int16)
    body[8:20, 8:20] = -800  # the rim is tissue: a magnified field of view
    for mono1 in ("stored", "display"):
        with pytest.raises(DataRefused, match="MONOCHROME1"):
            to_hounsfield(ct_dataset(body, mono1=mono1))
    with pytest.raises(DataRefused, match="MONOCHROME1"):  # air is in the middle of the stored range: both fit
        to_hounsfield(ct_dataset(intercept=-3048, mono1="stored"))


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"RescaleSlope": None}, "no RescaleSlope"),
        ({"RescaleIntercept": None}, "no RescaleIntercept"),
        ({"RescaleSlope": 0}, "RescaleSlope is 0"),
        ({"RescaleType": "US"}, "RescaleType is not HU"),
        ({"Modality": "MR"}, "modality MR"),
        ({"Modality": None}, "modality missing"),
        ({"Modality": "Mrs^Smith, born 1950"}, "modality unknown"),
        ({"Modality": "SMITH"}, "modality unknown"),
        ({"BodyPartExamined": "HEAD"}, "body part is not the chest"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "Secondary Capture"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2.1"}, "NumberOfFrames missing"),
        ({"SOPClassUID": None}, "no SOP class"),
        ({"NumberOfFrames": 2}, "several frames"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer"),
        ({"ImageType": ["DERIVED", "SECONDARY", "AXIAL"]}, "SECONDARY"),
        ({"ImageType": ["DERIVED", "PRIMARY", "CSA MPR"]}, "MPR"),
        ({"ImageType": ["DERIVED", "PRIMARY", "MIP"]}, "MIP"),
        ({"ImageType": ["DERIVED", "PRIMARY", "SCREEN SAVE"]}, "screen save"),
        ({"ImageType": ["DERIVED", "PRIMARY", "MIN IP"]}, "MinIP"),
        ({"BurnedInAnnotation": "YES"}, "burned-in"),
        ({"PixelData": None}, "no pixel data"),
        ({"Rows": 65535, "Columns": 65535}, "rows or columns"),
        ({"Rows": None}, "Rows missing"),
        ({"Rows": 4096}, "cut short"),
        ({"SamplesPerPixel": 3}, "colour"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "photometric"),
        ({"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}, "12 to 16 bits"),
        ({"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}, "12 to 16 bits"),
        ({"HighBit": 15}, "high bit"),
        ({"PixelSpacing": None}, "no pixel spacing"),
        ({"PixelSpacing": [0, 0]}, "pixel spacing"),
    ],
)
def test_refused_with_a_reason_that_names_nobody(tmp_path, elements, reason):
    with pytest.raises(DataRefused, match=reason) as caught:
        read_slice(write_ct(tmp_path / "secret-person.dcm", **elements))
    for word in ("SECRET", "Secret", "secret", "Smith", str(tmp_path)):
        assert word not in str(caught.value)


def test_axial_words_of_real_scanners_are_taken():
    for words in (["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"], ["DERIVED", "PRIMARY", "AXIAL"]):
        to_hounsfield(ct_dataset(ImageType=words))


def test_an_absent_decoder_is_named_with_its_package(tmp_path, monkeypatch):
    ds = ct_dataset()
    ds.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xd9"])
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = JPEGLossless
    decoder = pydicom.pixels.get_decoder(JPEGLossless)
    monkeypatch.setattr(decoder, "_available", {})
    monkeypatch.setattr(decoder, "_unavailable", {"gdcm": ("gdcm>=3.0.10",)})
    with pytest.raises(DataRefused, match=r"JPEG Lossless.*1\.2\.840\.10008\.1\.2\.4\.57.*python-gdcm") as caught:
        to_hounsfield(ds)
    assert "pip install python-gdcm" in str(caught.value)


def test_every_compressed_syntax_of_ct_has_a_package_to_name():
    assert "libjpeg" in decode._PACKAGES[JPEGExtended12Bit]


def test_the_manual_and_doctor_list_every_syntax_and_flag():
    """Every syntax that is written or refused somewhere is in the table, with a package that is in pyproject."""
    page = (Path(__file__).parents[2] / "docs/reference/scans.md").read_text(encoding="utf-8")
    for syntax in decode._PACKAGES:
        assert f".{syntax.removeprefix('1.2.840.10008.1.2.')}" in page
    for flag, meaning in FLAGS.items():
        assert f"| `{flag}` | {meaning} |" in page
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    named = {re.split("[>=<\\[]", one)[0] for some in lists for one in some}
    listed = {name: plugins for name, plugins, _ in decode.decoders()}
    for name, _, packages in decode.decoders():
        first = packages.split(" or ")[0].split(" and ")
        assert ("GPL" in packages) == (not set(first) <= named), name
    for writing in WRITINGS.values():
        if writing.syntax.is_encapsulated:
            assert listed[writing.syntax.name], "it is read in test_encodings, so doctor says so"
    assert JPEGBaseline8Bit.name not in listed
    assert "pylibjpeg-libjpeg" not in named
