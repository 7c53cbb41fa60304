"""The hunt goes red wherever a value is left, and stays quiet where none is."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pydicom
import pytest
from PIL import Image, PngImagePlugin
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from covidct.data.deidentify.hunt import Quarry
from covidct.data.deidentify.options import Options
from covidct.data.deidentify.originals import Original, originals
from covidct.data.deidentify.private import read_values
from covidct.data.deidentify.tree import deidentify_tree
from covidct.data.deidentify.verify import Hunt, hunt
from tests.ct.dicom_fixtures import write_ct
from tests.data.planted import HUNTED, VRS, attributes, value_of, write_planted

NAME = "Turnstone^Ida"
QUARRY = Quarry([Original("name", NAME), Original("id", "0012345678"), Original("date", "20200305")])


def kinds(seen: Hunt) -> set[str]:
    return {finding.kind for finding in seen.findings}


@pytest.mark.parametrize("vr", VRS)
def test_with_the_cleaner_off_each_value_representation_is_told(tmp_path: Path, vr: str) -> None:
    """One identifier, in a file that is clean but for it: at the top, in a private attribute and three deep."""
    value, _ = value_of(vr, 4242)
    tag = (attributes(vr, named=False) or attributes(vr, named=True))[0]
    for number, place in enumerate(("top", "private", "deep")):
        path = write_ct(tmp_path / str(number) / "0.dcm", PatientID="", PatientName="")
        dataset = pydicom.dcmread(path)
        before = originals(dataset, "0.dcm", Options())
        target = dataset
        if place == "deep":
            for keyword in ("SharedFunctionalGroupsSequence", "CTGeometrySequence", "AnatomicRegionSequence"):
                setattr(target, keyword, Sequence([Dataset()]))
                target = target[keyword].value[0]
        if place == "private":
            target.add_new(0x00090010, "LO", "X")
        target.add(DataElement(0x00091001 if place == "private" else tag, vr, value))
        values = originals(dataset, "0.dcm", Options()) - before
        clean = hunt([path.parent], Quarry(values))
        assert clean.findings == [], "not before it is written"
        dataset.save_as(path)
        assert bool(hunt([path.parent], Quarry(values)).findings) == (vr in HUNTED)


def _png(text: str) -> bytes:
    info, buffer = PngImagePlugin.PngInfo(), io.BytesIO()
    info.add_text("Description", text, zip=True)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(buffer, "png", pnginfo=info)
    return buffer.getvalue()


def _parquet(text: str) -> bytes:
    buffer = io.BytesIO()
    table = pa.table({"a": pa.array([text, text, "x"]).dictionary_encode()})
    pq.write_table(table, buffer, compression="zstd", use_dictionary=True)
    return buffer.getvalue()


def _zip(text: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner.gz", gzip.compress(text.encode()))
    return buffer.getvalue()


def _zstd(text: str) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(text.encode())
    return sink.getvalue().to_pybytes()


def _npz(text: str) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, a=np.array([text, "x"]))
    return buffer.getvalue()


def _torch(text: str) -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.save({"weights": torch.rand(50000), "meta": {"who": text}}, buffer)
    return buffer.getvalue()


def _safetensors(text: str) -> bytes:
    from safetensors.numpy import save

    return save({"w": np.random.default_rng(0).random(50000)}, metadata={"who": text})


def _wandb(text: str) -> bytes:
    """A record cut by the frame of a 32 KiB block (LevelDB log format)."""
    head = 32768 - 7 - 7 - len(text) // 2  # the header of the file, of the chunk, and half the text
    first, rest = b"\1" * head + text.encode()[: len(text) // 2], text.encode()[len(text) // 2 :] + b"\1" * 50
    frames = b"".join(b"\0\0\0\0" + len(part).to_bytes(2, "little") + bytes([kind]) + part
                      for kind, part in ((2, first), (4, rest)))  # fmt: skip
    return b":W&B\xe1\xbe\0" + frames


WAYS: dict[str, Callable[[str], bytes]] = {
    "text": str.encode,
    "utf-16": lambda text: text.encode("utf-16"),
    "gzip": lambda text: gzip.compress(text.encode()),
    "bz2": lambda text: bz2.compress(text.encode()),
    "xz": lambda text: lzma.compress(text.encode()),
    "zlib": lambda text: zlib.compress(text.encode()),
    "zstd": _zstd,
    "gzip in a zip": _zip,
    "npz": _npz,
    "PNG text chunk": _png,
    "Parquet dictionary": _parquet,
    "checkpoint": _torch,
    "safetensors": _safetensors,
    "W&B log": _wandb,
    "PDF": lambda text: b"%PDF-1.4\n1 0 obj <<>>\nstream\r\n" + zlib.compress(text.encode()) + b"\nendstream",
    "picture in a page": lambda text: b'<img src="data:image/png;base64,' + base64.b64encode(_png(text)) + b'">',
    "among noise": lambda text: np.random.default_rng(0).bytes(99999) + text.encode() + b"\xff" * 9,
}


@pytest.mark.parametrize("way", WAYS)
def test_a_value_is_found_in_whatever_a_run_writes(tmp_path: Path, way: str) -> None:
    write = WAYS[way]
    (tmp_path / "file.bin").write_bytes(write("somebody else entirely, 17"))
    assert hunt([tmp_path], QUARRY).findings == []
    (tmp_path / "file.bin").write_bytes(write(f"it was {NAME}, no. 0012345678"))
    assert kinds(hunt([tmp_path], QUARRY)) == {"name", "id"}


@pytest.mark.parametrize(
    "text",
    ["Ida Turnstone", "turnstone, ida", "TURNSTONE_IDA", "TurnstoneIda", "of Turnstone.", "2020-03-05", "05.03.2020",
     "03/05/2020", "20200305T1200", "0012345678", "id=0012345678;", "\\u0054urnstone ... 20200305"],
)  # fmt: skip
def test_the_ways_to_write_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.log").write_text(text)
    assert hunt([tmp_path], QUARRY).findings


@pytest.mark.parametrize(
    "text",
    ["120200305", "0.20200305", "2.25.720200305123", "99001234567899", "a00123456789bcdef0123", "ida", "turn stone",
     "20210305", "f20200305a9e8d7c6"],
)  # fmt: skip
def test_what_is_something_else(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.log").write_text(text)
    assert hunt([tmp_path], QUARRY).findings == []


@pytest.mark.parametrize("name", ["Müller^Jürgen", "王^小东=王小东", "Łukasiewicz^Żaneta", "O'Neil^Seán"])
def test_names_of_the_world_in_their_encodings(tmp_path: Path, name: str) -> None:
    quarry = Quarry([Original("name", name)])
    family = name.split("^")[0] if name[0] != "王" else "王小东"
    for number, codec in enumerate(("utf-8", "utf-16-le", "gb18030", "ascii")):
        data = family.encode(codec, "backslashreplace")
        (tmp_path / f"{number}.txt").write_bytes(b"... " + data + b" ...")
    assert len(hunt([tmp_path], quarry).findings) == 4


@pytest.mark.parametrize("uid", ["2.25.8877665544", "4bae1d63-1eeb-4386-bd1b-68e8ba379989", "98C14734ASSH"])
def test_an_examination_is_named_by_whatever_stands_as_its_uid(tmp_path: Path, uid: str) -> None:
    """COVID-CT-MD has UUIDs where UIDs belong."""
    (tmp_path / "a.log").write_text(f"series {uid}, 12 slices")
    assert kinds(hunt([tmp_path], Quarry([Original("uid", uid)]))) == {"uid"}


def test_names_of_files_and_folders_are_searched_and_not_repeated(tmp_path: Path) -> None:
    (tmp_path / "scan of Turnstone").mkdir()
    (tmp_path / "scan of Turnstone" / "a.txt").write_text("20200305")
    seen = hunt([tmp_path], QUARRY)
    assert {(finding.where, finding.kind) for finding in seen.findings} == {("file name", "name"), ("bytes", "date")}
    assert not any("Turnstone" in finding.file for finding in seen.findings)


def test_what_is_no_evidence_is_counted() -> None:
    quarry = Quarry(
        [Original("name", "Li^A"), Original("id", "17"), Original("text", "CHEST"), Original("number", "120"),
         Original("time", "101112"), Original("uid", "1.2.840.10008.1.2"), Original("text", "Dr. Dunlin")]
    )  # fmt: skip
    assert quarry.hunted == 1
    assert sum(quarry.left_out.values()) == 6


def test_another_patients_shifted_date_is_no_alarm_but_the_own_is(tmp_path: Path) -> None:
    quarry = Quarry([Original("date", "20200305", "aaaa")])
    for owner in ("aaaa", "bbbb"):
        write_ct(tmp_path / owner / "0.dcm", AcquisitionDate="20200305")
    assert [finding.file for finding in hunt([tmp_path], quarry).findings] == ["aaaa/0.dcm"]


def test_after_cleaning_the_hunt_is_quiet_and_before_it_is_not(tmp_path: Path) -> None:
    for number in range(2):
        write_planted(tmp_path / "in", number)
    deidentify_tree(tmp_path / "in", tmp_path / "out", tmp_path / "p", key=b"k" * 32, options=Options(), workers=1)
    quarry = Quarry(read_values(tmp_path / "p"))
    assert quarry.hunted > 150
    assert hunt([tmp_path / "out"], quarry).findings == []
    assert len(hunt([tmp_path / "in"], quarry).findings) > 200


def test_a_table_of_predictions_is_searched_by_value(tmp_path: Path) -> None:
    pd.DataFrame({"patient": ["f" * 16, "0012345678"]}).to_parquet(tmp_path / "predictions.parquet")
    [finding] = hunt([tmp_path], QUARRY).findings
    assert (finding.kind, finding.where) == ("id", "column patient") or finding.where == "bytes"
