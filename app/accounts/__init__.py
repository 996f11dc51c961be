"""People, roles, sign-in and API keys."""
