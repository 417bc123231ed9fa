"""Made-up results in the files of real ones: drawn from a seeded generator, not trained.

tanh forgets, IRNN learns unless it is clipped late and explodes, LSTM learns.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd
import pytest

from bench.analysis.settings import distinguished
from bench.runs.directory import RunDirectory
from bench.runs.tables import Tables, load

OF_SWEEPS = {  # figures of sweeps that none of these made-up results holds
    "memory_length",
    "memory_growth",
    "memory_foretold",
    "memory_map",
    "memory_ranking",
    "gradient_gain",
}
SLOPES = {"tanh": -0.4, "irnn": 0.02, "lstm": -0.08}  # of ln gamma over lag, nats a step
BLOCKS = {"lstm": ("W_hi", "W_hf", "W_hg", "W_ho")}
UNITS = 8
UPDATES = 3000
KINDS = ("training", "probe")
EVALUATED = np.arange(0, UPDATES + 1, 100)
MEASURED = np.array([0, 1, 3, 10, 32, 100, 316, 1000, 3000])


@dataclass(frozen=True)
class Setting:
    """One made-up run."""

    task: str
    length: int
    cell: str
    threshold: float
    seed: int
    lr: float

    @property
    def steps(self) -> int:
        return self.length if self.task == "adding" else self.length + 10

    @property
    def first_scored(self) -> int:
        return self.steps if self.task == "adding" else 1

    @property
    def probed(self) -> int:
        """The step, from 1, at which the probe's loss is."""
        return self.steps if self.task == "adding" else self.steps - 4

    @property
    def baseline(self) -> float:
        return 1 / 6 if self.task == "adding" else 5 * np.log(8) / self.steps

    @property
    def explodes(self) -> bool:
        return self.cell == "irnn" and self.threshold > 10 and self.seed % 2 == 0


def make_up(
    folder: Path,
    tasks: Mapping[str, int] = MappingProxyType({"adding": 40, "copying": 10}),
    cells: Sequence[str] = ("tanh", "irnn", "lstm"),
    thresholds: Sequence[float] = (1.0, 10.0, np.inf),
    seeds: int = 3,
    lrs: Sequence[float] = (0.001,),
    only: Collection[str] | None = None,
    experiment: str | None = None,
) -> Path:
    """Write a run for every combination into `folder`, beside what is there; `only`: these tables."""
    random = np.random.default_rng(0)
    there = len(list(folder.glob("*")))
    combinations = product(tasks.items(), cells, thresholds, range(seeds), lrs)
    for number, ((task, length), cell, threshold, seed, lr) in enumerate(combinations, start=there):
        setting = Setting(task, length, cell, threshold, seed, lr)
        directory = RunDirectory(folder, f"{number:012x}")
        choices = {"task": task, "cell": cell, "clipping": "norm", "optimizer": "adam"}
        directory.begin(
            _config(setting) | {"experiment": experiment}, {"overrides": [], "choices": choices}, {"torch": "2.13.0"}
        )
        outcome, tables = _trained(setting, random)
        directory.finish(outcome, {name: table for name, table in tables.items() if only is None or name in only}, [])
    return folder


def _config(setting: Setting) -> dict[str, object]:
    return {
        "task": {"_target_": f"tasks.{setting.task}", "length": setting.length, "variant": "halves"},
        "cell": {"_target_": f"bench.nets.cells.{setting.cell}", "hidden": 64},
        "clipping": {"_target_": "bench.methods.clipping.NormClipping", "threshold": setting.threshold},
        "optimizer": {"_target_": "bench.methods.optimizers.Adam", "lr": setting.lr},
        "seed": setting.seed,
        "updates": UPDATES,
        "batch_size": 16,
        "evaluation": {"every": 100, "rule": "skill", "solved": 0.95, "in_a_row": 3},
        "extensions": [],
    }


