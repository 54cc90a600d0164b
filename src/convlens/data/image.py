"""One image in, 8-bit pixels out, under one written policy (docs/images.md); everything else is a named `BadImage`.

What Pillow or an array holds becomes upright grey or RGB, and each liberty taken is a note. No metadata gets out:
EXIF, GPS and colour profiles end here. How a file is opened is the business of `image_file.py`. This file must not know
labels, networks or torch.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageChops
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from convlens.data import arrays, container
from convlens.data.image_file import (
    DEEP_MODES,
    SHALLOW_GREY,
    UPRIGHT,
    ImageLike,
    Jpeg,
    OpenFile,
    has_tail,
    name_of,
    open_image,
    orientation_of,
    rawmode_of,
)
from convlens.data.policy import Decoded, ImagePolicy
from convlens.errors import BadImage

FIRST_FRAME_NOTE = "first of several frames or pages"
TAIL_NOTE = "bytes after the end of the picture ignored"
UPRIGHT_NOTE = "turned upright"
EXIF_NOTE = "EXIF unreadable, orientation not applied"
BACKGROUND_NOTE = "transparency laid on the background"
INK_NOTE = "CMYK converted without its colour profile"
PLAIN_INK_NOTE = "CMYK without Adobe's mark, read as ink"
HIGH_BYTE_NOTE = "16-bit colour, upper 8 bits kept"

ORIENTATION_TAG = 274


def decode(
    image: ImageLike, policy: ImagePolicy, name: str | None = None, *, reduce_to_px: int | None = None
) -> Decoded:
    """Turn a file, its bytes, an array or a Pillow image into upright 8-bit pixels.

    Args:
        image: what to read; a `str` is a path.
        policy: the rules.
        name: what to call it in errors; its suffix marks a matrix of text. Default: the path.
        reduce_to_px: a JPEG whose short side is at least 2, 4 or 8 times this is decoded at 1/2, 1/4 or 1/8 scale.

    Raises:
        BadImage: whatever makes the image unusable, with a stable `kind`.
        DataError: another library told Pillow to accept truncated files.
    """
    name = name or name_of(image)
    with open_image(image, policy, name) as (opened, file):
        notes: list[str] = []
        if file and (promised := container.named_format(name)) not in (None, file.format):
            notes.append(f"{file.format} content under a name of {promised}")
        if isinstance(opened, Image.Image):
            return _decode_picture(opened, file, policy, name, notes, reduce_to_px)
        return _decode_array(opened, policy, name, notes)


# ------------------------------------------------------------------------------------------------------ from pictures


def _decode_picture(
    image: Image.Image,
    file: OpenFile | None,
    policy: ImagePolicy,
    name: str,
    notes: list[str],
    reduce_to_px: int | None,
) -> Decoded:
    if policy.channels not in (1, 3):
        why = f"expected {policy.channels} channels, which no picture has; use .npy, or set data.channels to 1 or 3"
        raise BadImage(name, "channels", why)
    mode, rawmode, whole_px = image.mode, rawmode_of(image) if file else "", None
    if file and has_tail(image, file, name):
        notes.append(TAIL_NOTE)
    if getattr(image, "is_animated", False) and image.tell() == 0:  # asked before load, which would end the reading
        notes.append(FIRST_FRAME_NOTE)
    if isinstance(image, TiffImageFile) and image.tag_v2.get(ORIENTATION_TAG) in UPRIGHT:
        notes.append(UPRIGHT_NOTE)  # done by Pillow while loading
    if reduce_to_px and isinstance(image, Jpeg) and min(image.size) >= 2 * reduce_to_px:
        whole_px = (image.height, image.width)
        image.draft(None, (reduce_to_px, reduce_to_px))
    image.load()
    orientation = orientation_of(image)
    if orientation is None:
        notes.append(EXIF_NOTE)
    if mode in DEEP_MODES:
        white_level = 65535 if file and file.format == "PPM" else policy.white_level  # PGM states its own white
        image = _grey_from_deep(image, white_level, name, notes)
    elif mode == "CMYK":
        image = _rgb_from_ink(image, notes)
    elif ";16" in rawmode:
        _check_deep_colour(image, policy, name, notes)
    elif rawmode in SHALLOW_GREY and isinstance(key := image.info.get("transparency"), int):
        image.info["transparency"] = key * SHALLOW_GREY[rawmode]  # Pillow scales the pixels, not the transparent level
    if orientation in UPRIGHT:
        notes.append(UPRIGHT_NOTE)
        image = image.transpose(UPRIGHT[orientation])
        whole_px = (whole_px[1], whole_px[0]) if whole_px and orientation >= 5 else whole_px
    return Decoded(_eight_bit(image, policy, notes), mode, tuple(notes), whole_px)


def _eight_bit(image: Image.Image, policy: ImagePolicy, notes: list[str]) -> np.ndarray:
    """uint8 (H, W, 1 or 3) of an image of 8 bits or fewer."""
    mode = "L" if policy.channels == 1 else "RGB"
    if image.has_transparency_data:
        image = _on_background(image, policy, notes)
    elif image.mode not in ("1", "L", "RGB"):
        image = image.convert("RGB")
    pixels = np.asarray(image if image.mode == mode else image.convert(mode))
    return pixels[:, :, None] if mode == "L" else pixels


def _on_background(image: Image.Image, policy: ImagePolicy, notes: list[str]) -> Image.Image:
    rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    if np.asarray(rgba.getchannel("A")).min() == 255:
        return rgba.convert("RGB")
    notes.append(BACKGROUND_NOTE)
    ground = Image.new("RGBA", rgba.size, (*policy.background, 255))
    ground.alpha_composite(rgba)
    return ground.convert("RGB")


def _rgb_from_ink(image: Image.Image, notes: list[str]) -> Image.Image:
    notes.append(INK_NOTE)
    if isinstance(image, JpegImageFile) and "adobe" not in image.info:
        notes.append(PLAIN_INK_NOTE)
        image = ImageChops.invert(image)  # Pillow reads every CMYK JPEG as Adobe's, inverted
    return image.convert("RGB")


def _grey_from_deep(image: Image.Image, white_level: int, name: str, notes: list[str]) -> Image.Image:
    """16-bit, 32-bit and float grey as L, or LA where one level is transparent; Pillow itself would clip to white."""
    values = np.asarray(image)
    if image.mode != "F":
        low, high = values.min(), values.max()
        if low < 0 or high > 65535:
            why = f"32-bit values must be 0..65535, got {low}..{high}; store them as .npy, scaled to 0..1"
            raise BadImage(name, "value-range", why)
        values = values.astype(np.uint16)
    grey, more = arrays.scale_to_uint8(values, white_level, name)
    notes.extend(more)
    key = image.info.get("transparency")
    if not isinstance(key, int):
        return Image.fromarray(grey)
    alpha = np.where(values == key, 0, 255).astype(np.uint8)
    return Image.merge("LA", (Image.fromarray(grey), Image.fromarray(alpha)))


def _check_deep_colour(image: Image.Image, policy: ImagePolicy, name: str, notes: list[str]) -> None:
    if policy.white_level != 65535:
        why = f"16-bit colour is read by its upper 8 bits, so white_level={policy.white_level} cannot apply; use .npy"
        raise BadImage(name, "unsupported", why)
    notes.append(HIGH_BYTE_NOTE)
    if isinstance(key := image.info.get("transparency"), tuple):
        image.info["transparency"] = tuple(level >> 8 for level in key)


# -------------------------------------------------------------------------------------------------------- from arrays


def _decode_array(source: np.ndarray | arrays.NpyFile, policy: ImagePolicy, name: str, notes: list[str]) -> Decoded:
    shape = arrays.picture_shape(source.shape, name)
    arrays.require_channels(shape, policy.channels, name)
    array = source.read() if isinstance(source, arrays.NpyFile) else source
    values, more = arrays.scale_to_uint8(array, policy.white_level, name)
    pixels = values.reshape(shape)
    if policy.channels == 3 and shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    elif policy.channels == 1 and shape[2] == 3:
        pixels = np.asarray(Image.fromarray(pixels).convert("L"))[:, :, None]
    return Decoded(pixels, "array", (*notes, *more))
