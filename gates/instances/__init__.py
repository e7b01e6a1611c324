"""Instances: the ComfyUI processes of the farm, each announced by itself."""
