"""What `make speed` measured, as two figures and a table: python -m bench.speed.figure results/speed/speed.json."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from bench.analysis.figures.plot import NothingToDraw, Plot, need
from bench.analysis.figures.style import COLORS, GREY, MARKERS, in_force, paper

YARDSTICK = "torch.nn"
SETTING = ["task", "cell", "hidden", "length", "replicas"]
ROW, FRAME = 0.13, 0.5  # inches: a bar's height, and what is around a panel


def measured(path: Path, kind: str) -> list[dict[str, Any]]:
    """What the tests of one kind noted."""
    tests = json.loads(path.read_text(encoding="utf-8"))["benchmarks"]
    return [test["extra_info"] for test in tests if test["extra_info"].get("kind") == kind]


def steps(path: Path) -> pd.DataFrame:
    """A row per setting and contender: replica-updates per second, quartiles, ratio to torch.nn, error, FLOP/s."""
    rows = []
    for test in measured(path, "step"):
        contenders = test["contenders"]
        yardstick = np.array(contenders[YARDSTICK]["rates"])
        for name, found in contenders.items():
            rates = np.array(found["rates"])
            low, middle, high = np.quantile(rates, [0.25, 0.5, 0.75])
            row = {**{key: test[key] for key in SETTING}, "contender": name, "rate": middle, "low": low, "high": high}
            row |= {"times_torch_nn": np.median(rates / yardstick), "error": found["error"]}
            rows.append(row | {"gflops": found["flops"] / 1e9, "share_of_matmul": found["flops"] / test["matmul"]})
    numbers = ["rate", "low", "high", "times_torch_nn", "error", "gflops", "share_of_matmul"]
    return pd.DataFrame(rows, columns=[*SETTING, "contender", *numbers])


@paper()
def side_by_side(table: pd.DataFrame) -> Plot:
    """Bars of replica-updates per second, a panel per setting of 16 replicas."""
    data = table[table["replicas"] > 1]
    need(data, "timed training steps")
    panels = list(data.groupby(SETTING, sort=False))
    contenders = list(data["contender"].unique())
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    size = (in_force().page, lines * (ROW * len(contenders) + FRAME))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False, sharey=True).ravel()
    for panel, ((task, cell, hidden, length, _), part) in zip(axes, panels, strict=False):
        part = part.set_index("contender").loc[contenders]
        places = np.arange(len(contenders))
        panel.barh(
            places,
            part["rate"],
            color=[COLORS[contenders.index(contender) % len(COLORS)] for contender in contenders],
            height=0.75,
        )
        spread = np.abs(part[["low", "high"]].to_numpy().T - part["rate"].to_numpy())
        panel.errorbar(part["rate"], places, xerr=spread, fmt="none", ecolor=GREY, elinewidth=1)
        for place, (rate, high, times) in enumerate(
            zip(part["rate"], part["high"], part["times_torch_nn"], strict=True)
        ):
            panel.text(
                max(rate, high) + 0.02 * part["high"].max(), place, f"{times:.1f}x", va="center", fontsize="small"
            )
        panel.set_xlim(0, 1.22 * part["high"].max())
        panel.set_yticks(places, contenders)
        panel.set_title(f"{cell}, {task}, H = {hidden}, {'delay' if task == 'copying' else 'T'} = {length}")
    axes[0].invert_yaxis()
    for panel in axes[len(panels) :]:
        panel.set_visible(False)
    figure.supxlabel("replica-updates per second", fontsize="medium")
    caption = (
        "Replica-updates per second of a whole training step (data, forward, backward, norms, clipping, Adam), 16 "
        "replicas, batch 16, one thread, processor time; median and quartiles of interleaved rounds, and the ratio to "
        "torch.nn one replica at a time (median of the rounds' ratios)."
    )
    fastest = data.sort_values("rate").groupby(SETTING, sort=False).tail(1)["contender"].value_counts()
    alt = "Horizontal bars by contender; fastest: " + ", ".join(f"{n} in {k}" for n, k in fastest.items()) + "."
    return Plot("speed", (figure,), data, caption, alt)


@paper()
def cost(path: Path, table: pd.DataFrame) -> Plot:
    """Time of a replica's update per step, over T, H and the replicas of a pack."""
    rows = [
        {"over": axis, "cell": test["cell"], "size": int(size), "cost": value, "contender": "compiled"}
        for test in measured(path, "scaling")
        for axis in ("length", "replicas")
        for size, value in test[axis].items()
    ]
    same = table[
        (table["task"] == "adding") & (table["cell"] == "tanh") & (table["length"] == 100) & (table["replicas"] > 1)
    ]
    for _, row in same.iterrows():
        found = {
            "over": "hidden",
            "cell": "tanh",
            "size": row["hidden"],
            "cost": 1 / row["rate"],
            "contender": row["contender"],
        }
        rows.append(found)
    data = pd.DataFrame(rows, columns=["over", "contender", "cell", "size", "cost"])
    need(data, "costs")
    labels = {
        "length": ("steps of a sequence T", "ms per step, 8 replicas", 1e3),
        "replicas": ("replicas", "ms per replica, T = 50", 1e3),
        "hidden": ("units H", "ms per replica, T = 100", 1e3),
    }
    figure = Figure(figsize=(in_force().page, 2.0), layout="constrained")
    for panel, (axis, (x_label, y_label, unit)) in zip(figure.subplots(1, 3), labels.items(), strict=True):
        part = data[data["over"] == axis]
        series = list(part.groupby("contender" if axis == "hidden" else "cell", sort=False))
        for k, (name, line) in enumerate(series):
            line = line.sort_values("size")
            panel.plot(line["size"], unit * line["cost"], color=COLORS[k % len(COLORS)], marker=MARKERS[k], label=name)
        panel.set_xscale("log", base=2 if axis != "length" else 10)
        if axis == "hidden":
            panel.set_yscale("log")
        else:
            panel.set_ylim(0, 1.3 * unit * part["cost"].max() if len(part) else None)
        panel.set_xlabel(x_label)
        panel.set_ylabel(y_label)
        panel.set_xticks(sorted(part["size"].unique()), [str(size) for size in sorted(part["size"].unique())])
        panel.xaxis.set_minor_formatter(NullFormatter())
        if series:
            aside = {"loc": "center left", "bbox_to_anchor": (1, 0.5)} if axis == "hidden" else {"loc": "upper right"}
            panel.legend(fontsize="small", **aside)
    caption = (
        "Time of a whole update: per step over the steps of a sequence and per replica over the replicas of a pack for "
        "the compiled engine (H = 100; a horizontal line is growth in proportion), and per replica over the units for "
        "all contenders (tanh, adding, T = 100, 16 replicas)."
    )
    spans = data[data["over"] != "hidden"].groupby(["cell", "over"])["cost"].agg(lambda cost: cost.max() / cost.min())
    alt = "; ".join(
        f"{cell} over {over}: dearest {value:.2f} times the cheapest" for (cell, over), value in spans.items()
    )
    return Plot("cost", (figure,), data, caption, f"Lines of cost. {alt}.")


