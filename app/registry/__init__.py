"""Published models: reports, comparison, download."""
