"""What the front doors and the workers both speak: settings, errors, broker, records, job kinds."""
