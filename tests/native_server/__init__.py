"""A server for tests: ClickHouse's native protocol on a port, and the engine of a current ClickHouse behind it.

It is not a ClickHouse server. The engine is chDB, which is ClickHouse's own code as a library; the protocol around it
is written here, from what the driver and the published protocol say, and knows no more than the project's store needs.
What is tested with it: the driver, the store on top of it, the schema and every statement, on the current engine and
through a real socket, in another process that can be slow or be killed. What is not: the network code, the users, the
limits and the merges of a true server. For those there is CLICKHOUSE_URL, and Debian's old server for its wire.

    python -m tests.native_server --folder /tmp/record --port 9000

`tests.clickhouse.native_server` starts one for a test.
"""
