"""Pools: curated, ordered sets of images, each with its mask and label."""
