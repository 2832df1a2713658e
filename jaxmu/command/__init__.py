"""The command line: flags and overrides, the command `jaxmu`, the listing of methods."""
