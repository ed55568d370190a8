"""The run folder: its tables and its reader. `recorder.py` writes it.

    run.json                    schema, status, scenario, fingerprint, versions, spans_sha256, summary, host
    spans/round-000001.parquet  where the time went: one file a round, so that memory stays flat
    rounds.parquet  clients.parquet  evals.parquet
    adapter/  results/  plots/  written by others

Each column stands once, in the named tuples below, with its type and meaning (repeated in the Parquet field metadata).
Equal runs give equal bytes: nothing of the host's clock is written outside run.json. Only a run whose run.json says
`finished` is read, so a folder that was left by a crash never looks whole; the spans' sha256 and a checksum of every
page show damage. A run without a folder keeps the same tables in memory and gives the same `RunRecords`.
"""

import hashlib
import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Protocol, get_args, get_type_hints

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

SCHEMA = 1
SERVER_CLIENT = -1
NO_CAUSE = -1
OUTSIDE_STEPS = -1

ACTORS = ("client", "uplink", "downlink", "server", "idle")

# In the order of a round: plots stack and list kinds so.
SPAN_KINDS: dict[str, str] = {
    "download_adapter": "the client's part of the global adapter comes down",
    "client_forward": "forward pass of the client's blocks",
    "upload_activations": "activations at the cut go up",
    "upload_labels": "labels and lengths go up",
    "server_wait": "waiting for a free server slot",
    "server_step": "forward, backward and optimizer of the server's blocks",
    "download_gradients": "gradients at the cut come down",
    "client_backward": "backward pass of the client's blocks",
    "client_optimizer": "optimizer step on the client's adapter",
    "validation_forward": "forward pass of the client's blocks over its own validation data",
    "upload_validation": "activations and labels of validation data go up",
    "server_validation": "forward pass of the server's blocks over a client's validation data",
    "upload_adapter": "the client's trained adapter goes up",
    "round_wait": "waiting for the rest of the cohort and the aggregation",
    "aggregate": "the server averages the adapters",
    "offline": "the client is away",
}

_KIND = pa.dictionary(pa.int8(), pa.string())
VOCABULARIES = {"kind": tuple(SPAN_KINDS), "actor": ACTORS}


class SpanRow(NamedTuple):
    """A closed interval of simulated time.

    From its round's start to the round's end, every instant of a participant is covered by exactly one span with
    its client number, whoever is at work: waiting for the server and the server's step for client k carry k.
    """

    span_id: Annotated[int, pa.int64(), "number in order of recording, from 0"]
    cause_id: Annotated[int, pa.int64(), "the span whose end let this one begin; -1: none"]
    kind: Annotated[str, _KIND, "what happened, a key of SPAN_KINDS"]
    actor: Annotated[str, _KIND, "where the time was spent: client, uplink, downlink, server or idle (waiting)"]
    client: Annotated[int, pa.int32(), "whose timeline the span belongs to; -1: the server's own"]
    round: Annotated[int, pa.int32(), "round, from 1"]
    step: Annotated[int, pa.int32(), "local step of the round; -1: outside the steps"]
    start_s: Annotated[float, pa.float64(), "simulated seconds since the run's start"]
    end_s: Annotated[float, pa.float64(), "simulated seconds since the run's start"]
    num_bytes: Annotated[int, pa.int64(), "bytes on the wire; 0 where nothing is sent"]
    energy_j: Annotated[float | None, pa.float64(), "joules the client's device took; null: unknown"]


class RoundRow(NamedTuple):
    """One round of the whole system."""

    round: Annotated[int, pa.int32(), "round, from 1"]
    start_s: Annotated[float, pa.float64(), "simulated seconds since the run's start"]
    end_s: Annotated[float, pa.float64(), "simulated seconds since the run's start, aggregation included"]
    num_clients: Annotated[int, pa.int32(), "clients that took part"]
    up_bytes: Annotated[int, pa.int64(), "bytes sent from clients to the server"]
    down_bytes: Annotated[int, pa.int64(), "bytes sent from the server to clients"]
    energy_j: Annotated[float | None, pa.float64(), "joules of the clients' devices; null: unknown"]


