"""Images and masks from outside: what is accepted becomes 8-bit RGB(A), everything else is refused by its header."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageFile

from gates import codec
from gates.errors import InvalidImage, TooLarge
from gates.settings import Settings
from gates.stored_png import chunk

SETTINGS = Settings()


# -- images from outside --------------------------------------------------------------------


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    target = BytesIO()
    image.save(target, format, **options)
    return target.getvalue()


def random_image(mode: str = "RGB", size: tuple[int, int] = (60, 50)) -> Image.Image:
    channels = {"L": 1, "RGB": 3, "RGBA": 4, "LA": 2, "CMYK": 4}[mode]
    pixels = np.random.default_rng(5).integers(0, 256, (size[1], size[0], channels), np.uint8)
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels, mode)


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
def test_the_accepted_formats_become_rgb(format):
    picture = codec.read_image(saved(random_image(), format), SETTINGS)
    assert (picture.format, picture.width, picture.height, picture.pixels.shape) == (format, 60, 50, (50, 60, 3))
    assert picture.pixels.dtype == np.uint8


def test_a_png_is_read_without_a_loss():
    for mode, shape in (("RGB", (50, 60, 3)), ("RGBA", (50, 60, 4))):
        image = random_image(mode)
        picture = codec.read_image(saved(image, "png"), SETTINGS)
        assert picture.pixels.shape == shape
        assert (picture.pixels == np.asarray(image)).all()


def test_grey_becomes_rgb_and_grey_with_alpha_rgba():
    grey = random_image("L")
    assert (codec.read_image(saved(grey, "png"), SETTINGS).pixels == np.asarray(grey)[..., None]).all()
    both = codec.read_image(saved(random_image("LA"), "png"), SETTINGS).pixels
    assert both.shape == (50, 60, 4)
    assert (both[..., 3] == np.asarray(random_image("LA"))[..., 1]).all()


def test_a_palette_keeps_its_transparency():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([10, 20, 30, 200, 100, 50])
    assert codec.read_image(saved(image, "png"), SETTINGS).pixels[0, 0].tolist() == [200, 100, 50]
    clear = codec.read_image(saved(image, "png", transparency=1), SETTINGS)
    assert clear.pixels[0, 0].tolist() == [200, 100, 50, 0]


def test_sixteen_bits_are_rounded_not_clipped():
    values = np.array([[0, 128, 129, 257, 32768, 65535]], np.uint16)
    picture = codec.read_image(saved(Image.fromarray(values), "png"), SETTINGS)
    assert picture.pixels[0, :, 0].tolist() == [0, 0, 1, 1, 128, 255]


def test_cmyk_becomes_rgb():
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    red = codec.read_image(saved(image, "jpeg"), SETTINGS).pixels[4, 4]
    assert red[0] > 200
    assert red[1] < 60


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_applied(orientation):
    upright = np.zeros((20, 30, 3), np.uint8)
    upright[:10, :15] = 255
    # How a camera that was held so stores the scene: the inverse of what a viewer does.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(Image.fromarray(np.ascontiguousarray(stored)), "png", exif=exif)
    assert (codec.read_image(data, SETTINGS).pixels == upright).all()


@pytest.mark.parametrize("format", ["gif", "bmp", "tiff", "ppm", "ico"])
def test_other_formats_are_refused(format):
    with pytest.raises(InvalidImage, match="PNG, JPEG, WEBP"):
        codec.read_image(saved(random_image(), format), SETTINGS)


@pytest.mark.parametrize("format", ["png", "webp"])
def test_an_animation_is_refused(format):
    data = saved(random_image(), format, save_all=True, append_images=[Image.new("RGB", (60, 50))])
    with pytest.raises(InvalidImage, match="animation"):
        codec.read_image(data, SETTINGS)


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"<svg/>", bytes(5000), b"\xff\xd8\xff\xe0"])
def test_what_is_no_image_is_refused(data):
    with pytest.raises(InvalidImage):
        codec.read_image(data, SETTINGS)


@pytest.mark.parametrize("lenient", [False, True])
@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
def test_a_file_that_is_cut_short_is_refused(format, lenient, monkeypatch):
    """Also when another custom node has made Pillow lenient for the whole process."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", lenient)
    data = saved(random_image(size=(200, 150)), format)
    for length in (len(data) - 3, len(data) - 20, len(data) // 2, len(data) // 10):
        with pytest.raises(InvalidImage):
            codec.read_image(data[:length], SETTINGS)


def test_a_damaged_png_from_outside_is_refused_although_pillow_is_lenient(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = bytearray(saved(random_image(), "png"))
    data[len(data) // 2] ^= 1
    with pytest.raises(InvalidImage):
        codec.read_image(bytes(data), SETTINGS)


def test_a_jpeg_with_a_thumbnail_and_bytes_behind_it_is_accepted_whole_and_refused_cut():
    thumbnail = saved(random_image(size=(16, 16)), "jpeg")
    data = saved(random_image(size=(200, 150)), "jpeg", exif=b"Exif\0\0" + bytes(8) + thumbnail)
    assert codec.read_image(data + b"\xff\xda trailer", SETTINGS).width == 200
    with pytest.raises(InvalidImage):
        codec.read_image(data[:-500], SETTINGS)


def bomb(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1_000_000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(100_000, 100_000), (8001, 8000), (2**31 - 1, 1)])
def test_a_bomb_is_refused_by_its_header(size, monkeypatch):
    def load(self: object) -> None:
        raise AssertionError("the bomb was decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    with pytest.raises(TooLarge, match="pixels"):
        codec.read_image(bomb(*size), SETTINGS)


def test_too_many_bytes_are_refused_before_anything_is_read():
    with pytest.raises(TooLarge, match="2048 bytes"):
        codec.read_image(bytes(2048), Settings(max_image_bytes=1024))


# -- masks from outside ---------------------------------------------------------------------


def test_a_mask_with_alpha_is_painted_where_it_is_clear():
    pixels = np.full((5, 6, 4), 255, np.uint8)
    pixels[1, 2, 3] = 0
    pixels[3, 4, 3] = 100
    mask = codec.read_mask(saved(Image.fromarray(pixels), "png"), SETTINGS, 6, 5)
    assert mask.shape == (5, 6)
    assert (mask[1, 2], mask[3, 4], mask[0, 0]) == (255, 155, 0)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_an_opaque_mask_is_painted_where_it_is_white(mode):
    grey = np.random.default_rng(6).integers(0, 256, (5, 6), np.uint8)
    image = Image.fromarray(grey).convert(mode)
    assert (codec.read_mask(saved(image, "png"), SETTINGS, 6, 5) == grey).all()


def test_a_mask_of_another_size_is_refused_and_both_sizes_are_named():
    with pytest.raises(InvalidImage, match=r"60 x 50.*61 x 50"):
        codec.read_mask(saved(random_image(), "png"), SETTINGS, 61, 50)
