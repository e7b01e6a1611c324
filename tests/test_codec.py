"""What the codec promises: pictures that every viewer opens, tensors that come back identical, bounds on the rest."""

from __future__ import annotations

import subprocess
import sys
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gates import codec
from gates.codec import Layout
from gates.errors import InvalidImage, InvalidInput
from gates.pixels import to_floats, to_pixels
from gates.png import read_png
from gates.settings import Settings
from gates.stored_png import IEND, SIGNATURE, StoredPng, chunk, ihdr

SETTINGS = Settings()
SHAPES = [(1, 1, 3), (1, 7, 1), (513, 3, 4), (65, 300, 3), (700, 900, 4), (3, 21844, 3), (3, 21845, 3), (2, 70000, 1)]
COMPRESSIONS = ["stored", "fast", "small"]


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def pillow(png: bytes) -> np.ndarray:
    pixels = np.asarray(Image.open(BytesIO(png)))
    return pixels[..., None] if pixels.ndim == 2 else pixels


# -- PNG ------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_viewer_sees_the_pixels_that_were_encoded(shape, compression):
    pixels = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    png = codec.encode_png(pixels, compression)
    assert (pillow(png) == pixels).all()
    assert (codec.decode_png(png) == pixels).all()


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    channels=st.sampled_from([1, 3, 4]),
    compression=st.sampled_from(COMPRESSIONS),
    seed=st.integers(0, 2**32),
)
def test_any_shape_comes_back(height, width, channels, compression, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)
    png = codec.encode_png(pixels, compression)
    assert (codec.decode_png(png) == pixels).all()
    assert (pillow(png) == pixels).all()


def test_a_stored_png_holds_even_if_its_rows_end_on_a_block():
    # 65535 bytes are one deflate block: five rows of 13107 with their filter byte.
    pixels = np.random.default_rng(2).integers(0, 256, (10, 13106, 1), np.uint8)
    assert StoredPng(10, 13106, 1).per_block == 5
    assert (pillow(codec.encode_png(pixels)) == pixels).all()


def test_values_are_rounded_half_to_even_and_clipped():
    values = np.array([0, 0.5, 1.5, 2.5, 253.5, 254.4999, 255, 300, -3, 127.49, 127.51], np.float64) / 255
    assert to_pixels(values).tolist() == [0, 0, 2, 2, 254, 254, 255, 255, 0, 127, 128]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_nan_is_black_and_infinity_is_clipped(dtype):
    assert to_pixels(np.array([np.nan, np.inf, -np.inf, 1], dtype)).tolist() == [0, 255, 0, 255]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_every_eight_bit_value_is_stable_in_every_float_dtype(dtype):
    values = np.arange(256, dtype=np.uint8)
    assert (to_pixels((values / 255).astype(dtype)) == values).all()


def test_ten_round_trips_change_nothing_after_the_first():
    once = codec.encode(noise((2, 50, 60, 3)), "png")
    batch = codec.decode(once.layout, once.parts)
    for _ in range(10):
        again = codec.encode(batch, "png")
        assert [bytes(part) for part in again.parts] == [bytes(part) for part in once.parts]
        batch = codec.decode(again.layout, again.parts)


def test_a_decoded_png_is_what_comfyui_loads():
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    encoded = codec.encode(pixels[None], "png")
    assert (codec.decode(encoded.layout, encoded.parts)[0] == pixels.astype(np.float32) / 255.0).all()


