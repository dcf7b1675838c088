"""From any gridded archive to a pair store."""