def _trained(setting: Setting, random: np.random.Generator) -> tuple[dict[str, object], dict[str, dict]]:
    """Outcome and tables of one run."""
    diverged_at = int(random.integers(400, 1500)) if setting.explodes else UPDATES + 1
    steepest = np.inf if setting.cell == "tanh" else random.uniform(800, 2500)
    loss = setting.baseline * (0.003 + 1 / (1 + np.exp((EVALUATED - steepest) / 150)))
    loss *= np.exp(0.1 * random.standard_normal(len(loss)))
    loss[0] = setting.baseline * 6
    if setting.explodes:
        loss[diverged_at - 100 < EVALUATED] = 1e27
        loss[diverged_at <= EVALUATED] = np.nan
    skill = 1 - loss / setting.baseline
    held = [k for k in range(len(skill) - 2) if (skill[k : k + 3] >= 0.95).all()]
    solved_at = int(EVALUATED[held[0]]) if held else None
    exploded = setting.explodes
    outcome = {
        "outcome": "diverged" if exploded else "solved" if solved_at is not None else "stuck",
        "solved_rule": "skill of at least 0.95 at 3 evaluations in a row",
        "solved_at": solved_at,
        "mastered_at": None,
        "diverged_at": diverged_at if exploded else None,
        "final_loss": np.nan if exploded else float(loss[-1]),
        "final_skill": np.nan if exploded else float(skill[-1]),
        "final_accuracy": np.nan if exploded else float(skill[-1].clip(0.1)),
        "baseline_loss": setting.baseline,
        "chance_accuracy": 0.1,
        "min_lag": setting.steps // 2,
        "mean_lag": 0.75 * setting.steps,
        "steps": setting.steps,
        "scored_first": setting.first_scored,
        "scored_last": setting.steps,
        "parameters": 17217 if setting.cell == "lstm" else 4353,
        "recurrent_parameters": 16384 if setting.cell == "lstm" else 4096,
        "sequences": min(diverged_at, UPDATES) * 16,
        "seconds": 3.25,
        "pack_width": 10,
    }
    measured = MEASURED[diverged_at > MEASURED]
    profiles = [_profile(setting, kind, update, random) for update in measured for kind in KINDS]
    radii = [_radii(setting, update, random) for update in measured]
    return outcome, {
        "evaluations": {
            "update": EVALUATED,
            "loss": loss,
            "skill": skill,
            "accuracy": skill.clip(0),
            "train_loss": np.where(EVALUATED > 0, 0.5 * loss, np.nan),
            "train_accuracy": np.where(EVALUATED > 0, skill.clip(0.5), np.nan),
            "seconds": EVALUATED * 1e-3,
        },
        "spectrum": _joined(radii),
        "state_jacobian": {
            "update": measured,
            "spectral_radius": 1 + 0.1 * random.random(len(measured)),
            "q05": np.ones(len(measured)),
            "q95": np.ones(len(measured)),
            "spectral_norm": 1.3 + 0.1 * random.random(len(measured)),
        },
        "block_norms": _joined([_blocks(setting, update, random) for update in measured]),
        "eigenvalues": _joined([_cloud(setting, update, random) for update in measured]),
        "state": _joined([_states(setting, update, random) for update in measured]),
        "lyapunov": _joined([_exponents(setting, update, random) for update in measured[[0, -1]]]),
        "jacobian_product": _joined([_product(setting, update, random) for update in measured[[0, -1]]]),
        "gradient_through_time": _joined(profiles),
        "clipping": _clipped(setting, min(diverged_at - 1, UPDATES), random),
    }


def _profile(setting: Setting, kind: str, update: int, random: np.random.Generator) -> dict[str, np.ndarray]:
    origin = setting.probed if kind == "probe" else setting.steps
    states = ("h", "c") if setting.cell == "lstm" else ("h",)
    step = np.tile(np.arange(1, origin + 1), len(states))
    lag = origin - step
    slope = SLOPES[setting.cell] * (1 if update == 0 else 0.4) + 0.02 * random.standard_normal()
    log_norm = -3 + slope * lag + 0.1 * random.standard_normal(len(step))
    gone = (setting.cell == "tanh") & (lag > 35)
    log_norm = np.where(gone, np.nan, log_norm)
    return {
        "update": np.full(len(step), update),
        "kind": np.full(len(step), kind),
        "state": np.repeat(states, origin),
        "step": step,
        "lag": lag,
        "log_norm": log_norm,
        "log_q05": log_norm - 1,
        "log_q50": log_norm,
        "log_q95": log_norm + 1,
        "zero_share": gone * 0.9,
        "nonfinite_share": np.zeros(len(step)),
    }


def _radii(setting: Setting, update: int, random: np.random.Generator) -> dict[str, np.ndarray]:
    blocks = BLOCKS.get(setting.cell, ("W_hh",))
    start = 1.0 if setting.cell == "irnn" else 0.58
    growth = 0.1 * np.arange(1, len(blocks) + 1)
    radius = start + growth * np.log10(1 + update) + 0.02 * random.random(len(blocks))
    return {
        "update": np.full(len(blocks), update),
        "block": np.array(blocks),
        "spectral_radius": radius,
        "spectral_norm": radius * 1.5,
    }


