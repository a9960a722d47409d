"""The command line: its scores, its table and its picture."""

import time

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread
from numpy.testing import assert_allclose
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_val_score
from sklearn.pipeline import make_pipeline

from adaptive_kernels import __main__
from adaptive_kernels import _cli as _compare
from adaptive_kernels._cli import _run
from adaptive_kernels._cli._evaluate import evaluate, score
from adaptive_kernels._cli._input_table import encoder, load_problem
from adaptive_kernels._cli._models import (
    ADAPTIVE,
    GP_BASELINES,
    Model,
    TimeLimitedLBFGS,
    all_models,
)
from adaptive_kernels._cli._report import results_table, verdict
from adaptive_kernels._cli._run import affordable


class StandInSearch(GaussianProcessRegressor):
    """A Gaussian process with the attributes of the adaptive search."""

    def fit(self, X, y):
        self.cv_results_ = {
            "param_kernel": np.array(["erf", "erf"], dtype=object),
            "param_covariance_type": np.array(["diag", "diag"], dtype=object),
            "param_width": np.array([1.0, np.inf]),
            "mean_test_score": np.array([-1.0, -2.0]),
            "std_test_score": np.array([0.1, 0.1]),
            "split0_test_score": np.array([-1.0, -2.0]),
        }
        self.best_params_ = {
            "kernel": "erf",
            "covariance_type": "diag",
            "width": 1.0,
            "scaling": 10.0,
        }
        self.feature_importances_ = np.full(X.shape[1], 1 / X.shape[1])
        return super().fit(X, y)


def cheap_models(gp_seconds, search_folds):
    def gp(cls):
        return cls(RBF(3.0) + WhiteKernel(0.1), optimizer=None, normalize_y=True)

    return [
        Model("Ridge", RidgeCV(alphas=np.logspace(-3, 3, 13)), has_std=False),
        *(Model(name, gp(GaussianProcessRegressor)) for name in GP_BASELINES),
        Model(ADAPTIVE, gp(StandInSearch)),
    ]


@pytest.fixture
def cheap(monkeypatch):
    monkeypatch.setattr(_run, "all_models", cheap_models)


def make_frame(n=60):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "key": [f"row-{i}" for i in range(n)],
            "dose": rng.normal(size=n),
            "age": rng.integers(20, 80, size=n).astype(float),
            "colour": rng.choice(["red", "green", "blue"], size=n),
            "smoker": rng.choice([True, False], size=n),
            "nothing": np.full(n, np.nan),
        }
    )
    noise = 0.2 * rng.normal(size=n)
    frame["y"] = np.sin(2 * frame["dose"]) + (frame["colour"] == "red") + noise
    frame.loc[[1, 5], "dose"] = np.nan
    frame["colour"] = frame["colour"].mask(frame.index.isin([2, 6]))
    frame["smoker"] = frame["smoker"].astype(object).mask(frame.index.isin([3, 7]))
    frame.loc[[4], "age"] = np.inf
    frame.loc[[8, 9], "y"] = np.nan
    return frame


@pytest.fixture
def csv(tmp_path):
    path = tmp_path / "trial.csv"
    make_frame().to_csv(path, index=False)
    return path


def run(capsys, *arguments):
    assert __main__.main(["compare", *map(str, arguments)]) is None
    return capsys.readouterr().out


def assert_is_a_picture(path):
    pixels = imread(path)
    assert pixels.shape[0] > 400 and pixels.shape[1] > 1000
    assert len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)) > 100


@pytest.mark.slow
def test_command_with_all_models(csv, tmp_path, capsys):
    picture = tmp_path / "all.png"
    out = run(
        capsys, csv, "--target", "y", "--quick", "--folds", 2, "--output", picture
    )
    for model in all_models(1.0, 3):
        assert model.name in out
    assert "trial.csv: y from 4 columns, 58 rows, 2 folds" in out
    assert "has the lowest RMSE" in out
    assert_is_a_picture(picture)


@pytest.mark.slow
def test_notes_and_picture(cheap, csv, tmp_path, capsys):
    picture = tmp_path / "cheap.png"
    out = run(capsys, csv, "--target", "y", "--output", picture)
    assert "dropped 2 rows without a value of y" in out
    assert "dropped empty columns: nothing" in out
    assert "dropped columns that name each row: key" in out
    assert "5 folds" in out
    chosen = "chose erf, diag, width 1, scaling 10 in 5 of 5 fits"
    assert chosen in " ".join(out.split())
    assert_is_a_picture(picture)


