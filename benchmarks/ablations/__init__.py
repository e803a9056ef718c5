"""What is measured of parts of methods, beside the protocols' tables."""
