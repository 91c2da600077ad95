"""The browser view of a run: a local server (`app`, `routes/`) and the page it serves (`page/`)."""
