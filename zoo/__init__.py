"""Animation Zoo: video-animation methods that share one batch, one contract and one set of metrics."""

__version__ = "0.1.0"
