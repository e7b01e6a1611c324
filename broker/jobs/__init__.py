"""Jobs: prompts submitted to the farm, which survive brokers and instances."""
