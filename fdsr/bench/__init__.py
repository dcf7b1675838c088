"""How fast data come: what `fdsr bench-data` measures, and its table."""
