"""Tensors and arrays: values, memory and the fit of masks."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with ComfyUI, or with the extra 'test'")

from gates.errors import InvalidImage  # noqa: E402
from gates.tensors import empty_mask, fit_mask, mask_to_array, to_array, to_tensor  # noqa: E402

FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn]


def image(batch=1, height=4, width=6, channels=3, dtype=torch.float32):
    return torch.rand(batch, height, width, channels).to(dtype)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_every_float_dtype_and_channel_count_keeps_its_values(dtype, channels):
    source = image(batch=3, channels=channels, dtype=dtype)
    array = to_array(source)
    assert array.shape == (3, 4, 6, channels)
    assert array.flags.c_contiguous
    assert torch.equal(torch.from_numpy(array).to(torch.float64), source.to(torch.float64))


def test_a_plain_tensor_is_not_copied_either_way():
    source = image()
    array = to_array(source)
    assert array.ctypes.data == source.data_ptr()
    assert to_tensor(array).data_ptr() == source.data_ptr()


def test_a_read_only_or_strided_array_becomes_a_tensor_of_its_own():
    frozen = np.ones((1, 2, 2, 3), np.float32)
    frozen.setflags(write=False)
    tensor = to_tensor(frozen)
    tensor.zero_()
    assert frozen.all()
    strided = np.arange(12, dtype=np.float32).reshape(1, 2, 2, 3)[:, ::-1]
    assert np.array_equal(to_tensor(strided).numpy(), strided)


def test_gradients_strides_and_inference_mode_are_no_obstacle():
    grown = image().requires_grad_()
    assert np.array_equal(to_array(grown), grown.detach().numpy())
    turned = image(height=6, width=4).permute(0, 2, 1, 3)
    assert to_array(turned).flags.c_contiguous
    assert np.array_equal(to_array(turned), turned.numpy())
    with torch.inference_mode():
        inferred = image()
    assert np.array_equal(to_array(inferred), inferred.numpy())


@pytest.mark.parametrize(
    "wrong",
    [
        torch.rand(4, 6, 3),
        torch.rand(1, 4, 6, 2),
        torch.rand(1, 4, 6, 16),
        torch.rand(0, 4, 6, 3),
        torch.rand(1, 0, 6, 3),
        torch.zeros(1, 4, 6, 3, dtype=torch.uint8),
        np.zeros((1, 4, 6, 3), np.float32),
        None,
    ],
    ids=lambda value: str(getattr(value, "shape", value)),
)
def test_what_is_no_image_is_refused_with_what_is_accepted(wrong):
    with pytest.raises(InvalidImage, match=r"\[B, H, W, C\]"):
        to_array(wrong)


def test_a_mask_of_the_right_size_keeps_its_values():
    mask = torch.rand(2, 4, 6)
    assert torch.equal(fit_mask(mask, image(batch=2)), mask)


@pytest.mark.parametrize("shape", [(4, 6), (1, 4, 6), (1, 1, 4, 6)])
def test_one_mask_serves_the_whole_batch(shape):
    mask = torch.rand(shape)
    fitted = fit_mask(mask, image(batch=5))
    assert fitted.shape == (5, 4, 6)
    assert all(torch.equal(frame, mask.reshape(4, 6)) for frame in fitted)
    fitted[0].zero_()
    assert fitted[1].any() or not mask.any()


@pytest.mark.parametrize(("given", "batch", "expected"), [(3, 5, [0, 1, 2, 0, 1]), (4, 2, [0, 1]), (2, 2, [0, 1])])
def test_a_batch_of_another_length_is_repeated_or_cut(given, batch, expected):
    mask = torch.stack([torch.full((4, 6), number / 10) for number in range(given)])
    fitted = fit_mask(mask, image(batch=batch))
    assert [round(float(frame[0, 0]) * 10) for frame in fitted] == expected


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (8, 12), (64, 64), (400, 1)])
def test_a_mask_of_another_size_is_resized_and_stays_between_0_and_1(size):
    half = torch.zeros(1, *size)
    half[:, : max(1, size[0] // 2)] = 1.0
    fitted = fit_mask(half, image(batch=2, height=4, width=6))
    assert fitted.shape == (2, 4, 6)
    assert fitted.min() >= 0
    assert fitted.max() <= 1
    assert fitted[0, 0, 0] > 0.5, "polarity: what was painted stays painted"
    if size[0] > 1:
        assert fitted[0, -1, -1] < 0.5


def test_values_outside_0_to_1_and_nan_are_brought_in():
    mask = torch.tensor([[[-1.0, 2.0], [float("nan"), 0.25]]])
    assert fit_mask(mask, image(height=2, width=2)).tolist() == [[[0.0, 1.0], [0.0, 0.25]]]


@pytest.mark.parametrize("dtype", [*FLOATS[:4], torch.bool], ids=str)
def test_masks_of_any_float_dtype_and_booleans_become_float32(dtype):
    mask = torch.tensor([[[0.0, 1.0]]]).to(dtype)
    fitted = fit_mask(mask, image(height=1, width=2, dtype=torch.float16))
    assert fitted.dtype is torch.float32
    assert fitted.tolist() == [[[0.0, 1.0]]]


@pytest.mark.parametrize(
    "wrong", [torch.rand(4), torch.rand(1, 3, 4, 6), torch.rand(0, 4, 6), torch.zeros(4, 6, dtype=torch.int32), "mask"]
)
def test_what_is_no_mask_is_refused(wrong):
    with pytest.raises(InvalidImage, match=r"\[B, H, W\]"):
        fit_mask(wrong, image())


def test_an_empty_mask_is_zeros_of_the_image():
    empty = empty_mask(image(batch=3, channels=4, dtype=torch.float16))
    assert empty.shape == (3, 4, 6)
    assert empty.dtype is torch.float32
    assert not empty.any()
    assert mask_to_array(empty).shape == (3, 4, 6)
