"""Images of a project: taking them in, listing them, showing them."""
