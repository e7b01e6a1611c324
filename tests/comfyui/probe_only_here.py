"""A node class that only one ComfyUI of a test's farm has; copied into its custom_nodes."""


class ProbeOnlyHere:
    """Gives the image on."""

    CATEGORY = "probe"
    FUNCTION = "run"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",)}}

    def run(self, image):
        return (image,)


NODE_CLASS_MAPPINGS = {"ProbeOnlyHere": ProbeOnlyHere}
