"""Real tables x models x scores, with every fit in a process of its own."""
