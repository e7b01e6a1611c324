"""The decision log: who decided what, when, from where, on which image; append-only."""
