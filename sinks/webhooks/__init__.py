"""Webhooks to departments: signed, checked, sent and retried, per the Standard Webhooks specification 1.0.

The rooms: `signing` (secrets and headers), `retry` (when to try again), `targets` (where a request may go),
`schedule` (what is pending) are pure; `receivers` reads one file; `sender` is the only one with a socket.
It must not know Faust, the stores, or what a delivery says.
"""
