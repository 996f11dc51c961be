"""Blobs: originals, thumbnails, bundles. Bytes by key, on disk or in S3-compatible storage."""
