"""The emotion model: weights, network, and scores of turns and windows."""
