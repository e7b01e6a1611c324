"""What ``gatebus doctor`` looks at: each module one side of an installation, read only."""
