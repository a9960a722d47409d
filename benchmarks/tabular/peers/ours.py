"""The estimators of this package, with nothing but their defaults."""

NAMES = (
    "AdaptiveKernelRegressorCV",
    "AdaptiveKernelRegressor",
    "NNGPRegressor",
    "AdaptiveKernelClassifierCV",
    "AdaptiveKernelClassifier",
    "NNGPClassifier",
)


def with_defaults(name):
    """A builder of the estimator of this name."""

    def build(X, y, seed):
        import adaptive_kernels

        return getattr(adaptive_kernels, name)()

    return build
