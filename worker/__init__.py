"""Kizu's worker side: the only Celery tasks, and the only place that imports torch."""