class ClientRow(NamedTuple):
    """One client in one round."""

    round: Annotated[int, pa.int32(), "round, from 1"]
    client: Annotated[int, pa.int32(), "client, from 0"]
    device: Annotated[str, pa.string(), "device id"]
    network: Annotated[str, pa.string(), "network id"]
    cut: Annotated[int, pa.int32(), "decoder blocks on the client, in the model that learns"]
    priced_cut: Annotated[int, pa.int32(), "decoder blocks on the client, in the model that the clock charges for"]
    max_cut: Annotated[int, pa.int32(), "deepest cut that fits into the client's memory"]
    cut_reason: Annotated[str, pa.string(), "why the policy chose this cut"]
    num_steps: Annotated[int, pa.int32(), "local steps taken"]
    num_tokens: Annotated[int, pa.int64(), "tokens trained on, padding excluded"]
    train_loss: Annotated[
        float | None, pa.float64(), "mean training loss of the steps, nats a token; null: no learning"
    ]
    val_loss: Annotated[float | None, pa.float64(), "loss on the client's validation data; null: not measured"]
    start_s: Annotated[float, pa.float64(), "simulated seconds since the run's start"]
    end_s: Annotated[float, pa.float64(), "when its adapter had arrived; simulated seconds since the run's start"]
    status: Annotated[str, pa.string(), "finished, or why its work did not count"]


class EvalRow(NamedTuple):
    """One evaluation. The global one is the experimenter's: it costs no simulated time and no bytes."""

    round: Annotated[int, pa.int32(), "after this round; 0: before training"]
    time_s: Annotated[float, pa.float64(), "simulated seconds since the run's start"]
    scope: Annotated[str, pa.string(), "global (held-out data) or client (its validation data)"]
    client: Annotated[int, pa.int32(), "client; -1: global"]
    loss: Annotated[float, pa.float64(), "mean cross-entropy, nats a token"]
    perplexity: Annotated[float, pa.float64(), "exp(loss)"]
    token_accuracy: Annotated[float | None, pa.float64(), "fraction of tokens predicted first; null: not measured"]
    num_tokens: Annotated[int, pa.int64(), "tokens predicted"]


def _schema(row: type) -> pa.Schema:
    fields = []
    for name, hint in get_type_hints(row, include_extras=True).items():
        arrow_type, meaning = hint.__metadata__
        nullable = type(None) in get_args(hint.__origin__)
        fields.append(pa.field(name, arrow_type, nullable=nullable, metadata={"meaning": meaning}))
    return pa.schema(fields)


SPANS_SCHEMA = _schema(SpanRow)
TABLE_SCHEMAS = {"rounds": _schema(RoundRow), "clients": _schema(ClientRow), "evals": _schema(EvalRow)}
# Canonical bytes of a span: packed, little-endian, names in full, null energy as NaN.
_SPAN_BYTES = np.dtype(
    [(f.name, "S32" if f.name in VOCABULARIES else np.dtype(f.type.to_pandas_dtype()).str) for f in SPANS_SCHEMA]
)


class RunFolderError(Exception):
    """A run folder cannot be read: the text says which, why, and what to do."""


def canonical_bytes(spans: pa.Table) -> bytes:
    """Return the values of spans, row by row: what `spans_sha256` digests, whatever the container."""
    rows = np.empty(len(spans), _SPAN_BYTES)
    for name in SPANS_SCHEMA.names:
        column = spans[name].combine_chunks()
        if name in VOCABULARIES:
            names = np.array(column.dictionary.to_pylist() or [""], "S32")
            rows[name] = names[column.indices.to_numpy()]
        else:
            rows[name] = column.to_numpy(zero_copy_only=False)
    return rows.tobytes()


class Tables(Protocol):
    """Where the tables of a run are kept."""

    @property
    def folder(self) -> Path | None:
        """The run folder, where there is one."""

    def load(self, name: str) -> pa.Table:
        """Return the table of a name such as `rounds` or `spans/round-000001`."""

    def span_names(self) -> list[str]:
        """Return the names of the spans' tables in order of rounds."""


class MemoryTables(dict[str, pa.Table]):
    """Tables in memory by name."""

    folder = None

    def load(self, name: str) -> pa.Table:
        """Return a table."""
        return self[name]

    def span_names(self) -> list[str]:
        """Return the names of the spans' tables in order of recording."""
        return [name for name in self if name.startswith("spans/")]


