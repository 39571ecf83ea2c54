"""The composition root: the only place where brokers, stores and servers are made and joined.

`tables` reads the reference data, `parts` joins the stages, `restore` builds their state, `web` the pages and the API;
`embedded` and `cluster` are the two shapes that the system runs in. Commands import from here; nobody else does.
"""
