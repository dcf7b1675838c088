"""The verbs that Lightning runs: their settings, what a terminal shows of them, and how they end."""
