"""A method on a population: its compiled programs, groups that fit into memory, accounting."""
