"""From emotion corpora to the shipped models; run from the repository, never installed."""
