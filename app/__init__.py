"""Kizu's web side: data, pages, REST and serving. Never imports torch."""
