"""Speed and memory of this project, beside the official code where checkouts of it are given."""
