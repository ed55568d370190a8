"""Write the catalogue's YAML files from the tables that it was compiled in.

A maintainer's tool: `python -m devices.catalogue.convert FOLDER`, where FOLDER has devices.csv, networks.csv,
availability.csv, efficiency.csv and fleets.yaml. Files of entries that the tables no longer have stay.
"""

import argparse
import csv
from pathlib import Path

from devices.catalogue.conversion.availability import availability_files
from devices.catalogue.conversion.devices import device_file, tier_defaults
from devices.catalogue.conversion.efficiency import efficiency_files
from devices.catalogue.conversion.fleets import device_defaults, fleet_defaults, fleet_file
from devices.catalogue.conversion.networks import network_defaults, network_files
from devices.catalogue.conversion.text import Data, nested_yaml_file, yaml_file
from devices.strict_yaml import read_document

DEFAULTS = """What fills a blank of a device, network or fleet. Every number is an assumption; `source` is its reason.
Converted from the catalogue's tables by devices/catalogue/convert.py."""


def convert(tables: Path, catalogue: Path) -> int:
    """Write every table's entries as files of a catalogue folder, and its defaults; return the number of files."""
    devices, networks = _rows(tables / "devices.csv"), _rows(tables / "networks.csv")
    suggested = read_document(tables / "fleets.yaml").data
    folders: dict[tuple[str, str], dict[str, Data]] = {
        ("devices", "devices.csv"): {row["id"]: device_file(row) for row in devices},
        ("networks", "networks.csv"): network_files(networks),
        ("fleets", "fleets.yaml"): {name: fleet_file(name, fleet) for name, fleet in suggested["fleets"].items()},
        ("availability", "availability.csv and fleets.yaml"): availability_files(
            _rows(tables / "availability.csv"), suggested["availability"]
        ),
        ("efficiency", "efficiency.csv"): efficiency_files(_rows(tables / "efficiency.csv")),
    }
    for (folder, table), files in folders.items():
        (catalogue / folder).mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (catalogue / folder / f"{name}.yaml").write_text(yaml_file(data, table), encoding="utf-8")
    defaults = {
        "devices": device_defaults(suggested["defaults"]),
        "tiers": tier_defaults(devices),
        "networks": network_defaults(networks),
        "fleets": fleet_defaults(suggested["defaults"]),
    }
    (catalogue / "defaults.yaml").write_text(nested_yaml_file(defaults, DEFAULTS), encoding="utf-8")
    return sum(len(files) for files in folders.values()) + 1


def _rows(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def main() -> None:
    """Convert the folder named on the command line into this package's folder."""
    parser = argparse.ArgumentParser(description="Write the catalogue's YAML files from its tables.")
    parser.add_argument(
        "tables", type=Path, metavar="FOLDER", help="has devices.csv, networks.csv, availability.csv, ..."
    )
    num_files = convert(parser.parse_args().tables, Path(__file__).parent)
    parser.exit(message=f"{num_files} files written\n")


if __name__ == "__main__":
    main()
