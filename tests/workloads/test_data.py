import builtins
import importlib.util
import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from workloads.data import DataError, DatasetSpec, held_out_split, load_dataset, load_texts

needs_datasets = pytest.mark.skipif(importlib.util.find_spec("datasets") is None, reason="optional extra `datasets`")


def texts_of(source, **keys):
    return load_texts(DatasetSpec(source=str(source), **keys))


def test_local_files_of_each_format_hold_the_same_texts(tmp_path):
    (tmp_path / "a.txt").write_text("one\n\ntwo\n")
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"text": ""}\n{"text": null}\n{"text": "two"}\n')
    pq.write_table(pa.table({"id": [1, 2, 3, 4], "text": ["one", None, " \n", "two"]}), tmp_path / "a.parquet")
    for name in ("a.txt", "a.jsonl", "a.parquet"):
        assert texts_of(tmp_path / name) == ["one", "two"]


def test_column_and_unit_are_the_scenarios(tmp_path):
    (tmp_path / "a.JSONL").write_text('{"body": "one\\ntwo", "text": "no"}\n')
    assert texts_of(tmp_path / "a.JSONL", text_column="body", unit="line") == ["one", "two"]


@pytest.mark.parametrize("kind", [pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_parquet_text_of_any_arrow_type_is_read(tmp_path, kind):
    pq.write_table(pa.table({"text": pa.array(["one", "two"]).cast(kind)}), tmp_path / "a.parquet")
    assert texts_of(tmp_path / "a.parquet") == ["one", "two"]


def test_a_dataset_is_read_and_tokenised_in_one_call(tmp_path):
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "<eos>": 1, "one": 2, "two": 3}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "a.txt").write_text("one two\n\ntwo")
    spec = DatasetSpec(source=str(tmp_path / "a.txt"))
    tokenizer_file, cache_dir = tmp_path / "tokenizer.json", tmp_path / "cache"
    dataset = load_dataset(spec, tokenizer_file, max_length_tokens=8, eos_token_id=1, cache_dir=cache_dir)
    assert dataset.tokens.tolist() == [2, 3, 1, 3, 1]
    assert [path.name.split("-")[0] for path in cache_dir.iterdir()] == ["tokens"]
    with pytest.raises(DataError, match=r"dataset '.*a\.txt': tokenizer .* has no token 9"):
        load_dataset(spec, tokenizer_file, max_length_tokens=8, eos_token_id=9)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("pydoc", r"dataset 'pydoc' is unknown \(allowed: pydocs, a \.txt, .*Hub id .*\); did you mean 'pydocs'\?"),
        ("", r"dataset '' is unknown \(allowed: pydocs, "),
        ("./corpus", r"dataset '\./corpus' is unknown"),
        ("org/", r"dataset 'org/' is unknown"),
        ("a/b/c", r"dataset 'a/b/c' is unknown"),
        (
            "corpus/a.csv",
            r"dataset file 'corpus/a\.csv': extension '\.csv' is not supported \(allowed: pydocs, a \.txt",
        ),
        ("notthere.txt", r"dataset file 'notthere\.txt' does not exist$"),
        ("nowhere/a.txt", r"dataset file 'nowhere/a\.txt' does not exist$"),
        ("corpsu.txt", r"dataset file 'corpsu\.txt' does not exist; did you mean 'corpus\.txt'\?"),
    ],
)
def test_an_unknown_source_is_refused_with_what_is_allowed(tmp_path, monkeypatch, source, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "corpus.txt").write_text("text")
    with pytest.raises(DataError, match=message):
        texts_of(source)


def test_an_existing_file_of_another_format_is_refused(tmp_path):
    (tmp_path / "notes.rst").write_text("text")
    with pytest.raises(DataError, match=r"notes\.rst': extension '\.rst' is not supported \(allowed: "):
        texts_of(tmp_path / "notes.rst")


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
@pytest.mark.parametrize("content", ["", "\n \n\n"])
def test_a_file_without_text_is_refused(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=rf"dataset '.*{name}' is empty: none of its \d rows holds text"):
        texts_of(tmp_path / name)


