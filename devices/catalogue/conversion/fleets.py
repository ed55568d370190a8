"""The fleets of `fleets.yaml` to fleet files, and the defaults that stand there."""

from collections.abc import Mapping
from typing import Any

from devices.catalogue.conversion.text import Data

THROTTLE = "3DMark stability of 65 to 99 % (nanoreview.net); the onset is assumed"
WEIGHTS = "design choice, not measured market shares"
PARAMETRIC = "FedScale and PAPAYA option; for comparison with FedScale papers, not for realism"


def fleet_file(name: str, fleet: Mapping[str, Any]) -> Data:
    """Return the YAML data of one fleet."""
    devices = [{"device": share["id"], "weight": share["w"]} for share in fleet.get("devices", [])]
    networks = [{"network": share["id"], "via": share.get("via"), "weight": share["w"]} for share in fleet["networks"]]
    return {
        "label": name.replace("-", " "),
        "kind": "assumed",
        "source": WEIGHTS,
        "devices": devices or None,
        "networks": networks,
        "availability": fleet["availability"],
        "throttle": _throttle(fleet["throttle"]) if "throttle" in fleet else None,
        "parametric_compute": _parametric(fleet["parametric_compute"]) if "parametric_compute" in fleet else None,
    }


def fleet_defaults(defaults: Mapping[str, Any]) -> Data:
    """Return the defaults of fleets."""
    sigma = defaults["compute_jitter_lognormal_sigma"]
    reason = "run-to-run variation of a step, assumed when the catalogue was compiled"
    return {"compute_jitter_ln_sigma": {"value": sigma, "kind": "assumed", "source": reason}}


def device_defaults(defaults: Mapping[str, Any]) -> Data:
    """Return the defaults of devices of every tier; a block's overhead is split as the arithmetic is, 1 to 2."""
    overhead_ms = round(defaults["overhead_s_per_layer_fwd_bwd"] * 1000, 9)
    where = "forward and backward, derived on an A100 host (Qwen README); mobile runtimes differ"
    overhead = f"{overhead_ms:g} ms a layer {where}"
    return {
        "bandwidth_efficiency_frac": {
            "value": 0.8,
            "kind": "assumed",
            "source": "assumed when the catalogue was compiled; 0.72 to 0.76 were fitted on A100, A40 and H100",
        },
        "block_overhead_forward_ms": {
            "value": overhead_ms / 3,
            "kind": "assumed",
            "source": f"one third of {overhead}",
        },
        "block_overhead_backward_ms": {
            "value": overhead_ms * 2 / 3,
            "kind": "assumed",
            "source": f"two thirds of {overhead}",
        },
    }


def _throttle(throttle: Mapping[str, Any]) -> Data:
    factor = throttle["sustained_factor"]
    return {
        "after_s": throttle["after_s"],
        "mean_frac": factor["beta_mean"],
        "low_frac": factor["low"],
        "high_frac": factor["high"],
        "kind": "assumed",
        "source": THROTTLE,
    }


def _parametric(compute: Mapping[str, Any]) -> Data:
    per_sample = compute["s_per_sample"]
    return {
        "ln_mu": per_sample["lognormal"]["mu"],
        "ln_sigma": per_sample["lognormal"]["sigma"],
        "scale": per_sample["scale"],
        "train_multiplier": compute["train_multiplier"],
        "kind": "third-party",
        "source": PARAMETRIC,
    }
