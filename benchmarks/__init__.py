"""Measurements of the zoo, and of the zoo against others; each run leaves one JSON file in ``benchmarks/results``."""
