"""Deployments, predictions and their history."""
