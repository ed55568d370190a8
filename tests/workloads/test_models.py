"""Finding a model by name, folder or Hub id, and refusing what is not safe to read."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from workloads.models import SHIPPED_MODELS, ModelError, model_names, resolve_model


def write_model(folder: Path, weights: str = "model.safetensors", config: object = None) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"} if config is None else config))
    (folder / "tokenizer.json").write_text("{}")
    (folder / weights).write_bytes(b"weights")
    return folder


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_kwargs: object) -> None:
        pytest.fail("the network was used")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)


@pytest.mark.usefixtures("no_network")
def test_the_bundled_model_is_found_by_its_name() -> None:
    files = resolve_model("tiny")
    assert files.name == "tiny"
    assert files.folder == SHIPPED_MODELS / "tiny"
    assert files.config["num_hidden_layers"] == 8
    assert files.tokenizer_file.is_file()
    assert files.revision is None


def test_the_bundled_model_is_small_enough_to_ship() -> None:
    assert sum(file.stat().st_size for file in (SHIPPED_MODELS / "tiny").iterdir()) < 10e6


@pytest.mark.usefixtures("no_network")
def test_a_fetched_model_is_found_by_its_name(tmp_path: Path) -> None:
    write_model(tmp_path / "my-model")
    assert resolve_model("my-model", search=[SHIPPED_MODELS, tmp_path]).folder == tmp_path / "my-model"
    assert model_names([SHIPPED_MODELS, tmp_path]) == ("my-model", "tiny")


@pytest.mark.usefixtures("no_network")
def test_a_name_is_looked_up_before_a_folder_beside_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(tmp_path / "tiny")
    monkeypatch.chdir(tmp_path)
    assert resolve_model("tiny").folder == SHIPPED_MODELS / "tiny"
    assert resolve_model("./tiny").folder == tmp_path / "tiny"


@pytest.mark.usefixtures("no_network")
def test_an_unknown_name_suggests_a_known_one_without_asking_the_network() -> None:
    with pytest.raises(ModelError, match="unknown model 'tinny'; did you mean 'tiny'\\?"):
        resolve_model("tinny", search=[SHIPPED_MODELS])
    with pytest.raises(ModelError, match=r"unknown model 'zzz'\. Known here: tiny\."):
        resolve_model("zzz", search=[SHIPPED_MODELS])


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", ["/nowhere/model", "./model", "../tiny", "~/no-such-model"])
def test_a_folder_that_is_not_there_is_said_to_be_missing(name: str) -> None:
    with pytest.raises(ModelError, match="no such folder"):
        resolve_model(name)


@pytest.mark.parametrize("weights", ["pytorch_model.bin", "model.pt", "model.pkl"])
def test_pickled_weights_are_refused_with_the_command_that_converts_them(tmp_path: Path, weights: str) -> None:
    folder = write_model(tmp_path / "model", weights)
    with pytest.raises(ModelError, match="as a pickle") as error:
        resolve_model(str(folder))
    assert weights in str(error.value)
    assert "M.from_pretrained(old).save_pretrained(new)" in str(error.value)
    assert f"'{folder}-safetensors'" in str(error.value)


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_folder_that_lacks_a_file_is_refused(tmp_path: Path, missing: str) -> None:
    folder = write_model(tmp_path / "model")
    (folder / missing).unlink()
    with pytest.raises(ModelError, match=missing.removeprefix("model")):
        resolve_model(str(folder))


@pytest.mark.parametrize("name", ["model", "./model", "../{parent}/model", "~/model"])
def test_a_folder_has_an_address_that_leads_there_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder = write_model(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    files = resolve_model(name.format(parent=tmp_path.name), search=[SHIPPED_MODELS])
    assert files.address == str(folder)
    assert resolve_model("tiny").address == "tiny"


@pytest.mark.parametrize("kind", ["broken link", "link to itself", "folder", "pipe", "device"])
def test_weights_that_are_no_file_are_refused_and_never_opened(tmp_path: Path, kind: str) -> None:
    folder = write_model(tmp_path / "model")
    weights = folder / "model.safetensors"
    weights.unlink()
    match kind:
        case "folder":
            weights.mkdir()
        case "pipe":
            os.mkfifo(weights)  # opening it would wait for somebody to write
        case _:
            targets = {"broken link": tmp_path / "nowhere", "link to itself": weights, "device": Path("/dev/zero")}
            weights.symlink_to(targets[kind])
    with pytest.raises(ModelError, match=r"model\.safetensors is no file: a broken link, a folder or a device"):
        resolve_model(str(folder))


DEEP = '{"a":' + "[" * 100_000


@pytest.mark.parametrize(
    "config", ["{", "[]", "{}", '{"model_type": 3}', "\xff", DEEP], ids=["cut", "list", "empty", "3", "byte", "deep"]
)
def test_a_config_that_describes_no_model_is_refused(tmp_path: Path, config: str) -> None:
    folder = write_model(tmp_path / "model")
    (folder / "config.json").write_bytes(config.encode("latin-1"))
    with pytest.raises(ModelError, match=r"config\.json (is not JSON|names no model_type)"):
        resolve_model(str(folder))


HOSTILE = [
    ({"attn_implementation": "somebody/kernel"}, {}, r"attn_implementation in config\.json names code on the .* Hub"),
    ({"quantization_config": {"quant_method": "gptq"}}, {}, "its weights are quantised"),
    ({"transformers_weights": "weights.bin"}, {}, r"takes weights from 'weights\.bin', which is none of its"),
    ({}, {"adapter_config.json": {"base_model_name_or_path": "somebody/else"}}, "it holds an adapter"),
]


@pytest.mark.parametrize(("config", "files", "message"), HOSTILE, ids=["kernel", "quantised", "weights", "adapter"])
def test_a_folder_that_leads_elsewhere_is_refused(
    tmp_path: Path, config: dict[str, Any], files: dict[str, Any], message: str
) -> None:
    folder = write_model(tmp_path / "model", config={"model_type": "llama", **config})
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    with pytest.raises(ModelError, match=message):
        resolve_model(str(folder))


def write_index(folder: Path, *files: str) -> None:
    weight_map = {f"weight {i}": file for i, file in enumerate(files)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


@pytest.mark.parametrize("named", ["pytorch_model.bin", "../other/model.safetensors", "/etc/passwd", "3.safetensors"])
def test_an_index_may_name_nothing_but_the_safetensors_files_beside_it(tmp_path: Path, named: str) -> None:
    folder = write_model(tmp_path / "model", "1.safetensors")
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    write_index(folder, "1.safetensors", named)
    with pytest.raises(ModelError, match=f"takes weights from {named!r}, which is none of its"):
        resolve_model(str(folder))
    (folder / "1.safetensors").rename(folder / "model.safetensors")  # of the two, transformers takes this
    assert resolve_model(str(folder)).weight_files == (folder / "model.safetensors",)


@pytest.mark.parametrize(
    "index", ["{", "[]", "{}", '{"weight_map": 1}', DEEP], ids=["cut", "list", "empty", "1", "deep"]
)
def test_a_damaged_index_is_refused(tmp_path: Path, index: str) -> None:
    folder = write_model(tmp_path / "model", "1.safetensors")
    (folder / "model.safetensors.index.json").write_text(index)
    with pytest.raises(ModelError, match=r"model\.safetensors\.index\.json is damaged"):
        resolve_model(str(folder))


def test_the_digest_tells_which_of_two_files_a_weight_is_taken_from(tmp_path: Path) -> None:
    digests = set()
    for file in ("1.safetensors", "2.safetensors"):
        folder = write_model(tmp_path / file, "1.safetensors")
        (folder / "2.safetensors").write_bytes(b"others")
        write_index(folder, file)
        digests.add(resolve_model(str(folder)).model_digest)
    assert len(digests) == 2


def test_a_hub_model_is_known_by_its_commit_and_no_pickle_is_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def download(repo: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.update(repo=repo, revision=revision, patterns=allow_patterns)
        return str(write_model(tmp_path / "snapshots" / "c0ffee"))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    files = resolve_model("org/some.model@v1.0")
    assert (asked["repo"], asked["revision"]) == ("org/some.model", "v1.0")
    assert all(pattern.endswith((".json", ".safetensors")) for pattern in asked["patterns"])
    assert files.revision == "c0ffee"
    assert files.name == files.address == "org/some.model@v1.0"


def test_a_hub_that_cannot_be_reached_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object, **_kwargs: object) -> str:
        raise huggingface_hub.errors.LocalEntryNotFoundError("no connection\nand much more")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(ModelError, match=r"model 'org/name': .*Hugging Face Hub: no connection$"):
        resolve_model("org/name")


def test_digests_tell_which_file_changed(tmp_path: Path) -> None:
    original = resolve_model(str(write_model(tmp_path / "one")))
    for file in ("config.json", "tokenizer.json", "model.safetensors"):
        other = tmp_path / file
        shutil.copytree(original.folder, other)
        with (other / file).open("a") as stream:
            stream.write(" ")
        changed = resolve_model(str(other))
        assert (changed.model_digest != original.model_digest) == (file != "tokenizer.json")
        assert (changed.tokenizer_digest != original.tokenizer_digest) == (file == "tokenizer.json")
        assert (changed.config_digest != original.config_digest) == (file == "config.json")
        assert (changed.weights_digest != original.weights_digest) == (file == "model.safetensors")


def test_a_model_has_the_same_digests_wherever_it_lies(tmp_path: Path) -> None:
    one = resolve_model(str(write_model(tmp_path / "one")))
    two = resolve_model(str(write_model(tmp_path / "two")))
    assert (one.model_digest, one.tokenizer_digest) == (two.model_digest, two.tokenizer_digest)
