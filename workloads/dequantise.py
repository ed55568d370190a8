"""Turn a GGUF file into a plain float32 model folder, in a process of its own.

    python -m workloads.dequantise model.gguf folder --pre-tokenizer smollm

A process of its own keeps torch out of the one that fetches, gives its memory back, and can be stopped at any moment.
"""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from tokenizers import pre_tokenizers
from tokenizers.pre_tokenizers import PreTokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

# A GGUF file only names how its tokenizer splits text before merging (`tokenizer.ggml.pre`), and transformers does not
# read the name. "smollm" is what tokenizer.json of SmolLM2 says: every digit is a token.
PRE_TOKENIZERS: Mapping[str, Callable[[], PreTokenizer]] = {
    "smollm": lambda: pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    ),
}


class ConversionError(RuntimeError):
    """A GGUF file does not hold the whole model that its header describes."""


def dequantise(gguf_file: Path, folder: Path, *, pre_tokenizer: str) -> None:
    """Write config.json, float32 safetensors weights and the tokenizer of a GGUF file.

    Args:
        gguf_file: any architecture that transformers reads.
        folder: where to; made if it is not there.
        pre_tokenizer: a key of `PRE_TOKENIZERS`.

    Raises:
        ConversionError: weights are missing in the file, or would be left over.
    """
    model, report = AutoModelForCausalLM.from_pretrained(
        gguf_file.parent,
        gguf_file=gguf_file.name,
        quantization_config=GgufConfig(dequantize=True),  # a model that stays packed cannot be saved
        dtype=torch.float32,
        local_files_only=True,
        trust_remote_code=False,
        output_loading_info=True,
    )
    # transformers fills what it does not find with random numbers and goes on.
    if wrong := {what: sorted(map(str, keys)) for what, keys in report.items() if keys}:
        raise ConversionError(f"{gguf_file.name} does not fit {type(model).__name__}: {wrong}")
    tokenizer = AutoTokenizer.from_pretrained(gguf_file.parent, gguf_file=gguf_file.name, local_files_only=True)
    tokenizer.backend_tokenizer.pre_tokenizer = PRE_TOKENIZERS[pre_tokenizer]()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def main() -> None:
    """Convert the file that the command line names."""
    cli = argparse.ArgumentParser(description="Turn a GGUF file into a plain float32 model folder.")
    cli.add_argument("gguf_file", type=Path)
    cli.add_argument("folder", type=Path)
    cli.add_argument("--pre-tokenizer", choices=sorted(PRE_TOKENIZERS), required=True)
    args = cli.parse_args()
    dequantise(args.gguf_file, args.folder, pre_tokenizer=args.pre_tokenizer)


if __name__ == "__main__":
    main()
