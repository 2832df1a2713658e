"""Membership attacks on stored logits: NumPy and SciPy on the host, never an accelerator.

`scores` turns logits into one number per sample, `population_mia` is the population attack of the
main tables, `logistic` its classifier.
"""
