"""What builds data files, tables in the documents, and `.venv`. Not part of what is installed."""
