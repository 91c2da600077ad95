"""What the page asks the server for, one file a view."""
