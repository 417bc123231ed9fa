"""Training beside held-out numbers, as they are drawn."""

import numpy as np
import pytest

from bench.analysis.figures.generalization import generalization, generalization_accuracy
from bench.analysis.figures.learning import learning_curves
from bench.analysis.figures.plot import NothingToDraw


def of(data, quantity):
    return data[data["quantity"] == quantity].drop(columns="quantity").reset_index(drop=True)


def test_the_heldout_line_is_that_of_the_learning_curves_and_training_starts_after_the_first_update(tables):
    data, curves = generalization(tables).data, learning_curves(tables).data
    heldout, training = of(data, "held out"), of(data, "training")
    for column in ("n", "q25", "median", "q75"):
        np.testing.assert_array_equal(heldout[column], curves[column])
    assert training["update"].min() == 100
    np.testing.assert_allclose(training["median"], 0.5 * heldout.loc[heldout["update"] > 0, "median"])


def test_a_fixed_part_of_the_training_set_is_drawn_where_there_is_one(tables):
    loss = tables.evaluations["loss"]
    with_set = tables.replaced(evaluations=tables.evaluations.assign(train_fixed_loss=0.25 * loss))
    data = generalization(with_set).data
    np.testing.assert_allclose(of(data, "part of the training set")["median"], 0.25 * of(data, "held out")["median"])
    assert "part of the training set" not in set(generalization(tables).data["quantity"])


@pytest.mark.parametrize("figure", [generalization, generalization_accuracy])
def test_results_from_before_training_was_recorded_have_no_such_figure(figure, tables):
    before = tables.evaluations.drop(columns=["train_loss", "train_accuracy"])
    with pytest.raises(NothingToDraw, match="numbers of training"):
        figure(tables.replaced(evaluations=before))


def test_a_run_that_diverged_answers_nothing_right(tables):
    data = generalization_accuracy(tables).data
    late = data[(data["cell"] == "irnn") & (data["clip"] == "none") & (data["update"] == 3000)]
    assert (late["q25"] == 0).all()
