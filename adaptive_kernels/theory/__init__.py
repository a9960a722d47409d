"""Statistical theory of wide networks: pure functions of arrays."""
