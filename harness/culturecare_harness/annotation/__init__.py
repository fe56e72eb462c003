"""Annotation at use: a model marks distress and cultural signals in posts that nobody annotated, and is scored against those who did."""
