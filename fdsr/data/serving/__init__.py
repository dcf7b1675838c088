"""From a pair store to batches: readers, patches, loaders and `WeatherDataModule`."""
