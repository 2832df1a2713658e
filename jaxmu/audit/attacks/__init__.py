"""Membership attacks on stored logits and scores: NumPy and SciPy, never an accelerator.

What attackers look at: `scores` (one number per sample and model), `population_scores`, `roles`
(who saw what). One rule for all samples: `population_mia` with its classifier in `logistic`,
`strongest` of several, `svc_mia`. One per sample, from shadow models: `lira` and `ulira` (Gaussians
in `fits`), `kernel`, `label_only`, `rmia`. Against retrained models: `klom`, `forgetting_quality`.
`exposure` (with `crossed`, `tails`, `changes`, `worst`) turns any of them into rates, intervals and
exposed samples, `strata` into those of vulnerable ones, `epsilon` (`epsilon_pairs`,
`epsilon_one_run`) into a bound.
"""
