"""`splitft cache`: what is remembered on this machine."""

import json
from typing import TYPE_CHECKING

import typer

from splitft.listing import JsonOption
from splitft.show import GIB, console, table

if TYPE_CHECKING:
    from workloads.store import StoreSize

cache_app = typer.Typer(help="Results that are remembered for later runs.", no_args_is_help=True, rich_markup_mode=None)


@cache_app.command("info")
def show_info(json_: JsonOption = False) -> None:
    """Show where results are remembered, how many, and how much room they take."""
    from splitft.work import user_store

    store = user_store()
    size = store.size()
    if json_:
        facts = {
            "folder": str(store.folder),
            "num_results": size.num_records,
            "num_states": size.num_states,
            "num_bytes": size.num_bytes,
            "max_bytes": store.max_bytes,
        }
        typer.echo(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    rows = [
        ("folder", str(store.folder)),
        ("results", f"{size.num_records:,}"),
        ("states", f"{size.num_states:,}"),
        ("size", f"{size.num_bytes / GIB:.3f} of at most {store.max_bytes / GIB:.3f} GiB"),
    ]
    console().print(table(["remembered", ""], rows))


@cache_app.command("clear")
def clear() -> None:
    """Forget all results, but what running processes need."""
    from splitft.work import user_store

    store = user_store()
    before, left = store.size(), store.clear()
    typer.echo(f"Forgot {_text(before, left)} in {store.folder}.")


def _text(before: "StoreSize", left: "StoreSize") -> str:
    num_records, num_bytes = before.num_records - left.num_records, before.num_bytes - left.num_bytes
    kept = f"; {left.num_states:,} states are in use by running processes" if left.num_states else ""
    return f"{num_records:,} results ({num_bytes / GIB:.3f} GiB{kept})"
