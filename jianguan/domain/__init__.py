"""The vocabulary of supervision: events, facts, alerts, cases, tasks, and the codes they use.

Pure: values and decisions. Nothing in here reads a clock, opens a socket or knows a framework but pydantic.
"""
