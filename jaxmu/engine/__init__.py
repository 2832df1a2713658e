"""Populations: the only room that knows about many models, loops over them, and devices."""
