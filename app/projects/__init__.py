"""Projects, and the classes, tags and metadata fields inside them."""
