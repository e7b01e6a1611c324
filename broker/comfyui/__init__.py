"""One ComfyUI server, its client and its workflow templates."""
