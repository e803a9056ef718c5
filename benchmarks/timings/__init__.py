"""What single parts cost, measured in one run each: ``python -m benchmarks.timings.NAME``."""