class FolderTables:
    """The Parquet files of a run folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, name: str) -> pa.Table:
        """Return a table.

        Raises:
            RunFolderError: the file is missing, damaged, or has other columns.
        """
        file = self.folder / f"{name}.parquet"
        try:
            # Never through a Python file object, never in threads: Arrow may then abort the interpreter as it exits
            # (apache/arrow issues 34314 and 50482).
            source = pa.BufferReader(file.read_bytes())
            table = pq.ParquetFile(source, page_checksum_verification=True).read(use_threads=False)
            as_expected = table.schema.equals(TABLE_SCHEMAS.get(name, SPANS_SCHEMA))
        except (OSError, ValueError, pa.ArrowException) as error:
            raise RunFolderError(f"{file}: damaged run folder: {error}") from error
        if not as_expected:
            raise RunFolderError(f"{file}: damaged run folder: its columns are not those of schema {SCHEMA}")
        return table

    def span_names(self) -> list[str]:
        """Return the names of the spans' tables in order of rounds."""
        names = [f"spans/{path.stem}" for path in (self.folder / "spans").glob("round-*.parquet")]
        return sorted(names, key=lambda name: (len(name), name))  # by number, also beyond six digits


class RunRecords:
    """The records of one finished run, in memory or in a folder; frames are read when first asked for.

    Attributes:
        meta: what run.json holds.
    """

    def __init__(self, meta: dict[str, Any], tables: Tables) -> None:
        self.meta = meta
        self._tables = tables

    @property
    def folder(self) -> Path | None:
        """The run folder; None for a run that was kept in memory."""
        return self._tables.folder

    def span_chunks(self) -> Iterator[pd.DataFrame]:
        """Yield the spans one stored round at a time, for results that must not hold them all."""
        return (table.to_pandas() for table in self._span_tables())

    @cached_property
    def spans(self) -> pd.DataFrame:
        """All spans (`SpanRow`) in order of recording."""
        frame: pd.DataFrame = pa.concat_tables([SPANS_SCHEMA.empty_table(), *self._span_tables()]).to_pandas()
        return frame

    @cached_property
    def rounds(self) -> pd.DataFrame:
        """One row a round (`RoundRow`)."""
        return self._frame("rounds")

    @cached_property
    def clients(self) -> pd.DataFrame:
        """One row a round and client (`ClientRow`)."""
        return self._frame("clients")

    @cached_property
    def evals(self) -> pd.DataFrame:
        """One row an evaluation (`EvalRow`)."""
        return self._frame("evals")

    def _frame(self, name: str) -> pd.DataFrame:
        frame: pd.DataFrame = self._tables.load(name).to_pandas()
        return frame

    def _span_tables(self) -> Iterator[pa.Table]:
        digest = hashlib.sha256()
        for name in self._tables.span_names():
            table = self._tables.load(name)
            digest.update(canonical_bytes(table))
            yield table
        if digest.hexdigest() != self.meta["spans_sha256"]:
            raise RunFolderError(f"{self.folder}: damaged run folder: spans/ is not what the run recorded (sha256)")


def read_meta(folder: Path) -> dict[str, Any]:
    """Return run.json, whatever the run's status.

    Raises:
        RunFolderError: this is no run folder, it is damaged, or it was written with another schema.
    """
    if not folder.is_dir():
        raise RunFolderError(f"{folder}: no such run folder")
    file = folder / "run.json"
    try:
        meta = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise RunFolderError(f"{folder}: not a run folder: it has no run.json") from None
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{file}: damaged run folder: {error}") from error
    if not isinstance(meta, dict) or "schema" not in meta or "status" not in meta:
        raise RunFolderError(f"{file}: not a run folder: run.json states no schema and status")
    if meta["schema"] != SCHEMA:
        raise RunFolderError(f"{file}: written with schema {meta['schema']}; this version reads schema {SCHEMA}")
    return meta


def read_run(folder: Path) -> RunRecords:
    """Return the records of a finished run.

    Raises:
        RunFolderError: as `read_meta`, or the run is not finished. Damaged tables are found when they are first read.
    """
    meta = read_meta(folder)
    if meta["status"] == "running":
        raise RunFolderError(f"{folder}: the run is not finished: it is still running, or it was killed")
    if meta["status"] != "finished":
        raise RunFolderError(
            f"{folder}: the run is not finished: {meta['status']}: {meta.get('error', 'no reason given')}"
        )
    if "spans_sha256" not in meta:
        raise RunFolderError(f"{folder / 'run.json'}: damaged run folder: spans_sha256 is missing")
    return RunRecords(meta, FolderTables(folder))
