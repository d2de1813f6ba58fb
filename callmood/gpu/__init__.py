"""One process per GPU that runs the networks for all workers of a batch.

`Servers` starts and ends those processes, `server` is what runs in each, and `predict` is how a worker asks them. Without
a GPU none of it is used: each worker runs networks of its own.
"""
