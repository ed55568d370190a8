import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.texts import DataError, read_jsonl, read_txt, split_rows, texts_digest


def written(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    return path


def test_a_text_file_is_read_in_blocks_between_blank_lines(tmp_path):
    path = written(tmp_path, "a.txt", b"\n\none\ntwo\n  \t\n\n    indented\n\nlast\n")
    assert split_rows(read_txt(path), "document") == ["one\ntwo", "    indented", "last"]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_line_ends_of_any_system_make_the_same_blocks(tmp_path, line_end):
    path = written(tmp_path, "a.txt", line_end.join([b"one", b"two", b"", b"three", b""]))
    assert read_txt(path) == ["one\ntwo", "three"]


def test_a_byte_order_mark_is_no_text(tmp_path):
    assert read_txt(written(tmp_path, "a.txt", b"\xef\xbb\xbfhello")) == ["hello"]
    assert read_jsonl(written(tmp_path, "a.jsonl", b'\xef\xbb\xbf{"text": "hello"}'), "text") == ["hello"]


def test_bytes_that_are_not_utf_8_are_reported_with_their_line(tmp_path):
    path = written(tmp_path, "a.txt", "fine\ngrüße\n".encode() + b"caf\xe9\n")
    with pytest.raises(DataError, match=r"a\.txt:3: not UTF-8 \(byte 0xe9\); convert the file"):
        read_txt(path)


def test_a_unit_says_how_rows_become_samples():
    rows = ["a\nb\r\n\r\n  c", "", " \n ", "d"]
    assert split_rows(rows, "document") == ["a\nb\r\n\r\n  c", "d"]
    assert split_rows(rows, "paragraph") == ["a\nb", "  c", "d"]
    assert split_rows(rows, "line") == ["a", "b", "  c", "d"]


def test_an_unknown_unit_is_refused():
    with pytest.raises(
        DataError, match=r"unit 'lines' is unknown \(allowed: document, paragraph, line\); did you mean 'li"
    ):
        split_rows(["a"], "lines")


@given(st.lists(st.text(alphabet="ab \n\t\r"), max_size=5), st.sampled_from(["document", "paragraph", "line"]))
def test_splitting_loses_no_word_and_makes_no_blank_sample(rows, unit):
    samples = split_rows(rows, unit)
    assert " ".join(samples).split() == " ".join(rows).split()
    assert all(sample.strip() for sample in samples)


def test_json_lines_skip_blank_lines_and_read_null_as_empty(tmp_path):
    content = '{"text": "one", "id": 1}\n\n  \r\n{"text": null}\r\n{"text": "two\\n\\u2028lines\u2028"}'
    path = written(tmp_path, "a.jsonl", content.encode())
    assert read_jsonl(path, "text") == ["one", "", "two\n\u2028lines\u2028"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "b"', r"a\.jsonl:2: not a line of JSON: "),
        ("[" * 100_000, r"a\.jsonl:2: not a line of JSON: "),
        ('["b"]', r"""a\.jsonl:2: expected a JSON object such as \{"text": "\.\.\."\}, got '\["b"\]'"""),
        ('{"txet": 1}', r"a\.jsonl:2: no text_column 'text' \(columns: txet\); did you mean 'txet'\?"),
        ("{}", r"a\.jsonl:2: no text_column 'text' \(columns: none\)"),
        ('{"text": 5}', r"a\.jsonl:2: text_column 'text' must hold text, got 5"),
        ('{"text": ["b"]}', r"a\.jsonl:2: text_column 'text' must hold text, got \['b'\]"),
        ('{"text": "\\ud800"}', r"a\.jsonl:2: text_column 'text' holds half of a surrogate pair"),
    ],
)
def test_a_bad_line_of_json_is_named(tmp_path, line, message):
    path = written(tmp_path, "a.jsonl", f'{{"text": "a"}}\n{line}\n'.encode())
    with pytest.raises(DataError, match=message):
        read_jsonl(path, "text")


def test_the_digest_of_texts_depends_on_every_boundary():
    lists = [["ab", "c"], ["a", "bc"], ["abc"], ["abc", ""], ["c", "ab"], []]
    assert len({texts_digest(texts) for texts in lists}) == len(lists)
    assert texts_digest(["ab", "c"]) == texts_digest(("ab", "c"))
