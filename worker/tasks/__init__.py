"""Celery tasks: one file for each kind of job."""
