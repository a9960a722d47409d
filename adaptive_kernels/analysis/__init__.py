"""Functions of fitted estimators: scaling paths, learning curves, spike spectra."""