def test_printed_rmse_is_that_of_a_direct_cross_validation(
    cheap, csv, tmp_path, capsys
):
    out = run(capsys, csv, "--target", "y", "--output", tmp_path / "a.png")
    frame = make_frame().dropna(subset="y").drop(columns=["key", "nothing"])
    X, y = frame.drop(columns="y").replace(np.inf, np.nan), frame["y"]
    for column in ("colour", "smoker"):
        X[column] = X[column].fillna("missing").astype(str)
    X = pd.get_dummies(X, columns=["colour"], dtype=float)
    X = pd.get_dummies(X, columns=["smoker"], dtype=float)
    rmse = [direct_rmse(X, y, *fold) for fold in folds(X)]
    assert f"{np.mean(rmse):.3f} ±{np.std(rmse, ddof=1):.3f}" in out


def folds(X, n=5):
    return KFold(n, shuffle=True, random_state=0).split(X)


def direct_rmse(X, y, train, test):
    X = X.astype(float).fillna(X.iloc[train].median())
    numbers = ["dose", "age"]
    mean, std = X.iloc[train][numbers].mean(), X.iloc[train][numbers].std(ddof=0)
    X = X.assign(**((X[numbers] - mean) / std))
    model = RidgeCV(alphas=np.logspace(-3, 3, 13)).fit(X.iloc[train], y.iloc[train])
    return np.sqrt(np.mean((y.iloc[test] - model.predict(X.iloc[test])) ** 2))


def test_scores_agree_with_scikit_learn(csv):
    problem = load_problem(csv, "y", 1000)
    models = [cheap_models(1.0, 3)[0]]
    steps = []
    evaluation = evaluate(problem, models, 3, lambda *step: steps.append(step))
    assert steps == [("Ridge", fold) for fold in range(3)]
    pipeline = make_pipeline(encoder(problem.X), models[0].estimator)
    for column, scoring, sign in (
        ("rmse", "neg_root_mean_squared_error", -1),
        ("r2", "r2", 1),
    ):
        expected = cross_val_score(
            pipeline, problem.X, problem.y, cv=folds(problem.X, 3), scoring=scoring
        )
        assert_allclose(evaluation.scores[column], sign * expected)
    assert evaluation.scores["log_loss"].isna().all()
    assert_allclose(evaluation.held_out, next(folds(problem.X, 3))[1])


def test_log_loss_and_coverage():
    y, mean, std = np.array([0.0, 1.0, 5.0]), np.zeros(3), np.array([1.0, 2.0, 3.0])
    row = score(y, mean, std)
    expected = np.mean(y**2 / (2 * std**2) + np.log(std * np.sqrt(2 * np.pi)))
    assert_allclose(row["log_loss"], expected)
    assert_allclose(row["coverage"], 2 / 3)
    assert_allclose(row["rmse"], np.sqrt(26 / 3))


@pytest.mark.filterwarnings("ignore:Found unknown categories")
def test_encoder_takes_missing_and_unseen_values(csv):
    X = load_problem(csv, "y", 1000).X
    fitted = encoder(X).fit(X)
    names = list(fitted.get_feature_names_out())
    assert names[:2] == ["dose", "age"]
    assert {"colour = red", "colour = missing", "smoker = True"} < set(names)
    unseen = X.assign(colour="violet", dose=np.nan)
    encoded = pd.DataFrame(fitted.transform(unseen), columns=names)
    assert encoded.notna().all(axis=None)
    assert (encoded.filter(like="colour") == 0).all(axis=None)


def test_rows_above_the_limit_are_sampled_once(tmp_path):
    path = tmp_path / "long.csv"
    make_frame(200).to_csv(path, index=False)
    first, second = (load_problem(path, "y", 50) for _ in range(2))
    assert len(first.y) == 50
    assert "used 50 of 198 rows, drawn at random (seed 0)" in first.notes
    pd.testing.assert_frame_equal(first.X, second.X)
    assert set(first.y) < set(make_frame(200)["y"])


def slow_bowl(theta, seconds=0.02):
    time.sleep(seconds)
    return float(((theta - 3.0) ** 4).sum()), 4 * (theta - 3.0) ** 3


