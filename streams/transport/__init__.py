"""A Faust transport that hands an agent whole runs of records instead of single messages."""
