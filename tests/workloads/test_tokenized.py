import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from workloads.texts import DataError
from workloads.tokenized import tokenize

EOS, BOS = 1, 2
WORDS = {"[UNK]": 0, "<eos>": EOS, "<bos>": BOS, "a": 3, "b": 4, "c": 5, "d": 6}


def save_tokenizer(folder, name="tokenizer.json", *, template=None):
    """Write a tokenizer with one token a word, so that every expected id can be read off the text."""
    tokenizer = Tokenizer(models.WordLevel(WORDS, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if template:
        special = [("<bos>", BOS), ("<eos>", EOS)]
        tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=special)
    path = folder / name
    tokenizer.save(str(path))
    return path


@pytest.fixture
def tokenizer_file(tmp_path):
    return save_tokenizer(tmp_path)


def samples(dataset):
    return [dataset.sample(index).tolist() for index in range(len(dataset))]


def test_samples_end_with_the_end_of_text_token(tokenizer_file):
    dataset = tokenize(["a b", "c"], tokenizer_file, max_length_tokens=8, eos_token_id=EOS)
    assert samples(dataset) == [[3, 4, EOS], [5, EOS]]
    assert dataset.tokens.dtype == np.int32
    assert dataset.offsets.dtype == np.int64
    assert dataset.offsets.tolist() == [0, 3, 5]
    assert dataset.lengths.dtype == np.int32
    assert dataset.lengths.tolist() == [3, 2]
    assert (dataset.num_truncated, dataset.num_dropped) == (0, 0)


def test_without_an_end_of_text_token_nothing_is_appended_and_single_tokens_are_dropped(tokenizer_file):
    dataset = tokenize(["a b", "c", "d a"], tokenizer_file, max_length_tokens=8, eos_token_id=None)
    assert samples(dataset) == [[3, 4], [6, 3]]
    assert dataset.num_dropped == 1  # "c"


def test_long_samples_are_cut_and_counted_and_do_not_end(tokenizer_file):
    # With its end "a b" has 3 tokens and just fits; "a b c" has 4 and loses the end.
    dataset = tokenize(["a b", "a b c", "a b c d"], tokenizer_file, max_length_tokens=3, eos_token_id=EOS)
    assert samples(dataset) == [[3, 4, EOS], [3, 4, 5], [3, 4, 5]]
    assert dataset.num_truncated == 2


def test_the_tokenizers_own_special_tokens_are_kept_and_no_end_is_doubled(tmp_path):
    with_start = save_tokenizer(tmp_path, "start.json", template="<bos> $A")
    assert samples(tokenize(["a"], with_start, max_length_tokens=8, eos_token_id=EOS)) == [[BOS, 3, EOS]]
    with_both = save_tokenizer(tmp_path, "both.json", template="<bos> $A <eos>")
    assert samples(tokenize(["a"], with_both, max_length_tokens=8, eos_token_id=EOS)) == [[BOS, 3, EOS]]


def test_limits_inside_the_tokenizer_file_are_not_ours(tmp_path, tokenizer_file):
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=6)
    tokenizer.save(str(tmp_path / "limits.json"))
    dataset = tokenize(["a b c"], tmp_path / "limits.json", max_length_tokens=8, eos_token_id=None)
    assert samples(dataset) == [[3, 4, 5]]


