"""Judging a study of shadow models: which methods leak, in which direction, what misleads."""