def test_a_view_with_strides_is_encoded_like_its_copy():
    wide = noise((2, 40, 60, 4))
    view = wide[:, ::2, ::-3, :3]
    for format in ("png", "exact"):
        one, other = codec.encode(view, format), codec.encode(np.ascontiguousarray(view), format)
        assert [bytes(part) for part in one.parts] == [bytes(part) for part in other.parts]


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_damaged_png_is_refused(compression):
    png = bytearray(codec.encode_png(noise((40, 50, 3)), compression))
    png[len(png) // 2] ^= 1
    with pytest.raises(InvalidImage):
        codec.decode_png(bytes(png))


def test_a_png_of_another_size_is_refused():
    with pytest.raises(InvalidImage, match=r"\[9, 8, 3\].*\[8, 8, 3\]"):
        read_png(codec.encode_png(noise((9, 8, 3))), np.empty((8, 8, 3), np.float32))


def test_a_deflated_png_that_looks_like_a_stored_one_is_read_right():
    # zlib's level 1 has our header, stores what it can't deflate, and then has our length too.
    lines = np.random.default_rng(0).integers(0, 256, (70, 151), np.uint8)
    lines[:, 0] = 2
    data = zlib.compress(lines.tobytes(), 1)
    file = SIGNATURE + ihdr(70, 50, 3) + chunk(b"IDAT", data) + IEND
    assert StoredPng(70, 50, 3).matches(file)
    assert (codec.decode_png(file) == pillow(file)).all()


def test_the_bytes_are_the_same_without_isal():
    program = (
        "import sys; sys.modules['isal'] = None\n"
        "import numpy as np\nfrom gates import codec, deflate, pixels\n"
        "assert deflate.fast_zlib.__name__ == 'zlib'\n"
        "image = np.random.default_rng(0).random((70, 50, 3), dtype=np.float32)\n"
        "for compression in ('stored', 'fast', 'small'):\n"
        "    file = codec.encode_png(image, compression)\n"
        "    assert (codec.decode_png(file) == pixels.to_pixels(image)).all()\n"
        "sys.stdout.buffer.write(codec.encode_png(image))\n"
    )
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == codec.encode_png(noise((70, 50, 3)))


# -- the exact format -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.uint8])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 70, 90, 4), (2, 400, 500, 3), (2, 30, 40)])
def test_the_exact_format_returns_the_identical_array(shape, dtype):
    raw = np.random.default_rng(3).integers(0, 256, (*shape, np.dtype(dtype).itemsize), np.uint8)
    batch = np.ascontiguousarray(raw).view(dtype)[..., 0]
    encoded = codec.encode(batch, "exact")
    loaded = codec.decode(encoded.layout, encoded.parts)
    assert loaded.dtype == dtype
    # By bytes: NaN with its payload, -0.0, infinities and denormals come back as they were.
    assert loaded.tobytes() == batch.tobytes()
    assert encoded.layout.dtype == np.dtype(dtype).name


def test_the_exact_parts_are_views_of_just_under_a_mebibyte():
    batch = noise((1, 400, 500, 3))
    encoded = codec.encode(batch, "exact")
    assert [len(part) for part in encoded.parts] == [2**20 - 64, 2**20 - 64, 2_400_000 - 2 * (2**20 - 64)]
    assert all(np.shares_memory(np.frombuffer(part, np.uint8), batch) for part in encoded.parts)


@pytest.mark.parametrize("format", ["png", "exact"])
def test_the_streams_are_the_parts(format):
    batch = noise((3, 700, 300, 3))
    encoded = codec.encode(batch, format)
    streams = list(codec.streams(batch, format))
    assert [stream.size for stream in streams] == [len(part) for part in encoded.parts]
    joined = [b"".join(bytes(piece) for piece in stream.pieces) for stream in codec.streams(batch, format)]
    assert joined == [bytes(part) for part in encoded.parts]


@pytest.mark.parametrize("format", ["png", "exact"])
def test_a_frame_is_made_of_its_own_parts_only(format):
    batch = noise((4, 300, 400, 3))
    encoded = codec.encode(batch, format)
    read: list[int] = []

    def read_part(part: int) -> codec.Part:
        read.append(part)
        return encoded.parts[part]

    assert codec.frame_png(encoded.layout, read_part, 2) == codec.encode_png(batch[2])
    assert read == ([2] if format == "png" else [2, 3, 4])


@pytest.mark.parametrize("frame", [-1, 2])
def test_a_frame_that_is_not_there_is_refused(frame):
    encoded = codec.encode(noise((2, 5, 5, 3)), "png")
    with pytest.raises(InvalidInput, match="frame"):
        codec.frame_png(encoded.layout, lambda part: encoded.parts[part], frame)


@pytest.mark.parametrize("format", ["png", "exact"])
def test_parts_that_do_not_fit_their_layout_are_refused(format):
    encoded = codec.encode(noise((2, 300, 400, 3)), format)
    for parts in (encoded.parts[:-1], [*encoded.parts, b"x"], [*encoded.parts[:-1], bytes(encoded.parts[-1])[:-1]]):
        with pytest.raises(InvalidImage):
            codec.decode(encoded.layout, parts)


@pytest.mark.parametrize(
    "batch",
    [
        np.zeros((2, 2), np.float32),
        np.zeros((1, 2, 2, 2), np.float32),
        np.zeros((1, 2, 2, 5), np.float32),
        np.zeros((0, 2, 2, 3), np.float32),
        np.zeros((1, 0, 2, 3), np.float32),
        np.zeros((1, 2, 2, 3), np.int32),
        np.zeros((1, 2, 2, 3), np.complex64),
        np.zeros((1, 2, 2, 3), bool),
    ],
)
def test_what_is_no_image_batch_is_refused(batch):
    for format in ("png", "exact"):
        with pytest.raises(InvalidImage):
            codec.encode(batch, format)


def test_an_unknown_format_is_refused():
    with pytest.raises(InvalidInput, match="png or exact"):
        codec.encode(noise((1, 2, 2, 3)), "jpeg")


@pytest.mark.parametrize("format", ["png", "exact"])
def test_a_layout_comes_back_from_its_json(format):
    layout = codec.encode(noise((2, 300, 400, 3)), format).layout
    assert Layout.from_json(layout.to_json()) == layout


@pytest.mark.parametrize(
    "change",
    [
        {"format": "jpeg"},
        {"dtype": "object"},
        {"dtype": "float16"},
        {"frames": 0},
        {"frames": True},
        {"frames": "2"},
        {"height": -1},
        {"width": 2.0},
        {"channels": 2},
        {"parts": 1},
        {"size": 1},
        {"size": None},
        {"more": 1},
    ],
)
def test_a_layout_with_a_wrong_field_is_refused(change):
    layout = codec.encode(noise((2, 300, 400, 3)), "exact").layout.to_json()
    with pytest.raises(InvalidInput):
        Layout.from_json({**layout, **change})


@pytest.mark.parametrize("value", [None, [], "x", {}, {"format": "png"}])
def test_a_layout_that_is_none_is_refused(value):
    with pytest.raises(InvalidInput):
        Layout.from_json(value)


# -- previews -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((1, 20, 30, 3), (30, 20)),
        ((2, 1024, 1024, 3), (1024, 1024)),
        ((1, 1500, 900, 4), (614, 1024)),
        ((1, 3000, 4100, 3), (1024, 749)),
        ((1, 5000, 10, 1), (2, 1024)),
        ((1, 2, 9000, 3), (1024, 1)),
        ((1, 64, 2050, 3), (1024, 32)),
    ],
)
def test_a_preview_keeps_the_proportions_within_the_limit(shape, size):
    preview = Image.open(BytesIO(codec.preview_jpeg(noise(shape))))
    assert preview.format == "JPEG"
    assert abs(preview.width - size[0]) <= 1
    assert abs(preview.height - size[1]) <= 1
    assert max(preview.size) <= 1024


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.uint8])
def test_a_preview_shows_the_first_image_on_grey(dtype):
    batch = np.zeros((2, 2100, 2100, 4), np.uint8)
    batch[0, :, :1050] = (255, 0, 0, 255)
    image = batch if dtype == np.uint8 else (batch / 255).astype(dtype)
    pixels = np.asarray(Image.open(BytesIO(codec.preview_jpeg(image)))).astype(int)
    assert abs(pixels[500, 200] - [254, 0, 0]).max() < 8
    assert abs(pixels[500, 900] - [128, 128, 128]).max() < 8


def test_floats_and_pixels_are_exact_inverses():
    values = np.arange(256, dtype=np.uint8)
    assert (to_floats(values) == values.astype(np.float32) / np.float32(255)).all()
    assert (to_pixels(to_floats(values)) == values).all()
