"""The front doors: REST, command line and page. Thin: validate, record, enqueue, read."""
