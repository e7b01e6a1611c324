"""The nodes that ComfyUI loads."""
