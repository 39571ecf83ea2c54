"""The numbered migrations of the store, `0001_*.sql` and so on, for either store. Applied by `sinks.migrate`.

A file that has been applied anywhere is never edited: write the next one.
"""
