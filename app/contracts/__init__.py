"""Payloads that the web side and the worker side both speak. Imports nothing of ours."""
