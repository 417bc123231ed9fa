"""Which weight's gradient explodes, as it is drawn."""

import numpy as np

from bench.analysis.figures.block_norms import EDGES, block_norms


def test_the_weight_that_explodes_lies_on_the_upper_edge_and_no_other(tables):
    plot = block_norms(tables)
    late = plot.data[(plot.data["update"] == 1000) & (plot.data["cell"] == "irnn") & (plot.data["clip"] == "none")]
    beyond = late[late["q75"] > EDGES[1]]
    assert set(beyond["parameter"]) == {"$W_{hh}$"}
    highest = max(np.nanmax(line.get_ydata()) for panel in plot.figure.axes for line in panel.lines)
    assert highest <= EDGES[1]


def test_a_line_is_the_median_over_seeds(tables):
    chosen = tables.runs[(tables.runs["task"] == "adding") & (tables.runs["cell"] == "lstm")]
    chosen = chosen.loc[chosen["clipping.threshold"] == 1.0, "run"]
    own = tables.block_norms[tables.block_norms["run"].isin(chosen)]
    own = own[(own["update"] == 100) & (own["parameter"] == "W_hy")]
    drawn = block_norms(tables).data
    row = drawn[(drawn["update"] == 100) & (drawn["parameter"] == "$W_{hy}$") & (drawn["clip"] == "1")]
    row = row[(row["cell"] == "lstm") & (row["task"] == "adding")]
    assert row["n"].item() == 3
    assert row["median"].item() == np.median(own["norm"])
