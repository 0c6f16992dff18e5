"""Synthesis of anomalies, and the foregrounds on which they lie. Imports nothing."""

# How `diffad foregrounds` gets masks; "folder" reads those that are there.
FOREGROUND_METHODS = ("auto", "otsu", "grabcut", "is-net", "random-region", "folder")
