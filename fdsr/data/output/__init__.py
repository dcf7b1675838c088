"""What predictions become: a dataset in memory or a store, in the form of what they were made from."""
