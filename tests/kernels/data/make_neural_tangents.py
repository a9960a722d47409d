"""Write neural_tangents.npz: frozen NNGP and NTK arrays to test our kernels against.

neural-tangents is never a dependency: it needs old JAX and all of TensorFlow.
Only to change the arrays, make a throw-away environment (about 3 GB) with
Python 3.11, run this file in it and delete it::

    python -m venv nt
    nt/bin/pip install neural-tangents==0.6.5 jax==0.5.3 jaxlib==0.5.3 \
        tf2jax==0.3.6 tensorflow==2.21.0 numpy==2.4.6
    OMP_NUM_THREADS=1 nt/bin/python tests/kernels/data/make_neural_tangents.py

Keys: ``X`` (12, 5), ``Z`` (9, 5), ``XD`` (6, 5), ``sw2``, ``sb2``,
``leaky_slope``, and ``{activation}_{depth}_{nngp|ntk}_{cross|square}``, float64;
cross is k(X, Z), square is k(XD). Depth L counts hidden layers. The first kernel
is ``sb2 + sw2 / 5 * X @ Z.T``; the readout has variance 1 and no bias, so that
NNGP = S_L and NTK = S_L + Sd_L * T_L.

In XD, row 1 equals row 0 and row 3 is (1 + 1e-9) times row 0. neural-tangents
takes the angle between rows from ``sqrt(q1 * q2 - K**2)``, so the square NTK of
relu, leaky_relu and abs is wrong by up to 5e-8 of its largest entry on the
diagonal and among rows 0, 1 and 3. All else is within 1e-14 of its array's largest
entry of the closed forms in 60 digits.
"""

from pathlib import Path

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_platforms", "cpu")

from neural_tangents import stax  # noqa: E402

SW2, SB2, LEAKY_SLOPE = 1.7, 0.2, 0.2
DEPTHS = (1, 3, 10)
ACTIVATIONS = {
    "erf": stax.Erf(),
    "relu": stax.Relu(),
    "leaky_relu": stax.LeakyRelu(LEAKY_SLOPE),
    "abs": stax.Abs(),
    "gelu": stax.Gelu(),
    "sin": stax.Sin(),
    "cos": stax.Cos(),
    "rbf": stax.Rbf(gamma=0.5),
    "identity": stax.Identity(),
}


def make_inputs():
    rng = np.random.RandomState(0)
    X, Z, XD = (rng.standard_normal((n, 5)) for n in (12, 9, 6))
    XD[1] = XD[0]
    XD[3] = (1 + 1e-9) * XD[0]
    return X, Z, XD


def make_kernel(activation, depth):
    hidden = stax.Dense(1, W_std=SW2**0.5, b_std=SB2**0.5, parameterization="ntk")
    readout = stax.Dense(1, W_std=1.0, b_std=None, parameterization="ntk")
    return stax.serial(*[hidden, activation] * depth, readout)[2]


def main():
    X, Z, XD = make_inputs()
    arrays = dict(X=X, Z=Z, XD=XD, sw2=SW2, sb2=SB2, leaky_slope=LEAKY_SLOPE)
    for name, activation in ACTIVATIONS.items():
        for depth in DEPTHS:
            kernel = make_kernel(activation, depth)
            for shape, rows in (("cross", (X, Z)), ("square", (XD, None))):
                for kind, K in kernel(*rows, ("nngp", "ntk"))._asdict().items():
                    K = np.asarray(K)
                    assert K.dtype == np.float64 and np.isfinite(K).all()
                    arrays[f"{name}_{depth}_{kind}_{shape}"] = K
    np.savez_compressed(Path(__file__).with_name("neural_tangents.npz"), **arrays)


if __name__ == "__main__":
    main()
