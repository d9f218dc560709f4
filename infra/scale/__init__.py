"""Where the limits lie, found by playing load against a model of Lambda, KMS and the caches."""
