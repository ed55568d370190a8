"""The catalogue of shapes, and where a cut of one model lies in another."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workloads.known_models import PUBLISHED_SIZES
from workloads.config_json import ConfigError
from workloads.known_shapes import is_shape, resolve_shape, shape_names
from workloads.pricing import priced_cut
from workloads.shapes import ModelShape

NUM_BLOCKS = st.integers(2, 100)


def test_every_shape_of_the_catalogue_has_a_published_size_to_be_compared_with() -> None:
    assert set(shape_names()) == set(PUBLISHED_SIZES)
    assert len(shape_names()) >= 20


@pytest.mark.parametrize("name", shape_names())
def test_the_parameters_of_a_shape_are_the_published_ones(name: str) -> None:
    assert ModelShape.from_config(resolve_shape(name).config).num_parameters == PUBLISHED_SIZES[name]


@pytest.mark.parametrize(
    ("name", "longest_tokens", "windows"),
    [
        # What a parameter count does not show: longest sequences and attention windows, as the model cards give them.
        ("gpt2", 1024, {None}),
        ("llama-2-7b", 4096, {None}),
        ("llama-3.2-1b", 131072, {None}),
        ("qwen2.5-0.5b", 32768, {None}),
        ("mistral-7b-v0.1", 32768, {4096}),
        ("phi-3-mini-4k", 4096, {2047}),
        ("gpt-neo-1.3b", 2048, {None, 256}),
        ("gemma-3-1b", 32768, {None, 512}),
    ],
)
def test_a_shape_has_the_published_lengths(name: str, longest_tokens: int, windows: set[int | None]) -> None:
    shape = ModelShape.from_config(resolve_shape(name).config)
    assert (shape.max_positions, set(shape.attention_windows)) == (longest_tokens, windows)


def test_a_config_json_or_its_folder_is_a_shape_too(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(resolve_shape("pythia-70m").config))
    assert is_shape(str(file))
    assert not is_shape(str(tmp_path))  # a folder may hold a model with weights
    for name in (str(file), str(tmp_path)):
        assert resolve_shape(name).config == resolve_shape("pythia-70m").config


def test_the_digest_is_of_the_values_and_not_of_how_the_file_is_laid_out(tmp_path: Path) -> None:
    config = resolve_shape("gpt2").config
    (tmp_path / "a.json").write_text(json.dumps(config, indent=4))
    (tmp_path / "b.json").write_text(json.dumps(dict(reversed(config.items()))))
    (tmp_path / "c.json").write_text(json.dumps({**config, "n_layer": 13}))
    digests = [resolve_shape(str(tmp_path / f"{name}.json")).digest for name in "abc"]
    assert digests[0] == digests[1] == resolve_shape("gpt2").digest
    assert digests[2] != digests[0]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gpt-2", r"unknown model 'gpt-2'; did you mean 'gpt2'\? Known by their shape: gemma-3-1b,"),
        ("tinny", r"unknown model 'tinny'; did you mean 'tiny'\?"),  # a name that only the caller knows
        ("./nowhere/config.json", "unknown model './nowhere/config.json'"),
    ],
)
def test_an_unknown_shape_is_told_what_there_is(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve_shape(name, others=["tiny"])


def test_a_file_that_is_no_mapping_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(ConfigError, match=r"config\.json: expected a mapping at the top level"):
        resolve_shape(str(tmp_path / "config.json"))


@pytest.mark.parametrize(
    ("cut", "num_blocks", "num_priced_blocks", "expected"),
    [
        (2, 8, 16, 4),  # 2 * 16 / 8
        (1, 8, 12, 2),  # 1.5: a half goes to the even number
        (3, 8, 12, 4),  # 4.5
        (1, 12, 4, 1),  # 0.33, but a client holds a block at least
        (11, 12, 4, 3),  # 3.67, but the server holds a block at least
        (12, 12, 4, 4),  # all blocks are all blocks
    ],
)
def test_a_cut_lies_at_the_same_part_of_the_depth(
    cut: int, num_blocks: int, num_priced_blocks: int, expected: int
) -> None:
    assert priced_cut(cut, num_blocks, num_priced_blocks) == expected


@given(num_blocks=NUM_BLOCKS, num_priced_blocks=NUM_BLOCKS)
def test_priced_cuts_rise_with_cuts_and_leave_both_sides_a_block(num_blocks: int, num_priced_blocks: int) -> None:
    cuts = [priced_cut(cut, num_blocks, num_priced_blocks) for cut in range(1, num_blocks)]
    assert cuts == sorted(cuts)
    assert 1 <= cuts[0] <= cuts[-1] <= num_priced_blocks - 1
    assert priced_cut(num_blocks, num_blocks, num_priced_blocks) == num_priced_blocks


@given(num_blocks=NUM_BLOCKS)
def test_a_model_priced_as_itself_keeps_its_cuts(num_blocks: int) -> None:
    cuts = range(1, num_blocks + 1)
    assert [priced_cut(cut, num_blocks, num_blocks) for cut in cuts] == list(cuts)
