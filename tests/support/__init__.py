"""What tests of several rooms share: small problems, replays, golden cases, ready-made runs."""
