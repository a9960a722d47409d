"""GPBoost's Gaussian process with Vecchia's approximation, on one thread."""

import numpy as np


def vecchia(X, y, seed):
    """Matern 3/2 with a length scale per feature, 30 neighbours, by its likelihood."""
    import gpboost

    # It refuses rows without a spread in a column.
    kept = X.std(axis=0) > 0
    model = gpboost.GPModel(
        gp_coords=X[:, kept],
        cov_function="matern_ard",
        cov_fct_shape=1.5,
        gp_approx="vecchia",
        num_neighbors=30,
        seed=seed,
        num_parallel_threads=1,
    )
    model.fit(y=y, params={"trace": False})

    def predict(rows):
        found = model.predict(gp_coords_pred=rows[:, kept], predict_var=True)
        return found["mu"], np.sqrt(found["var"])

    return predict
