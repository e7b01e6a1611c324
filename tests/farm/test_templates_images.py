"""Images of an edit: sizes that fit, a mask that every node reads alike, comparisons; and the records in JSON."""

from __future__ import annotations

import json
import math
import sys
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from broker.comfyui.generation import GenerationRequest, GenerationResult, InputImage, OutputImage, Timings, result_of
from broker.comfyui.images import as_png, compare, fitted_size, mask_png, resized
from broker.comfyui.refusals import NoOutput, NotInstalled
from gates.errors import InvalidImage, InvalidInput, TooLarge
from gates.settings import Settings

SIDES = st.integers(1, 20_000)


@given(SIDES, SIDES, st.none() | st.integers(256, 8192), st.sampled_from([1, 2, 8, 64]))
def test_a_size_fits_its_bound_keeps_its_aspect_and_is_never_larger(
    width: int, height: int, longest: int | None, multiple: int
) -> None:
    new_width, new_height = fitted_size(width, height, longest, multiple)
    assert new_width % multiple == new_height % multiple == 0
    assert min(new_width, new_height) >= 1
    if longest is not None:
        assert max(new_width, new_height) <= longest
    scale = 1.0 if longest is None else min(1.0, longest / max(width, height))
    for new, old in ((new_width, width), (new_height, height)):
        assert abs(new - old * scale) <= max(multiple, 1)
    if multiple == 1 and scale == 1.0:
        assert (new_width, new_height) == (width, height)


def test_a_bound_that_holds_no_multiple_is_refused() -> None:
    with pytest.raises(InvalidInput):
        fitted_size(100, 100, 4, 8)


def test_what_fits_is_not_touched_and_the_rest_is_resized_smoothly() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (40, 64, 3), dtype=np.uint8)
    assert resized(pixels, (64, 40)) is pixels
    assert resized(pixels, (32, 24)).shape == (24, 32, 3)
    flat = np.full((40, 64), 200, np.uint8)
    assert (resized(flat, (32, 24)) == 200).all()


def test_a_mask_says_the_same_by_colour_and_by_alpha() -> None:
    mask = np.random.default_rng(2).integers(0, 256, (20, 30), dtype=np.uint8)
    with Image.open(BytesIO(mask_png(mask))) as image:
        assert image.mode == "RGBA"
        pixels = np.asarray(image)
    for channel in range(3):
        assert (pixels[..., channel] == mask).all()
    assert (255 - pixels[..., 3] == mask).all()


def test_images_are_compared_by_size_mode_and_likeness() -> None:
    pytest.importorskip("skimage")
    settings = Settings()
    rng = np.random.default_rng(3)
    one = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    near = np.clip(one.astype(int) + rng.integers(-2, 3, one.shape), 0, 255).astype(np.uint8)
    far = 255 - one
    same = compare(as_png(one), as_png(one), settings)
    assert (same.identical, same.psnr, same.ssim) == (True, math.inf, 1.0)
    assert json.loads(json.dumps(same.to_json(), allow_nan=False))["psnr"] is None
    close, apart = compare(as_png(one), as_png(near), settings), compare(as_png(one), as_png(far), settings)
    assert close.psnr is not None
    assert close.ssim is not None
    assert apart.psnr is not None
    assert apart.ssim is not None
    assert close.psnr > 40 > 10 > apart.psnr
    assert close.ssim > 0.99 > 0 > apart.ssim
    alpha = np.dstack([one, np.full((48, 64), 255, np.uint8)])
    assert (compare(as_png(one), as_png(alpha), settings).same_mode, same.same_mode) == (False, True)
    other = compare(as_png(one), as_png(one[:40]), settings)
    assert (other.same_size, other.psnr, other.ssim) == (False, None, None)
    assert compare(as_png(one[:4]), as_png(one[:4]), settings).ssim is None
    with pytest.raises(InvalidImage):
        compare(as_png(one), b"no image", settings)
    with pytest.raises(TooLarge):
        compare(as_png(one), as_png(one), Settings(max_pixels=100))


def test_without_its_library_a_comparison_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "skimage"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(NotInstalled, match=r"gatebus\[compare\]"):
        compare(b"", b"", Settings())


WANTED = GenerationRequest(
    GenerationRequest.fresh_id(),
    "invert",
    {"seed": 2**63, "cfg": 7.5, "text": "絵", "tiled": False},
    {"image": InputImage.of(b"png", (64, 48), "/in/a.png", (128, 96))},
    {"job": 3},
)


def test_a_request_is_the_same_after_json() -> None:
    told = json.loads(json.dumps(WANTED.to_json()))
    assert GenerationRequest.from_json(told) == WANTED
    assert "data" not in told["inputs"]["image"]
    assert WANTED.seed == 2**63


def test_a_result_is_the_same_after_json_and_says_what_went_wrong() -> None:
    made = OutputImage("image", "3", "a.png", "0" * 64, 64, 48, "/out/a.png", b"bytes")
    done = result_of(WANTED, "http://one:8188", Timings(1.5, 2.0, 4.0), (made,))
    assert GenerationResult.from_json(json.loads(json.dumps(done.to_json()))) == done
    assert (done.state, done.errors, done.timings.seconds, done.image.path) == ("done", (), 2.0, "/out/a.png")
    failed = result_of(WANTED, "http://one:8188", Timings(), error=NoOutput("nothing", prompt_id="x"), state="failed")
    again = GenerationResult.from_json(json.loads(json.dumps(failed.to_json())))
    assert again == failed
    assert again.errors == ({"type": "no_output", "message": "nothing", "details": {"prompt_id": "x"}},)
    with pytest.raises(NoOutput):
        _ = again.image


@pytest.mark.parametrize(
    ("key", "value"),
    [("id", "1"), ("state", "well"), ("seed", 1.5), ("outputs", {}), ("outputs", [{}]), ("timings", {}),
     ("errors", [1]), ("extra", 1), ("instance", 3), ("template", "../x"), ("parameters", [])],
)  # fmt: skip
def test_a_result_that_is_none_is_refused(key: str, value: object) -> None:
    told = result_of(WANTED, "http://one:8188", Timings()).to_json()
    with pytest.raises(InvalidInput):
        GenerationResult.from_json({**told, key: value})
