"""Membership attacks on stored logits and scores: NumPy and SciPy, never an accelerator.

What attackers look at: `scores` (one number per sample and model), `population_scores`, `roles`
(who saw what). One threshold for all samples: `population_mia` with its classifier in `logistic`.
One per sample, from shadow models: `lira`, `ulira`, `rmia`. Against retrained models: `klom`,
`forgetting_quality`. `exposure` turns any of them into rates, intervals and exposed samples.
"""
