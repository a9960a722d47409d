"""GPyTorch: Matern-5/2 with a length scale per feature, exact and variational."""


def exact(X, y, seed):
    """75 steps of Adam on the evidence, in double precision, exact factorisations."""
    import gpytorch
    import torch

    torch.manual_seed(seed)
    X, y = torch.as_tensor(X), torch.as_tensor(y)
    likelihood = gpytorch.likelihoods.GaussianLikelihood()

    class Model(gpytorch.models.ExactGP):
        def __init__(self):
            super().__init__(X, y, likelihood)
            self.mean_module = gpytorch.means.ConstantMean()
            self.covar_module = _kernel(X.shape[1])

        forward = _forward

    model = _started(Model().double(), likelihood, X.shape[1])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    evidence = gpytorch.mlls.ExactMarginalLogLikelihood(likelihood, model)
    with gpytorch.settings.max_cholesky_size(10_000):
        for _ in range(75):
            _step(optimizer, lambda: -evidence(model(X), y))
    return _predictor(model, likelihood, X.dtype)


def variational(X, y, seed):
    """256 inducing points, 300 steps of Adam on batches of 512, in single precision."""
    import gpytorch
    import torch

    torch.manual_seed(seed)
    X, y = (torch.as_tensor(part, dtype=torch.float32) for part in (X, y))
    likelihood = gpytorch.likelihoods.GaussianLikelihood()
    points = X[torch.randperm(len(y))[: min(256, len(y))]].clone()

    class Model(gpytorch.models.ApproximateGP):
        def __init__(self):
            posterior = gpytorch.variational.CholeskyVariationalDistribution(
                len(points)
            )
            super().__init__(
                gpytorch.variational.VariationalStrategy(
                    self, points, posterior, learn_inducing_locations=True
                )
            )
            self.mean_module = gpytorch.means.ConstantMean()
            self.covar_module = _kernel(X.shape[1])

        forward = _forward

    model = _started(Model(), likelihood, X.shape[1])
    parameters = [*model.parameters(), *likelihood.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=0.03)
    bound = gpytorch.mlls.VariationalELBO(likelihood, model, len(y))
    for _ in range(300):
        batch = torch.randint(len(y), (min(512, len(y)),))
        _step(optimizer, lambda batch=batch: -bound(model(X[batch]), y[batch]))
    return _predictor(model, likelihood, X.dtype)


def _kernel(n_features):
    import gpytorch

    matern = gpytorch.kernels.MaternKernel(nu=2.5, ard_num_dims=n_features)
    return gpytorch.kernels.ScaleKernel(matern)


def _forward(self, x):
    import gpytorch

    return gpytorch.distributions.MultivariateNormal(
        self.mean_module(x), self.covar_module(x)
    )


def _started(model, likelihood, n_features):
    model.covar_module.base_kernel.lengthscale = n_features**0.5
    likelihood.noise = 0.1
    model.train()
    likelihood.train()
    return model


def _step(optimizer, objective):
    optimizer.zero_grad()
    objective().backward()
    optimizer.step()


def _predictor(model, likelihood, dtype):
    import gpytorch
    import torch

    def predict(rows):
        model.eval()
        likelihood.eval()
        settings = gpytorch.settings
        with torch.no_grad(), settings.max_cholesky_size(10_000):
            normal = likelihood(model(torch.as_tensor(rows, dtype=dtype)))
        return normal.mean.numpy(), normal.variance.sqrt().numpy()

    return predict
