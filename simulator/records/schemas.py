"""The columns of a run's tables: each once, with its type and meaning (repeated in the Parquet field metadata)."""

from typing import Annotated, NamedTuple, get_args, get_type_hints

import numpy as np
import pyarrow as pa

SCHEMA = 1
SERVER_CLIENT = -1
NO_CAUSE = -1
OUTSIDE_STEPS = -1

ACTORS = ("client", "uplink", "downlink", "server", "idle")

# In the order of a round: plots stack and list kinds so.
SPAN_KINDS: dict[str, str] = {
    "upload_moments": "the optimizer's moments of blocks that the client gives up go up",
    "download_weights": "base weights that the client has to hold and never got come down",
    "download_moments": "the optimizer's moments of blocks that the client takes over come down",
    "download_adapter": "the client's part of the global adapter comes down",
    "client_merge": "the client adds to its blocks what aggregation left to the base model",
    "client_forward": "forward pass of the client's blocks",
    "overlap_wait": "waiting for what goes on beside the client's own work: messages under way, the server at work",
    "upload_activations": "activations at the cut go up",
    "upload_labels": "labels and lengths go up",
    "server_wait": "waiting for a free server slot",
    "server_step": "forward, backward and optimizer of the server's blocks",
    "server_forward": "forward pass of the server's blocks, where norm and head are the client's",
    "download_activations": "activations behind the server's blocks come down",
    "client_head": "norm, head, loss and the gradient of the head's input on the client",
    "upload_gradients": "gradients of the head's input go up",
    "server_backward": "backward pass and optimizer of the server's blocks, where norm and head are the client's",
    "download_gradients": "gradients at the cut come down",
    "client_backward": "backward pass of the client's blocks",
    "client_optimizer": "optimizer step on the client's adapter",
    "validation_forward": "forward pass of the client's blocks over its own validation data",
    "upload_validation": "activations and labels of validation data go up",
    "server_validation": "forward pass of the server's blocks over a client's validation data",
    "download_validation": "activations of validation data come down behind the server's blocks",
    "validation_head": "norm, head and loss of validation data on the client",
    "upload_adapter": "the client's trained adapter goes up",
    "round_wait": "waiting for the rest of the cohort and the aggregation",
    "aggregate": "the server averages the adapters",
    "offline": "the client has gone or failed, until the round ends",
}

_KIND = pa.dictionary(pa.int8(), pa.string())
VOCABULARIES = {"kind": tuple(SPAN_KINDS), "actor": ACTORS}


class SpanRow(NamedTuple):
    """A closed interval of simulated time.

    From its round's start to the round's end, every instant of a participant is covered by exactly one span with
    its client number, whoever is at work: waiting for the server and the server's step for client k carry k. Where a
    protocol lets things happen at the same time (sfl-pipelined, local-loss), messages may lie over other spans, and
    what the server does while the client goes on is the server's own (-1).
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


class TotalRow(NamedTuple):
    """All spans of one client, round, kind and actor together: what is kept of them where not every span is."""

    round: Annotated[int, pa.int32(), "round, from 1"]
    client: Annotated[int, pa.int32(), "whose timeline the spans belong to; -1: the server's own"]
    kind: Annotated[str, _KIND, "what happened, a key of SPAN_KINDS"]
    actor: Annotated[str, _KIND, "where the time was spent: client, uplink, downlink, server or idle (waiting)"]
    num_spans: Annotated[int, pa.int32(), "how many spans"]
    duration_s: Annotated[float, pa.float64(), "simulated seconds of all of them"]
    end_s: Annotated[float, pa.float64(), "end of the last one; simulated seconds since the run's start"]
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
    moved_bytes: Annotated[int, pa.int64(), "bytes sent because its cut had moved: weights and moments, both ways"]
    num_steps: Annotated[int, pa.int32(), "local steps completed"]
    num_tokens: Annotated[int, pa.int64(), "tokens trained on, padding excluded"]
    train_loss: Annotated[
        float | None, pa.float64(), "mean training loss of the steps, nats a token; null: no learning"
    ]
    val_loss: Annotated[float | None, pa.float64(), "loss on the client's validation data; null: not measured"]
    start_s: Annotated[
        float, pa.float64(), "when its own work of the round began, in simulated seconds since the run's start"
    ]
    end_s: Annotated[float, pa.float64(), "when its adapter had arrived or its work was broken off; as start_s"]
    status: Annotated[
        str, pa.string(), "finished; or why its work did not count: dropped, late, surplus, stale or unfinished"
    ]
    staleness: Annotated[
        int | None, pa.int32(), "aggregations while it was at work on an adapter; null: clients all begin at once"
    ] = None


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
TOTALS_SCHEMA = _schema(TotalRow)
ROUND_SCHEMAS = {"spans": SPANS_SCHEMA, "totals": TOTALS_SCHEMA}
TABLE_SCHEMAS = {"rounds": _schema(RoundRow), "clients": _schema(ClientRow), "evals": _schema(EvalRow)}


def canonical_bytes(table: pa.Table) -> bytes:
    """Return the values of spans or totals, row by row: what `spans_sha256` digests, whatever the container.

    Rows are packed and little-endian, names stand in full, a null energy is NaN.
    """
    packed = [
        (field.name, "S32" if field.name in VOCABULARIES else np.dtype(field.type.to_pandas_dtype()).str)
        for field in table.schema
    ]
    rows = np.empty(len(table), packed)
    for name in table.schema.names:
        column = table[name].combine_chunks()
        if name in VOCABULARIES:
            names = np.array(column.dictionary.to_pylist() or [""], "S32")
            rows[name] = names[column.indices.to_numpy()]
        else:
            rows[name] = column.to_numpy(zero_copy_only=False)
    return rows.tobytes()
