"""A results database held against human labels of the user's own calls."""
