"""A study whose numbers are chosen: run folders written by `RunWriter`, with one client and one evaluation a round."""

import json
import math
from pathlib import Path

from simulator.records.recorder import RunWriter
from simulator.records.runs import SERVER_CLIENT, ClientRow, EvalRow, RoundRow, RunRecords
from simulator.records.studies import CASES, STUDY_FILE, STUDY_SCHEMA, StudyRecords, read_study


def made_run(folder: Path | None, scenario: dict, perplexities: list[float], *, round_s: float = 1.0) -> RunRecords:
    """Return a run whose rounds last `round_s` and send 300 bytes each; perplexity before and after each."""
    trained = [{"cut": 1, "client": 10, "server": 50}, {"cut": 2, "client": 20, "server": 40}]
    meta = {"scenario": {"name": "made", "seed": {"training": 0}, **scenario}, "trained_parameters": trained}
    writer = RunWriter(folder, {**meta, "host": {"num_steps_computed": 1, "num_steps_remembered": 2}})
    for number, perplexity in enumerate(perplexities):
        end_s = number * round_s
        if number:
            cut = 1 + number % 2
            row = ClientRow(
                round=number, client=0, device="rpi5-8gb", network="lan-1gbe", cut=cut, priced_cut=cut, max_cut=7,
                cut_reason="policy", moved_bytes=0, num_steps=1, num_tokens=4, train_loss=None, val_loss=None,
                start_s=end_s - round_s, end_s=end_s, status="finished",
            )  # fmt: skip
            writer.add_client(row)
            writer.end_round(RoundRow(number, end_s - round_s, end_s, 1, 100, 200, None))
        loss = math.log(perplexity)
        writer.add_eval(EvalRow(number, end_s, "global", SERVER_CLIENT, loss, perplexity, 1 / perplexity, 64))
    return writer.finish()


def made_study(folder: Path, cases: list[dict], *, target: float | None = None) -> StudyRecords:
    """Return a study.

    Args:
        folder: to be made.
        cases: `varied` (dotted keys with one dot), `seed`, `perplexities`, `round_s`.
        target: perplexity to reach.
    """
    folder.mkdir()
    listed = []
    for number, case in enumerate(cases, start=1):
        name = f"{number:03d}"
        listed.append({"id": name, "varied": case["varied"], "seed": case["seed"], "overrides": []})
        scenario: dict = {"seed": {"training": case["seed"]}}
        for key, value in case["varied"].items():
            section, _, last = key.partition(".")
            scenario.setdefault(section, {})[last] = value
        (folder / CASES).mkdir(exist_ok=True)
        made_run(folder / CASES / name, scenario, case["perplexities"], round_s=case.get("round_s", 1.0))
    meta = {
        "schema": STUDY_SCHEMA, "name": "made", "label": "A made study", "metrics": [], "target_perplexity": target,
        "factors": list(dict.fromkeys(key for case in cases for key in case["varied"])), "cases": listed,
    }  # fmt: skip
    (folder / STUDY_FILE).write_text(json.dumps(meta))
    return read_study(folder)