def markdown(table: pd.DataFrame) -> str:
    """The ratios to torch.nn, a row per setting and a column per contender."""
    wide = table.pivot_table(index=SETTING, columns="contender", values=["rate", "times_torch_nn"], sort=False)
    contenders = list(table["contender"].unique())
    lines = ["| " + " | ".join([*SETTING, *contenders]) + " |", "|" + "---|" * (len(SETTING) + len(contenders))]
    for key, row in wide.iterrows():
        cells = [
            f"{row['rate', contender]:.0f}/s ({row['times_torch_nn', contender]:.1f}x)" for contender in contenders
        ]
        lines.append("| " + " | ".join([*map(str, key), *cells]) + " |")
    return "\n".join(lines) + "\n"


def main(path: Path) -> None:
    """Write the figures, their numbers, and the tables speed_table.csv and speed_table.md beside the JSON."""
    table = steps(path)
    drawings: tuple[Callable[[], Plot], ...] = (lambda: side_by_side(table), lambda: cost(path, table))
    for draw in drawings:
        try:
            draw().save(path.parent)
        except NothingToDraw as reason:
            print(f"no figure: {reason}")
    table.to_csv(path.parent / "speed_table.csv", index=False)
    (path.parent / "speed_table.md").write_text(markdown(table), encoding="utf-8")
    print(f"figures and tables in {path.parent}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
