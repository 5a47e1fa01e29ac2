"""How far to trust a result: weights, bounds on log Z, divergences, intervals, the frontier, drift. Nats throughout."""
