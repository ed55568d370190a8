"""The real 135M model: downloads 93 MB and takes about a minute (`pytest -m slow`)."""

import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from workloads.fetch import fetch_model
from workloads.fetchable import FETCHABLE
from workloads.models import resolve_model
from workloads.shapes import ModelShape

pytestmark = [pytest.mark.slow, pytest.mark.torch]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    models = tmp_path_factory.mktemp("models")
    assert fetch_model("smollm2-135m", into=models)
    assert not fetch_model("smollm2-135m", into=models)
    return resolve_model("smollm2-135m", search=[models])


def test_it_is_the_size_that_its_makers_say(files):
    model = AutoModelForCausalLM.from_pretrained(files.folder)
    assert model.num_parameters() == 134_515_008
    assert ModelShape.from_config(files.config).num_parameters == FETCHABLE["smollm2-135m"].num_parameters
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_it_continues_a_sentence_sensibly(files):
    tokenizer = AutoTokenizer.from_pretrained(files.folder)
    model = AutoModelForCausalLM.from_pretrained(files.folder)
    prompt = tokenizer("The capital of France is", return_tensors="pt")
    answer = tokenizer.decode(model.generate(**prompt, max_new_tokens=4, do_sample=False)[0])
    assert answer.startswith("The capital of France is Paris")


def test_its_tokenizer_takes_digits_one_by_one_and_loses_nothing(files):
    tokenizer = Tokenizer.from_file(str(files.tokenizer_file))
    # Each run of digits is split off first, so a space before it stands alone and two spaces make one token.
    assert tokenizer.encode("In 2024,  366").tokens == ["In", "Ġ", *"2024", ",", "ĠĠ", *"366"]
    text = "def f(x):\n    return x + 10  # naïve café 北京 😀 3.14159\n"
    assert tokenizer.decode(tokenizer.encode(text).ids) == text
