"""Of CuPy's other half what minigrad calls."""
