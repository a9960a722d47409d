"""The bookkeeping of benchmarks/tabular: scores, ranks, rows, resuming."""

import numpy as np
import pytest
from pandas import DataFrame
from scipy.stats import norm
from sklearn.metrics import log_loss

from benchmarks.tabular.models import MODELS
from benchmarks.tabular.protocol import encode
from benchmarks.tabular.results import Results
from benchmarks.tabular.scores import classification_scores, regression_scores
from benchmarks.tabular.summary import Comparison, comparisons


def row(dataset, model, rmse, **changes):
    base = {
        "task": "regression",
        "dataset": dataset,
        "model": model,
        "fold": "0",
        "rows": "600",
        "train_rows": "824",
        "rmse": str(rmse),
        "status": "ok",
    }
    names = "log_loss coverage accuracy fit_cpu_s fit_s predict_s peak_mb load features"
    return dict.fromkeys(names.split(), "") | base | changes


def test_regression_scores_are_those_of_the_normal_density():
    rng = np.random.default_rng(0)
    y, mean, std = rng.standard_normal((3, 50))
    std = np.exp(std)
    scores = regression_scores(y, mean, std)
    assert scores["log_loss"] == pytest.approx(-norm(mean, std).logpdf(y).mean())
    low, high = norm(mean, std).interval(0.9)
    assert scores["coverage"] == np.mean((low < y) & (y < high))
    assert scores["rmse"] ** 2 == pytest.approx(((y - mean) ** 2).mean())


def test_classification_scores_are_scikit_learns():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(3), size=40)
    labels = rng.integers(3, size=40)
    scores = classification_scores(labels, probabilities)
    assert scores["log_loss"] == pytest.approx(log_loss(labels, probabilities))
    assert scores["accuracy"] == np.mean(probabilities.argmax(axis=1) == labels)


def test_encoding_looks_at_training_rows_only():
    frame = DataFrame({"x": [1.0, 3.0, None, 100.0], "kind": ["a", "b", "a", "new"]})
    encoded = encode(frame, [0, 1, 2])
    # The median 2 stands for what is missing; mean 2, standard deviation sqrt(2 / 3).
    np.testing.assert_allclose(
        encoded[:, 0], np.array([-1.0, 1.0, 0.0, 98.0]) / np.sqrt(2 / 3)
    )
    np.testing.assert_array_equal(encoded[:, 1], [1, 0, 1, 0])


def test_a_model_that_ran_out_of_time_is_last_and_an_absent_one_is_not_ranked():
    rows = [
        row("boston", "hgb", 0.5),
        row("boston", "catboost", 0.4),
        row("boston", "gpr_ard", "", status="timeout"),
        row("boston", "xrfm", "", status="not installed"),
        row("auto", "hgb", 0.2),
        row("auto", "catboost", 0.3),
        row("auto", "gpr_ard", 0.3),
        row("four_of_32", "hgb", 0.01),
    ]
    group = comparisons(rows)[0]
    assert group.mean_ranks["hgb"] == (2 + 1) / 2
    assert group.mean_ranks["catboost"] == (1 + 2.5) / 2
    assert group.mean_ranks["gpr_ard"] == (3 + 2.5) / 2
    assert group.mean_ranks["xrfm"] is None
    assert group.relative("hgb") == pytest.approx(0.2 / 0.3)
    assert group.finished("hgb") == 2
    assert group.best_peer("boston") == "catboost"
    assert group.cell("boston", "gpr_ard", "rmse") == "time"


def test_a_capped_model_stands_in_both_groups_and_others_by_their_rows():
    rows = [row("concrete", "gpr_ard", 0.4), row("concrete", "hgb", 0.3)]
    rows.append(row("concrete", "hgb", 0.2, rows="824"))
    groups = {group.name: group for group in comparisons(rows)}
    for name, error in (("rows600", 0.3), ("full", 0.2)):
        group: Comparison = groups[name]
        assert group.value("concrete", "hgb", "rmse") == error
        assert group.value("concrete", "gpr_ard", "rmse") == 0.4


def test_a_later_result_replaces_an_earlier_one_and_absent_models_are_tried_again(
    tmp_path,
):
    results = Results(tmp_path / "results.csv")
    first = {"dataset": "auto", "fold": 0, "rows": 317}
    results.add(first | {"model": "xrfm", "status": "not installed"})
    results.add(first | {"model": "hgb", "status": "timeout"})
    assert results.finished() == {("auto", "hgb", "0", "317")}
    results.add(first | {"model": "xrfm", "status": "ok", "rmse": 0.123456789})
    assert len(results.read()) == 2
    assert ("auto", "xrfm", "0", "317") in results.finished()
    assert {r["rmse"] for r in results.read()} == {"", "0.12346"}


def test_every_model_takes_part_somewhere_and_is_capped_where_all_are():
    for model in MODELS.values():
        assert model.groups
        assert model.rows("rows600", 5000) == 600
        assert model.rows("full", 500) == 500
