"""The peers that this system is measured against, and the job that all do. `python -m bench.peers --help` says more."""