def test_more_texts_than_one_call_takes_stay_in_order_and_progress_is_told(tokenizer_file):
    seen = []
    texts = ["a b", "c d"] * 1250
    dataset = tokenize(
        texts,
        tokenizer_file,
        max_length_tokens=4,
        eos_token_id=None,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert samples(dataset) == [[3, 4], [5, 6]] * 1250
    assert [total for _, total in seen] == [2500] * len(seen)
    assert seen[-1][0] == 2500
    assert len(seen) > 1
    assert sorted(seen) == seen


def test_a_second_call_reads_the_cache(tokenizer_file, tmp_path):
    def tokenize_again(**changes):
        work = []
        arguments = {"max_length_tokens": 8, "eos_token_id": EOS, "tokenizer_file": tokenizer_file} | changes
        texts = arguments.pop("texts", ["a b", "c", "a b c d a b c d"])
        dataset = tokenize(texts, cache_dir=tmp_path / "cache", progress=lambda *done: work.append(done), **arguments)
        return dataset, bool(work)

    first, first_worked = tokenize_again()
    second, second_worked = tokenize_again()
    assert first_worked
    assert not second_worked
    assert samples(second) == samples(first)
    assert (second.digest, second.texts_digest) == (first.digest, first.texts_digest)
    assert (second.num_truncated, second.num_dropped) == (first.num_truncated, first.num_dropped) == (1, 0)
    # Whatever can change the ids is computed anew.
    other_tokenizer = save_tokenizer(tmp_path, "other.json", template="<bos> $A")
    for changes in (
        {"texts": ["a b", "d"]},
        {"max_length_tokens": 9},
        {"eos_token_id": None},
        {"tokenizer_file": other_tokenizer},
    ):
        changed, worked = tokenize_again(**changes)
        assert worked
        assert changed.digest != first.digest


def test_the_digest_names_the_ids_and_the_texts_digest_the_texts(tmp_path, tokenizer_file):
    # "zzz" and "yyy" are both unknown words: other texts, equal ids.
    one = tokenize(["a zzz"], tokenizer_file, max_length_tokens=8, eos_token_id=EOS)
    two = tokenize(["a yyy"], tokenizer_file, max_length_tokens=8, eos_token_id=EOS)
    assert one.digest == two.digest
    assert one.texts_digest != two.texts_digest
    # [3 4] [5 6] and [3] [4 5 6] would be one stream: the boundaries count.
    split = [
        tokenize(texts, tokenizer_file, max_length_tokens=8, eos_token_id=None)
        for texts in (["a b", "c d"], ["a b c d"])
    ]
    assert split[0].tokens.tolist() == split[1].tokens.tolist()
    assert split[0].digest != split[1].digest


def test_the_arrays_cannot_be_changed_by_accident(tokenizer_file):
    dataset = tokenize(["a b"], tokenizer_file, max_length_tokens=8, eos_token_id=EOS)
    for array in (dataset.tokens, dataset.offsets, dataset.lengths, dataset.sample(0)):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 9


@pytest.mark.parametrize("index", [-1, 1])
def test_a_sample_that_does_not_exist_is_an_error(tokenizer_file, index):
    dataset = tokenize(["a b"], tokenizer_file, max_length_tokens=8, eos_token_id=EOS)
    with pytest.raises(IndexError):
        dataset.sample(index)


def test_texts_too_short_to_predict_anything_are_refused(tokenizer_file):
    with pytest.raises(DataError, match="each of the 2 texts has fewer than 2 tokens: there is nothing to predict"):
        tokenize(["a", "b"], tokenizer_file, max_length_tokens=8, eos_token_id=None)


@pytest.mark.parametrize("max_length_tokens", [1, 0, -3])
def test_a_maximum_length_without_room_for_a_prediction_is_refused(tokenizer_file, max_length_tokens):
    with pytest.raises(DataError, match="max_length_tokens must be at least 2, got"):
        tokenize(["a b"], tokenizer_file, max_length_tokens=max_length_tokens, eos_token_id=None)


@pytest.mark.parametrize("eos_token_id", [7, -1])
def test_an_end_of_text_token_that_the_tokenizer_lacks_is_refused(tokenizer_file, eos_token_id):
    with pytest.raises(DataError, match=rf"tokenizer\.json has no token {eos_token_id}, the model's end-of-text token"):
        tokenize(["a b"], tokenizer_file, max_length_tokens=8, eos_token_id=eos_token_id)


def test_a_file_that_is_no_tokenizer_is_refused(tmp_path):
    path = tmp_path / "tokenizer.json"
    with pytest.raises(DataError, match=r"tokenizer .*tokenizer\.json cannot be read: No such file"):
        tokenize(["a b"], path, max_length_tokens=8, eos_token_id=None)
    path.write_text("{}")
    with pytest.raises(DataError, match=r"tokenizer .*tokenizer\.json is not a tokenizer\.json: "):
        tokenize(["a b"], path, max_length_tokens=8, eos_token_id=None)