def _blocks(setting: Setting, update: int, random: np.random.Generator) -> dict[str, np.ndarray]:
    names = np.array(["W_hh", "W_xh", "b", "W_hy", "b_y"])
    grown = 1e9 if setting.explodes and update > 300 else 1.0
    norm = np.array([grown, 0.3, 0.2, 0.5, 0.1]) * np.exp(0.1 * random.standard_normal(5))
    return {"update": np.full(5, update), "parameter": names, "norm": norm}


def _cloud(setting: Setting, update: int, random: np.random.Generator) -> dict[str, np.ndarray]:
    blocks = np.repeat(BLOCKS.get(setting.cell, ("W_hh",)), UNITS)
    angle, modulus = 2 * np.pi * random.random(len(blocks)), (0.6 + 0.1 * np.log10(1 + update)) * np.ones(len(blocks))
    return {
        "update": np.full(len(blocks), update),
        "block": blocks,
        "real": modulus * np.cos(angle),
        "imag": modulus * np.sin(angle),
    }


def _states(setting: Setting, update: int, random: np.random.Generator) -> dict[str, np.ndarray]:
    parts = ("h", "c") if setting.cell == "lstm" else ("h",)
    rows = len(parts) * setting.steps
    return {
        "update": np.full(rows, update),
        "state": np.repeat(parts, setting.steps),
        "step": np.tile(np.arange(1, setting.steps + 1), len(parts)),
        "norm": 1 + random.random(rows),
        "saturated": np.full(rows, np.nan if setting.cell == "irnn" else 0.1 * np.log10(1 + update)),
        "active": np.full(rows, 0.5),
        "dead": np.full(rows, 0.3 if setting.cell == "irnn" else 0.0),
    }


def _exponents(setting: Setting, update: int, random: np.random.Generator) -> dict[str, np.ndarray]:
    largest = SLOPES[setting.cell] * (1 if update == 0 else 0.4) + 0.02 * random.standard_normal()
    return {
        "update": np.full(2, update),
        "kind": np.full(2, "finite-time"),
        "index": np.array([1, 2]),
        "exponent": np.array([largest, largest - 0.1]),
        "q05": np.array([largest - 0.02, largest - 0.13]),
        "q95": np.array([largest + 0.02, largest - 0.07]),
        "lost": np.zeros(2, dtype=int),
        "unconverged": np.zeros(2),
        "sequences": np.full(2, 32),
        "steps": np.full(2, setting.steps - min(20, setting.steps // 5)),
    }


def _product(setting: Setting, update: int, random: np.random.Generator) -> dict[str, np.ndarray]:
    index = np.arange(1, UNITS + 1)
    lost = (setting.cell == "irnn") & (index > UNITS // 2)
    values = setting.steps * (SLOPES[setting.cell] - 0.03 * index + 0.01 * random.random(UNITS))
    return {
        "update": np.full(UNITS, update),
        "index": index,
        "log_singular_value": np.where(lost, np.nan, values),
        "lost": 4 * lost,
        "unconverged": np.zeros(UNITS, dtype=int),
        "sequences": np.full(UNITS, 4),
        "steps": np.full(UNITS, setting.steps),
    }


def _clipped(setting: Setting, updates: int, random: np.random.Generator) -> dict[str, np.ndarray]:
    norm = np.exp(random.normal(SLOPES[setting.cell] * 5 + 1, 1.5, updates))
    count = np.ones(updates, dtype=int)
    return {
        "update": np.arange(1, updates + 1),
        "count": count,
        "clipped": (norm > setting.threshold).astype(int),
        "nonfinite": 0 * count,
        "shrink_sum": np.minimum(1, setting.threshold / norm),
        "cosine_sum": np.ones(updates),
        "norm_min": norm,
        "norm_max": norm,
        "norm_log_mean": np.log(norm),
    }


def _joined(blocks: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder of 54 runs, among them 4 that diverged."""
    return make_up(tmp_path_factory.mktemp("results") / "quick")


@pytest.fixture(scope="session")
def tables(results: Path) -> Tables:
    return load(results)


@pytest.fixture(scope="session")
def runs(tables: Tables) -> pd.DataFrame:
    return distinguished(tables.runs)


@pytest.fixture(name="make_up", scope="session")
def _make_up() -> Callable[..., Path]:
    """Writes other made-up results."""
    return make_up
