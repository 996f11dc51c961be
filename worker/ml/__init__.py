"""Everything that learns. Knows the contracts, the catalog and the engine, and nothing of the web or the database."""