def test_rows_that_are_all_blank_are_refused(tmp_path):
    pq.write_table(pa.table({"text": ["", None, "  "]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"is empty: none of its 3 rows holds text"):
        texts_of(tmp_path / "a.parquet")


@pytest.mark.parametrize("key", ["split", "config", "revision"])
@pytest.mark.parametrize("source", ["pydocs", "a.txt", "a.jsonl", "a.parquet"])
def test_a_key_that_would_be_ignored_is_refused(source, key):
    with pytest.raises(
        DataError, match=rf"dataset '{source}': {key} 'x' does not apply to this kind of source; remove"
    ):
        texts_of(source, **{key: "x"})


def test_a_column_of_a_source_without_columns_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    for source in ("pydocs", tmp_path / "a.txt"):
        with pytest.raises(DataError, match="text_column 'body' does not apply to this kind of source"):
            texts_of(source, text_column="body")


def test_parquet_mistakes_are_named(tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 but nothing else PAR1")
    with pytest.raises(DataError, match=r"a\.parquet'?[: ].*(not a readable Parquet file|cannot be read): .*[a-z]"):
        texts_of(path)
    pq.write_table(pa.table({"texts": ["one"], "id": [7]}), path)
    with pytest.raises(DataError, match=r"no text_column 'text' \(columns: texts, id\); did you mean 'texts'\?"):
        texts_of(path)
    with pytest.raises(DataError, match=r"a\.parquet: row 0: text_column 'id' must hold text, got 7"):
        texts_of(path, text_column="id")
    invalid = pa.array([b"fine", b"caf\xe9"]).view(pa.string())
    pq.write_table(pa.table({"text": invalid}), path)
    with pytest.raises(DataError, match=r"a\.parquet: not a readable Parquet file: .*utf-8"):
        texts_of(path)


def test_an_unreadable_file_is_named(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text("text")

    def forbidden(_path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.read_bytes", forbidden)
    with pytest.raises(DataError, match=r"a\.txt' cannot be read: Permission denied"):
        texts_of(path)


def test_a_hub_dataset_without_the_extra_says_what_to_install(monkeypatch):
    real_import = builtins.__import__

    def without_datasets(name, *rest):
        if name == "datasets":
            raise ModuleNotFoundError("No module named 'datasets'")
        return real_import(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_datasets)
    with pytest.raises(DataError, match=r"'org/name' is read by .* not installed: pip install 'splitft\[datasets\]'"):
        texts_of("org/name")


@needs_datasets
def test_a_folder_is_read_through_datasets_without_torch(tmp_path):
    # In a process of its own: `datasets` takes its cache folder from the environment, once.
    script = """
import sys
from workloads.data import DataError, DatasetSpec, load_texts
folder = sys.argv[1]
print(load_texts(DatasetSpec(source=folder, text_column="body", split="test")))
for keys in ({"split": "nosuch"}, {"text_column": "bdoy", "split": "test"}, {"config": "nosuch"}):
    try:
        load_texts(DatasetSpec(source=folder, **keys))
    except DataError as problem:
        print(problem)
print([name for name in ("torch", "transformers") if name in sys.modules])
"""
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "train.jsonl").write_text('{"body": "train"}\n')
    (folder / "test.jsonl").write_text('{"body": "one\\n\\ntwo"}\n{"body": null}\n{"body": "three"}\n')
    out = run_python(script, str(folder), HF_HOME=str(tmp_path / "hf"), HF_HUB_OFFLINE="1")
    texts, split, column, config, heavy = out.splitlines()
    assert texts == str(["one\n\ntwo", "three"])
    assert "(config default, split nosuch, revision newest) cannot be loaded: " in split
    assert column.endswith("no text_column 'bdoy' (columns: body); did you mean 'body'?")
    assert "(config nosuch, split train, revision newest) cannot be loaded: " in config
    assert heavy == "[]"


def test_data_needs_no_torch():
    modules = "workloads.batches, workloads.data, workloads.partition"
    script = f"import sys, {modules}; print([n for n in ('torch', 'transformers', 'datasets') if n in sys.modules])"
    assert run_python(script).strip() == "[]"


def run_python(script, *arguments, **environment):
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, env=os.environ | environment, check=True, capture_output=True, text=True).stdout


@given(
    st.integers(2, 500),
    st.floats(0, 0.99),
    st.integers(0, 300),
    st.integers(0, 2**32),
)
def test_a_held_out_split_is_disjoint_complete_and_bounded(num_samples, frac, max_samples, seed):
    split = held_out_split(num_samples, frac, max_samples, np.random.default_rng(seed))
    assert sorted([*split.train_ids, *split.held_out_ids]) == list(range(num_samples))
    assert len(split.held_out_ids) <= max_samples
    assert len(split.train_ids) >= 1
    again = held_out_split(num_samples, frac, max_samples, np.random.default_rng(seed))
    assert split.held_out_ids.tolist() == again.held_out_ids.tolist()


def test_a_held_out_split_takes_the_fraction_up_to_the_maximum():
    # 10 % of 1,000 is 100; of 10,000 it is 1,000, of which 256 are wanted and the rest stays for training.
    for num_samples, expected in ((1000, 100), (10_000, 256)):
        split = held_out_split(num_samples, 0.1, 256, np.random.default_rng(0))
        assert len(split.held_out_ids) == expected
        assert len(split.train_ids) == num_samples - expected
    assert not np.array_equal(split.held_out_ids, np.arange(256))
    assert (np.diff(split.held_out_ids) > 0).all()
    assert (np.diff(split.train_ids) > 0).all()


def test_one_sample_cannot_be_held_out():
    with pytest.raises(DataError, match="the dataset has 1 sample: nothing to hold out"):
        held_out_split(1, 0.1, 256, np.random.default_rng(0))
    assert held_out_split(1, 0.0, 256, np.random.default_rng(0)).train_ids.tolist() == [0]
