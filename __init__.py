"""What ComfyUI loads."""
