"""How an app runs: from batches to agents, and from acknowledgements to commits."""
