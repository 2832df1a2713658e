"""Attacks, metrics and statistics on stored logits and scores: NumPy and SciPy, never jax."""
