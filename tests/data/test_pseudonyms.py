import hashlib
import hmac
import multiprocessing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covidct.data.pseudonyms import Pseudonymizer, key_file, load_or_create_key
from covidct.errors import DataRefused, UsageError

KEY = bytes(range(32))


def test_it_is_hmac_sha256_cut_to_16_letters():
    expected = hmac.new(KEY, b"7:patient6:site_a4:0012", hashlib.sha256).hexdigest()[:16]
    assert Pseudonymizer(KEY).patient("site_a", "0012") == expected


def test_key_site_and_number_all_count():
    one = Pseudonymizer(KEY)
    names = [
        one.patient("a", "12"), one.patient("b", "12"), one.patient("a", "0012"), one.uid("12"),
        Pseudonymizer(KEY[::-1]).patient("a", "12"),
    ]  # fmt: skip
    assert len(set(names)) == 5


@given(st.tuples(st.text(max_size=4), st.text(max_size=4)), st.tuples(st.text(max_size=4), st.text(max_size=4)))
def test_no_two_people_are_one(first, second):
    names = Pseudonymizer(KEY)
    assert (names.patient(*first) == names.patient(*second)) == (first == second)


@pytest.mark.parametrize("patient", ["../../etc/x", "a\0b", "x" * 300, "Çelik", "\udcff", ""])
def test_any_number_becomes_16_hex_letters(patient):
    name = Pseudonymizer(KEY).patient("s", patient)
    assert len(name) == 16
    assert set(name) <= set("0123456789abcdef")


def test_the_key_is_not_shown():
    assert KEY.hex() not in repr(Pseudonymizer(KEY))
    assert str(KEY) not in repr(Pseudonymizer(KEY))


def test_a_key_is_made_once_for_its_owner_only(tmp_path):
    path = tmp_path / "config" / "key"
    first = load_or_create_key(path)
    assert len(first) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_or_create_key(path) == first
    assert [one.name for one in path.parent.iterdir()] == ["key"]
    assert load_or_create_key(tmp_path / "other") != first


def test_two_processes_agree_on_one_key(tmp_path):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        keys = pool.map(load_or_create_key, [tmp_path / "key"] * 6, chunksize=1)
    assert len(set(keys)) == 1


def test_a_key_others_can_read_is_refused(tmp_path):
    load_or_create_key(tmp_path / "key")
    (tmp_path / "key").chmod(0o644)
    with pytest.raises(DataRefused, match="other users"):
        load_or_create_key(tmp_path / "key")


@pytest.mark.parametrize("content", [b"", b"abcd", b"not hex at all " * 5, b"\xff\xfe" * 40])
def test_what_is_no_key_is_refused(tmp_path, content):
    (tmp_path / "key").write_bytes(content)
    (tmp_path / "key").chmod(0o600)
    with pytest.raises(DataRefused, match="not a pseudonym key"):
        load_or_create_key(tmp_path / "key")


def test_short_keys_are_refused():
    with pytest.raises(UsageError):
        Pseudonymizer(b"short")


def test_the_key_lies_in_the_users_configuration(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert key_file() == tmp_path / "covidct" / "pseudonym.key"
    assert key_file("~/x") != key_file("x")
