"""Hyper-parameter search: what trials draw, what they are worth, and which one is chosen."""