def test_time_limit_returns_the_best_point_so_far():
    seen = []

    def objective(theta):
        value, gradient = slow_bowl(theta)
        seen.append((value, theta.copy()))
        return value, gradient

    optimizer = TimeLimitedLBFGS(0.05)
    start = time.perf_counter()
    theta, value = optimizer(objective, np.zeros(2), np.full((2, 2), [-9.0, 9.0]))
    assert time.perf_counter() - start < 1.0
    assert optimizer.stopped
    best_value, best_theta = min(seen, key=lambda pair: pair[0])
    assert value == best_value
    assert_allclose(theta, best_theta)


def test_without_pressure_of_time_it_is_scikit_learns_optimizer():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 2))
    y = np.sin(X[:, 0]) + 0.1 * rng.normal(size=30)
    kernel = RBF([1.0, 1.0]) + WhiteKernel(0.1)
    limited = GaussianProcessRegressor(kernel, optimizer=TimeLimitedLBFGS(60.0))
    plain = GaussianProcessRegressor(kernel)
    limited.fit(X, y), plain.fit(X, y)
    assert not limited.optimizer.stopped
    assert_allclose(limited.kernel_.theta, plain.kernel_.theta)


def test_stopped_baselines_are_reported(csv):
    problem = load_problem(csv, "y", 1000)
    ard = [model for model in all_models(0.0, 3) if model.name == GP_BASELINES[1]]
    notes = evaluate(problem, ard, 2, lambda *_: None).notes
    assert notes == [f"{GP_BASELINES[1]} stopped at the time limit in 2 of 2 fits"]


def test_a_baseline_that_needs_too_much_memory_is_left_out(csv, monkeypatch):
    problem = load_problem(csv, "y", 1000)
    models, notes = affordable(all_models(1.0, 3), problem)
    assert len(models) == len(all_models(1.0, 3)) and not notes
    monkeypatch.setattr(_run, "ARD_BYTES", 1e5)
    models, notes = affordable(all_models(1.0, 3), problem)
    assert GP_BASELINES[1] not in [model.name for model in models]
    assert notes == [f"left out {GP_BASELINES[1]}: 0 GB for its gradients"]


def scores_with(rmse):
    return pd.DataFrame(
        {"model": name, "fold": fold, "rmse": value * (1 + 0.01 * fold)}
        for name, value in rmse.items()
        for fold in range(3)
    )


@pytest.mark.parametrize(
    ("rmse", "sentence"),
    [
        (
            (2.0, 1.0, 0.9, 0.45),
            f"{ADAPTIVE} has the lowest RMSE (0.455), 50.0% below the best GP "
            f"baseline, {GP_BASELINES[1]} (0.909), and lower on 3 of 3 folds.",
        ),
        (
            (2.0, 1.0, 1.5, 1.1),
            f"{GP_BASELINES[0]} has the lowest RMSE (1.01); {ADAPTIVE} (1.11) is "
            "10.0% above it, and lower on 0 of 3 folds.",
        ),
        (
            (0.5, 1.0, 1.5, 0.8),
            f"Ridge has the lowest RMSE (0.505); {ADAPTIVE} (0.808) is 20.0% below "
            f"the best GP baseline, {GP_BASELINES[0]} (1.010), and lower on 3 of 3 "
            "folds.",
        ),
    ],
)
def test_verdict(rmse, sentence):
    names = ("Ridge", *GP_BASELINES, ADAPTIVE)
    assert verdict(scores_with(dict(zip(names, rmse, strict=True)))) == sentence


def test_the_best_of_each_column_is_bold():
    frame = scores_with({"Ridge": 1.0, "GP": 2.0})
    shift = frame["model"].map({"Ridge": 0.0, "GP": 0.1})
    for column in ("r2", "fit_seconds", "predict_seconds"):
        frame[column] = 0.5 + shift
    frame["log_loss"] = shift.where(shift > 0)
    frame["coverage"] = (0.95 - shift / 2).where(shift > 0)
    table = results_table(frame, "title")
    bold = [
        [i for i, cell in enumerate(column.cells) if "[bold]" in cell]
        for column in table.columns[1:]
    ]
    assert bold == [[0], [1], [1], [1], [0], [0]]
    assert table.columns[1]._cells[0] == "[bold]1.01 ±0.01[/bold]"
    assert table.columns[3]._cells[0] == ""


def test_public_names():
    assert set(_compare.__all__) == {"InputError", "compare"}
