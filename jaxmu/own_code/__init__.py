"""Code of a user's own: found by its name, told in one line where that fails, and hashed."""
