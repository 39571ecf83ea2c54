"""jianguan: 互联网+监管 as an event stream. The shared vocabulary, and where things are wired."""

__version__ = "0.1.0"
