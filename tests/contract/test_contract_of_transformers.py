"""Any input of a transformer gives finite features or an error that names the input."""

import numpy as np
import pytest
from _clear_signal import signals
from _contract import check_array, counted, honoured, names_of, require, share
from _fits import fitted, rows_of
from _models import TRANSFORMERS, Model, invalid_models, models
from _strategies import Case, Labels, Table, cases, labels, targets
from hypothesis import given

from adaptive_kernels import spike_spectrum


def check(case):
    with counted(case):
        model = fitted(case)
        if model is None:
            return
        new = case.new_rows()
        m, k = rows_of(new), model.n_components
        check_array("weights", model.weights_, (k, case.X.d))
        with honoured(("X",), (new,)):
            features = model.transform(new)
            check_array("features", features, (m, k))
            projections = model.project(new)
            check_array("projections", projections, projections.shape)
            for term in model.spike_components(new):
                check_array("inputs", term.inputs, term.inputs.shape)
                require(np.isfinite(term.coefficient), "a coefficient is not finite.")
        with honoured((*names_of(model), "estimator", "degree"), (new,)):
            spectrum = spike_spectrum(model, new)
            values = spectrum.singular_values
            check_array("singular values", values, values.shape, least=0.0)


STEP = Model("OneStepSpikeFeatures")
FOUND = {
    "labels without an order": Case(STEP, y=Labels(12, (4, 4), "mixed", seed=50)),
    "rows far from those of fit": Case(STEP, Table(20, 1), Labels(20, (10,)), new=1e60),
    "largest step": Case(Model("OneStepSpikeFeatures", (("gain", "10000000.0"),))),
    "largest precondition": Case(
        Model("OneStepSpikeFeatures", (("precondition", "1e+50"),)), Table(30)
    ),
}


@pytest.mark.parametrize("case", FOUND.values(), ids=FOUND)
def test_cases_that_have_failed(case):
    check(case)


@share(0.08)
@given(cases(models(TRANSFORMERS), targets))
def test_targets(case):
    check(case)


@share(0.04)
@given(cases(models(TRANSFORMERS), labels))
def test_labels(case):
    check(case)


@share(0.03)
@given(invalid_models(TRANSFORMERS))
def test_invalid_parameters(model):
    with counted(model):
        X, y = Table().build(), Table(d=1, vector=True).build()
        with honoured((), culprits=model.culprits()):
            model.build().fit(X, y)


@share(0.02)
@given(signals(TRANSFORMERS))
def test_signal_is_found(signal):
    with counted(signal):
        with honoured(()):
            score, _ = signal.regression_score()
        require(score > 0.2, f"R2 is {score:.2f}.")
