"""Chaos: a cluster to which everything happens that a schedule made from a seed says, and an exact account at the end.

    python -m tests.chaos --seed 7 --minutes 2 --workers 3 --brokers 1

What happens (`schedule`) and what is sent (`stream`) are pure functions of the seed. What should have come of it is
computed by the pure engine from the records as Kafka has them (`oracle`); `account` compares that with what the store
and the webhook receiver have. `scene` has the processes and the faults, `show` runs it all.
"""
