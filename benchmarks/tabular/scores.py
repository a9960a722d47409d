"""Scores of predictions on test rows."""

import numpy as np

QUANTILE = 1.6448536269514722  # of the standard normal, 95 %


def regression_scores(y, mean, std=None):
    """RMSE; with standard deviations also log loss and coverage of 90 % intervals."""
    error = y - np.ravel(mean)
    scores = {"rmse": float(np.sqrt(np.mean(error**2)))}
    if std is not None:
        std = np.maximum(np.ravel(std), 1e-6)
        log_density = -0.5 * np.log(2 * np.pi * std**2) - error**2 / (2 * std**2)
        scores["log_loss"] = -float(np.mean(log_density))
        scores["coverage"] = float(np.mean(np.abs(error) < QUANTILE * std))
    return scores


def classification_scores(labels, probabilities):
    """Log loss and accuracy; probabilities are kept from zero by 1e-6."""
    kept = np.clip(probabilities, 1e-6, None)
    kept = kept / kept.sum(axis=1, keepdims=True)
    likelihoods = kept[np.arange(len(labels)), labels]
    return {
        "log_loss": -float(np.mean(np.log(likelihoods))),
        "accuracy": float(np.mean(kept.argmax(axis=1) == labels)),
    }
