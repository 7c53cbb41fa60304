import os
from unittest import mock

import numpy as np
import pydicom
import pytest
from pydicom.datadict import keyword_for_tag

from covidct.ct import decode
from covidct.ct.ingest import ingest
from covidct.ct.phantom.encodings import WRITINGS, write_scan
from covidct.ct.read import read_slice
from covidct.errors import DataRefused
from tests.conftest import shared
from tests.ct.dicom_fixtures import chest

HU = np.stack([chest(40, seed=k)[:, :36] for k in range(4)])


def write(folder, change=lambda dataset: None, name="enhanced"):
    [path] = write_scan(folder, HU, WRITINGS[name])
    dataset = pydicom.dcmread(path)
    change(dataset)
    dataset.save_as(path)
    return path


def reasons(path):
    return [record.reason for record in ingest(path.parent, path.name, ("dicom",))]


def shared_group(dataset, keyword):
    return dataset.SharedFunctionalGroupsSequence[0][keyword].value[0]


def frame_group(dataset, frame, keyword):
    return dataset.PerFrameFunctionalGroupsSequence[frame][keyword].value[0]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: setattr(d, "NumberOfFrames", 2**31 - 1), "number of frames differs"),
        (lambda d: setattr(d, "NumberOfFrames", 3), "number of frames differs"),
        (lambda d: setattr(d, "NumberOfFrames", -1), "NumberOfFrames missing"),
        (lambda d: delattr(d, "NumberOfFrames"), "NumberOfFrames missing"),
        (lambda d: delattr(d, "PerFrameFunctionalGroupsSequence"), "number of frames differs"),
        (lambda d: setattr(d, "Rows", 65535), "rows or columns"),
        (lambda d: setattr(d, "Rows", 4096), "cut short"),
        (lambda d: setattr(d, "PixelData", d.PixelData[:-2]), "cut short"),
        (lambda d: delattr(d, "PixelData"), "no pixel data"),
        (lambda d: setattr(d, "Modality", "MR"), "modality MR"),
        (lambda d: delattr(d.SharedFunctionalGroupsSequence[0], "PixelMeasuresSequence"), "no pixel spacing"),
        (lambda d: delattr(d.SharedFunctionalGroupsSequence[0], "PlaneOrientationSequence"), "position or orientation"),
        (lambda d: delattr(d, "SharedFunctionalGroupsSequence"), "position or orientation"),
        (lambda d: setattr(d, "BurnedInAnnotation", "YES"), "burned-in"),
    ],
)
def test_a_file_that_is_refused_as_a_whole(tmp_path, change, reason):
    with mock.patch.object(decode, "as_pixel_options", wraps=decode.as_pixel_options) as decoded:
        found = reasons(write(tmp_path, change))
    assert found
    assert all(reason in one for one in found)
    assert not decoded.called, "refused from the header, before a pixel is read"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda group: delattr(group, "RescaleSlope"), "no RescaleSlope"),
        (lambda group: setattr(group, "RescaleSlope", 0), "RescaleSlope is 0"),
        (lambda group: setattr(group, "RescaleType", "US"), "RescaleType is not HU"),
    ],
)
def test_one_frame_that_is_refused_leaves_the_others(tmp_path, change, reason):
    path = write(tmp_path, lambda d: change(frame_group(d, 2, "PixelValueTransformationSequence")))
    first, second, third, fourth = reasons(path)
    assert (first, second, fourth) == ("", "", "")
    assert reason in third
    with pytest.raises(DataRefused, match=reason):
        read_slice(path, 2)


@pytest.mark.parametrize(
    ("keyword", "value", "reason"),
    [
        ("FrameType", ["ORIGINAL", "PRIMARY", "LOCALIZER", "NONE"], "localizer"),
        ("FrameType", ["DERIVED", "PRIMARY", "PERFUSION", "RCBF"], "perfusion"),
        ("VolumeBasedCalculationTechnique", "MAX_IP", "MIP"),
        ("VolumeBasedCalculationTechnique", "CURVED_MPR", "MPR"),
        ("VolumeBasedCalculationTechnique", "VOLUME_RENDER", "volume rendering"),
    ],
)
def test_the_type_of_a_frame_is_judged_not_that_of_the_file(tmp_path, keyword, value, reason):
    path = write(tmp_path, lambda d: setattr(shared_group(d, "CTImageFrameTypeSequence"), keyword, value))
    assert all(reason in one for one in reasons(path))
    fine = write(tmp_path, lambda d: setattr(d, "ImageType", ["DERIVED", "SECONDARY", "PERFUSION", "RCBF"]))
    assert reasons(fine) == [""] * 4


def test_a_group_of_the_frame_is_read_where_the_shared_one_is_missing(tmp_path):
    def move(dataset):
        common = dataset.SharedFunctionalGroupsSequence[0]
        for frame in dataset.PerFrameFunctionalGroupsSequence:
            for element in common:
                frame.add(element)
        for tag in list(common.keys()):
            delattr(common, keyword_for_tag(tag))

    path = write(tmp_path, move)
    assert reasons(path) == [""] * 4
    assert read_slice(path, 3).row_mm == 0.8


def test_one_frame_is_decoded_at_a_time_and_the_header_is_parsed_once(tmp_path):
    path = write(tmp_path, name="enhanced, JPEG-LS")
    read_slice(path, 0)
    decoder = decode.get_decoder(pydicom.uid.JPEGLSLossless)
    with (
        mock.patch.object(type(decoder), "as_array", autospec=True, side_effect=type(decoder).as_array) as decoded,
        mock.patch("pydicom.dcmread", side_effect=AssertionError("parsed again")),
    ):
        for frame in (3, 1):
            read_slice(path, frame)
    assert [call.kwargs["index"] for call in decoded.call_args_list] == [3, 1]


def test_another_file_of_the_same_name_is_read_afresh(tmp_path):
    path = write(tmp_path)
    before = read_slice(path, 1).pixels
    dataset = pydicom.dcmread(path)
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        frame.PixelValueTransformationSequence[0].RescaleIntercept = -1000
    dataset.save_as(path)
    os.utime(path, ns=(1, 1))
    np.testing.assert_array_equal(read_slice(path, 1).pixels[before > -1000], before[before > -1000] + 24)


@pytest.mark.parametrize("frame", [-1, 4, 10**9])
def test_there_is_no_such_frame(tmp_path, frame):
    with pytest.raises(DataRefused, match="of a file with 4 frames"):
        read_slice(write(tmp_path), frame)


@pytest.mark.parametrize("name", ["enhanced", "enhanced, JPEG-LS", "legacy converted"])
def test_a_file_cut_anywhere_is_refused(tmp_path, name):
    """Where the frames are compressed, those before the cut may be whole: they are, to the last bit."""
    whole = write(tmp_path, name=name).read_bytes()
    exact = [read_slice(tmp_path / "scan.dcm", frame).pixels for frame in range(4)]
    cut = tmp_path / "cut.dcm"
    for length in range(0, len(whole) - 8, 256):
        cut.write_bytes(whole[:length])
        records = ingest(tmp_path, "cut.dcm", ("dicom",))
        assert any(record.reason for record in records)
        for record in records:
            if not record.reason:
                np.testing.assert_array_equal(read_slice(cut, record.frame).pixels, exact[record.frame])


def test_a_real_enhanced_file_is_a_perfusion_map():
    """Two frames of a stroke study (David Clunie's test objects), refused for what their functional groups say."""
    [path] = shared("data", "dicom_transfer_syntax_suite").glob("CT0012.*")
    assert reasons(path) == ["image type says perfusion map"] * 2
