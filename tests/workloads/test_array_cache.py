import logging

import numpy as np
import pytest

from workloads.array_cache import arrays_digest, cached_arrays

KEY = {"texts": "abc", "length": 128}


class Computation:
    """Returns the same arrays each time and counts how often it was asked."""

    def __init__(self):
        self.num_calls = 0

    def __call__(self):
        self.num_calls += 1
        return {"tokens": np.array([3, 1, 2], np.int32), "empty": np.zeros(0, np.int64)}


@pytest.fixture
def compute():
    return Computation()


def assert_right(arrays):
    assert arrays["tokens"].dtype == np.int32
    assert arrays["tokens"].tolist() == [3, 1, 2]
    assert arrays["empty"].shape == (0,)


def test_an_entry_is_computed_once(tmp_path, compute):
    for _ in range(3):
        assert_right(cached_arrays(tmp_path / "cache", "tokens", KEY, compute))
    assert compute.num_calls == 1


@pytest.mark.parametrize("other", [{"texts": "abd", "length": 128}, {"texts": "abc", "length": 129}])
def test_another_key_is_another_entry(tmp_path, compute, other):
    cached_arrays(tmp_path, "tokens", KEY, compute)
    cached_arrays(tmp_path, "tokens", other, compute)
    assert compute.num_calls == 2


def test_without_a_folder_nothing_is_kept(tmp_path, compute, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert_right(cached_arrays(None, "tokens", KEY, compute))
    assert compute.num_calls == 2
    assert list(tmp_path.iterdir()) == []


def flip_last_byte(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize(
    "damage",
    [flip_last_byte, lambda content: content[:-1], lambda _: b"", lambda _: b"not safetensors at all"],
    ids=["flipped bit", "truncated", "emptied", "foreign"],
)
def test_a_damaged_entry_is_computed_again_and_mended(tmp_path, compute, damage):
    cached_arrays(tmp_path, "tokens", KEY, compute)
    (entry,) = tmp_path.iterdir()
    entry.write_bytes(damage(entry.read_bytes()))
    assert_right(cached_arrays(tmp_path, "tokens", KEY, compute))
    assert compute.num_calls == 2
    cached_arrays(tmp_path, "tokens", KEY, compute)
    assert compute.num_calls == 2


def test_only_whole_entries_have_a_name(tmp_path, compute, monkeypatch):
    def disk_full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", disk_full)
    assert_right(cached_arrays(tmp_path, "tokens", KEY, compute))
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_written_costs_time_and_says_so(tmp_path, compute, caplog):
    (tmp_path / "file").write_text("in the way of a folder")
    with caplog.at_level(logging.WARNING):
        assert_right(cached_arrays(tmp_path / "file", "tokens", KEY, compute))
    assert "could not keep" in caplog.text


def test_the_digest_covers_names_types_shapes_and_values():
    arrays = [
        {"a": np.array([1, 2], np.int32)},
        {"b": np.array([1, 2], np.int32)},
        {"a": np.array([1, 2], np.uint32)},
        {"a": np.array([[1, 2]], np.int32)},
        {"a": np.array([1, 3], np.int32)},
        {"a": np.array([1, 2], np.int32), "b": np.zeros(0, np.int32)},
    ]
    assert len({arrays_digest(each) for each in arrays}) == len(arrays)


def test_the_digest_sees_values_not_memory_layout():
    by_rows = np.arange(6).reshape(2, 3)
    assert arrays_digest({"a": by_rows}) == arrays_digest({"a": np.asfortranarray(by_rows)})
