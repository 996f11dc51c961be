"""The database: one declarative base, one synchronous session, one file of tables for each aggregate."""
