"""Well-known models: the config.json of each as the catalogue of shapes has it, and its published size.

Sizes are what the model cards, papers and `safetensors` headers on the Hugging Face Hub state (a tied matrix counted
once).
"""

from collections.abc import Mapping
from typing import Any

from workloads.known_shapes import resolve_shape

PUBLISHED_SIZES: Mapping[str, int] = {
    "gpt2": 124_439_808,
    "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
    "opt-125m": 125_239_296,
    "opt-350m": 331_196_416,
    "opt-1.3b": 1_315_758_080,
    "gpt-neo-125m": 125_198_592,
    "gpt-neo-1.3b": 1_315_575_808,
    # Biderman et al. 2023 (arXiv 2304.01373), "total params" of the suite's own table
    "pythia-70m": 70_426_624,
    "pythia-160m": 162_322_944,
    "pythia-410m": 405_334_016,
    "pythia-1b": 1_011_781_632,
    "pythia-1.4b": 1_414_647_808,
    "tinyllama-1.1b": 1_100_048_384,
    "llama-2-7b": 6_738_415_616,
    "llama-3.1-8b": 8_030_261_248,
    "llama-3.2-1b": 1_235_814_400,
    "llama-3.2-3b": 3_212_749_824,
    "smollm2-135m": 134_515_008,
    "smollm2-360m": 361_821_120,
    "smollm2-1.7b": 1_711_376_384,
    "qwen2.5-0.5b": 494_032_768,
    "qwen2.5-1.5b": 1_543_714_304,
    "qwen2.5-3b": 3_085_938_688,
    "qwen2.5-7b": 7_615_616_512,
    "qwen3-0.6b": 596_049_920,
    "qwen3-1.7b": 1_720_574_976,
    "mistral-7b-v0.1": 7_241_732_096,
    "phi-3-mini-4k": 3_821_079_552,
    "gemma-3-270m": 268_098_176,
    "gemma-3-1b": 999_885_952,
}

KNOWN_MODELS: Mapping[str, tuple[dict[str, Any], int]] = {
    name: (resolve_shape(name).config, num_parameters) for name, num_parameters in PUBLISHED_SIZES.items()
}
