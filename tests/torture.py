"""A folder of bad and odd image files, each with what the written policy (docs/images.md) says becomes of it.

The expectations are stated for the default policy: three channels, white background, white level 65535.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

RED, GREEN, BLUE, YELLOW = (200, 40, 40), (40, 160, 60), (50, 60, 190), (220, 210, 60)
HEIGHT, WIDTH = 24, 32
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Expectation:
    """Either the kind of `BadImage`, or what is decoded.

    Attributes:
        kind: of the error; None where the file is decoded.
        says: words the reason of the error must hold.
        mode: as stored.
        size_px: (height, width).
        notes: all of them, in any order.
        points: (row, column) to colour.
        tolerance: largest difference of a level, for lossy formats.
    """

    kind: str | None = None
    says: str = ""
    mode: str = ""
    size_px: tuple[int, int] = (HEIGHT, WIDTH)
    notes: tuple[str, ...] = ()
    points: tuple[tuple[tuple[int, int], Colour], ...] = ()
    tolerance: int = 0


FLAG_POINTS = (((5, 7), RED), ((5, 24), GREEN), ((18, 7), BLUE), ((18, 24), YELLOW))
TURNED = "turned upright"
FRAMES = "first of several frames or pages"
GROUND = "transparency laid on the background"
TAIL = "bytes after the end of the picture ignored"
DEEP = "16 bits scaled to 8"
DARK = "brightest 16-bit value is a quarter of white_level or less"
HIGH_BYTE = "16-bit colour, upper 8 bits kept"
INK = "CMYK converted without its colour profile"
PLAIN_INK = "CMYK without Adobe's mark, read as ink"
BINARY = "values 0 and 1 (or -1 and +1) read as black and white"
DIM = "8-bit values of 0 and 1 kept as they are, nearly black"
EXIF = "EXIF unreadable, orientation not applied"


def flag() -> np.ndarray:
    """Four quarters of four colours: no turn and no mirror leaves it as it is."""
    pixels = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    pixels[: HEIGHT // 2, : WIDTH // 2], pixels[: HEIGHT // 2, WIDTH // 2 :] = RED, GREEN
    pixels[HEIGHT // 2 :, : WIDTH // 2], pixels[HEIGHT // 2 :, WIDTH // 2 :] = BLUE, YELLOW
    return pixels


def waves(height: int, width: int) -> np.ndarray:
    """A smooth picture in colour, of any size."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [np.sin(x / 37) + np.cos(y / 23), np.cos((x + y) / 51), np.sin(y / 61 - x / 83)]
    return np.clip(np.stack(planes, axis=2) * 60 + 128, 0, 255).astype(np.uint8)


def encoded(image: Image.Image, format_: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def npy(array: np.ndarray, *, allow_pickle: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=allow_pickle)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *extra: bytes) -> bytes:
    """A PNG by hand: `rows` are the filtered rows, already compressed; `extra` are chunks before the pixels."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    pixels = chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(extra) + pixels


def zeros(count: int) -> bytes:
    """A zlib stream of `count` zero bytes, made from one block repeated, without ever holding them."""
    block = 1 << 20
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = compressor.compress(bytes(block)) + compressor.flush(zlib.Z_FULL_FLUSH)
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    rest = compressor.compress(bytes(count % block)) + compressor.flush()
    return b"\x78\xda" + piece * (count // block) + rest + struct.pack(">I", (count % 65521) << 16 | 1)


def exif(orientation: int) -> bytes:
    """EXIF with an orientation, a GPS block and a camera, as telephones write it."""
    tags = Image.Exif()
    tags[0x0112], tags[0x0110] = orientation, "Camera of a private person"
    tags.get_ifd(0x8825)[1] = "N"
    return tags.tobytes()


def stored_for(orientation: int) -> Image.Image:
    """The flag as a camera held that way would store it."""
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Pillow's transposes; 6 and 8 undo each other
    image = Image.fromarray(flag())
    return image if orientation == 1 else image.transpose(Image.Transpose(undo[orientation]))


def build(folder: Path) -> dict[str, Expectation]:
    """Write every file into a folder, and say what must become of each, by its name."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted: dict[str, Expectation] = {}

    def add(name: str, content: bytes, expectation: Expectation) -> None:
        (folder / name).write_bytes(content)
        wanted[name] = expectation

    for part in (_broken, _foreign, _too_large, _turned, _modes, _deep, _frames, _names, _arrays, _matrices):
        part(add)
    _not_files(folder, wanted)
    return wanted


Add = Callable[[str, bytes, Expectation], None]


def bad(kind: str, says: str = "") -> Expectation:
    return Expectation(kind=kind, says=says)


def good(
    mode: str,
    *notes: str,
    size_px: tuple[int, int] = (HEIGHT, WIDTH),
    points: tuple[tuple[tuple[int, int], Colour], ...] = FLAG_POINTS,
    tolerance: int = 0,
) -> Expectation:
    return Expectation(mode=mode, notes=notes, size_px=size_px, points=points, tolerance=tolerance)


def plain(
    mode: str, colour: Colour, *notes: str, size_px: tuple[int, int] = (HEIGHT, WIDTH), tolerance: int = 0
) -> Expectation:
    corners = ((0, 0), (size_px[0] - 1, size_px[1] - 1))
    return Expectation(
        mode=mode, notes=notes, size_px=size_px, points=tuple((at, colour) for at in corners), tolerance=tolerance
    )


def _broken(add: Add) -> None:
    image = Image.fromarray(flag())
    jpeg, progressive = encoded(image, "JPEG", quality=92), encoded(image, "JPEG", quality=92, progressive=True)
    for name, content in (("jpeg", jpeg), ("progressive", progressive)):
        add(f"{name}_cut_mark.jpg", content[:2], bad("truncated"))
        add(f"{name}_cut_header.jpg", content[:120], bad("truncated"))
        add(f"{name}_cut_middle.jpg", content[: (len(content) + content.rindex(b"\xff\xda")) // 2], bad("truncated"))
        add(f"{name}_cut_end.jpg", content[:-2], bad("truncated"))
    add("jpeg_tail.jpg", jpeg + b"appended by a camera", good("RGB", TAIL, tolerance=6))
    add("jpeg_no_frame.jpg", b"\xff\xd8\xff\xd9", bad("damaged"))
    whole = encoded(image, "PNG")
    at = whole.index(b"IDAT")
    add("png_cut_mark.png", whole[:5], bad("truncated"))
    add("png_cut_header.png", whole[:20], bad("truncated"))
    add("png_cut_pixels.png", whole[: at + 12], bad("truncated"))
    add("png_cut_end.png", whole[:-12], bad("truncated", "end mark"))
    add("png_header_crc.png", whole[:29] + b"\0\0\0\0" + whole[33:], bad("damaged"))
    add("png_pixel_crc.png", whole[:-16] + b"\0\0\0\0" + whole[-12:], bad("damaged", "checksum"))
    flipped = bytearray(whole)
    flipped[at + 20] ^= 1
    add("png_bit_flip.png", bytes(flipped), bad("damaged", "checksum"))
    add("png_no_pixels.png", whole[: at - 4] + whole[-12:], bad("damaged"))
    add("png_bad_stream.png", png(8, 8, 8, 0, b"not a zlib stream"), bad("damaged"))
    add("png_short_stream.png", png(8, 8, 8, 0, zlib.compress(bytes(20))), bad("truncated"))
    add("png_no_size.png", png(0, 8, 8, 0, zlib.compress(b"")), bad("damaged"))
    add("png_tail.png", whole + b"appended", good("RGB", TAIL))
    gif, webp = encoded(image.quantize(4), "GIF"), encoded(image, "WEBP", lossless=True)
    add("gif_cut.gif", gif[:-12], bad("truncated"))
    add("gif_no_picture.gif", gif[:13] + b";", bad("damaged"))
    add("webp_cut.webp", webp[: len(webp) // 2], bad("truncated"))
    add("bmp_cut.bmp", encoded(image, "BMP")[:-100], bad("truncated"))
    add("ppm_cut.ppm", encoded(image, "PPM")[:-100], bad("truncated"))
    add("tiff_cut.tif", encoded(image, "TIFF")[:-100], bad("truncated"))
    add("tiff_cut_header.tif", b"II*\0\x08\0\0\0", bad("truncated"))


def _foreign(add: Add) -> None:
    image = Image.fromarray(flag())
    add("zero_bytes.jpg", b"", bad("empty"))
    add("nothing_but_zeros.jpg", bytes(500), bad("not-an-image", "zero bytes"))
    add("text.jpg", b"A picture of a cat.\n", bad("not-an-image", "text"))
    add("noise.png", bytes(range(128, 256)), bad("not-an-image"))
    add("page.jpg", b"<!DOCTYPE html><html><body>404</body></html>", bad("not-an-image", "HTML"))
    add("drawing.svg", b'<?xml version="1.0"?><svg width="9" height="9"/>', bad("vector", "SVG"))
    add("drawing.png", b'\xef\xbb\xbf<svg xmlns="http://www.w3.org/2000/svg"></svg>', bad("vector", "SVG"))
    add("document.pdf", b"%PDF-1.7\n1 0 obj", bad("vector", "PDF"))
    add("document.jpg", b"%PDF-1.7\n1 0 obj", bad("vector", "PDF"))
    add("drawing.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n", bad("vector", "PostScript"))
    add("telephone.heic", b"\0\0\0\x18ftypheic" + bytes(40), bad("unsupported", "HEIC"))
    add("clip.jpg", b"\0\0\0\x18ftypmp42" + bytes(40), bad("not-an-image", "video"))
    add("layers.psd", b"8BPS" + bytes(40), bad("unsupported", "Photoshop"))
    add("pack.png", b"PK\3\4" + bytes(40), bad("not-an-image", "ZIP"))
    add("png_named.jpg", encoded(image, "PNG"), good("RGB", "PNG content under a name of JPEG"))
    add(
        "jpeg_named.png",
        encoded(image, "JPEG", quality=92),
        good("RGB", "JPEG content under a name of PNG", tolerance=6),
    )
    add("no_suffix", encoded(image, "PNG"), good("RGB"))


def _too_large(add: Add) -> None:
    add("bomb_9400.png", png(9400, 9400, 8, 2, zeros(9400 * (3 * 9400 + 1))), bad("too-large", "9400 x 9400"))
    add("bomb_20000.png", png(20000, 20000, 1, 0, zeros(20000 * 2501)), bad("too-large", "20000 x 20000"))
    add("long_side.png", png(20000, 1, 1, 0, zeros(2501)), bad("too-large", "sides"))
    text = chunk(b"zTXt", b"Comment\0\0" + zeros(1 << 24))
    add("text_bomb.png", png(8, 8, 8, 0, zlib.compress(bytes(72)), text), bad("too-large"))
    profile = chunk(b"iCCP", b"profile\0\0" + zeros(1 << 24))
    add("profile_bomb.png", png(8, 8, 8, 0, zlib.compress(bytes(72)), profile), bad("too-large"))
    frame = b"!\xf9\4\x09\0\0\0\0" + b",\0\0\0\0" + struct.pack("<HH", 12000, 12000) + b"\0\2\0;"
    add("bomb.gif", b"GIF89a\1\0\1\0\0\0\0" + frame, bad("too-large", "12000 x 12000"))
    canvas = b"VP8X\x0a\0\0\0\0\0\0\0" + struct.pack("<I", 15999)[:3] * 2
    add("bomb.webp", b"RIFF" + struct.pack("<I", 4 + len(canvas)) + b"WEBP" + canvas, bad("too-large"))
    add("bomb.tif", _tiff_header(40000, 40000), bad("too-large", "40000 x 40000"))
    add("bomb.ppm", b"P6 30000 30000 255\n" + bytes(30), bad("too-large", "30000 x 30000"))
    jpeg = bytearray(encoded(Image.fromarray(flag()), "JPEG"))
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = struct.pack(">HH", 60000, 60000)
    add("bomb.jpg", bytes(jpeg), bad("too-large", "60000 x 60000"))
    progressive = encoded(Image.fromarray(flag()), "JPEG", progressive=True)
    start = progressive.rindex(b"\xff\xda")
    add("scans.jpg", progressive[:start] + progressive[start:-2] * 300 + b"\xff\xd9", bad("too-large", "scans"))
    promise = npy(np.zeros((1, 1), np.uint8)).replace(b"(1, 1)", b"(40000, 40000)")
    add("bomb.npy", promise, bad("truncated"))


def _tiff_header(width: int, height: int) -> bytes:
    tags = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, height), (279, 10)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4)


def _turned(add: Add) -> None:
    for orientation in range(1, 9):
        image = stored_for(orientation)
        said = () if orientation == 1 else (TURNED,)
        jpeg = encoded(image, "JPEG", quality=92, exif=exif(orientation))
        add(f"exif_{orientation}.jpg", jpeg, good("RGB", *said, tolerance=6))
    add("exif_6.png", encoded(stored_for(6), "PNG", exif=exif(6)), good("RGB", TURNED))
    add("exif_8.webp", encoded(stored_for(8), "WEBP", lossless=True, exif=exif(8)), good("RGB", TURNED))
    add("exif_5.tif", encoded(stored_for(5), "TIFF", tiffinfo={274: 5}), good("RGB", TURNED))
    broken = encoded(Image.fromarray(flag()), "JPEG", quality=92, exif=b"Exif\0\0MM\0*\0\0\xff\xff")
    add("exif_broken.jpg", broken, good("RGB", EXIF, tolerance=6))
    zero = encoded(Image.fromarray(flag()), "JPEG", quality=92, exif=exif(0))
    add("exif_0.jpg", zero, good("RGB", tolerance=6))


def _modes(add: Add) -> None:
    colour = Image.fromarray(flag())
    palette = colour.quantize(4)
    add("palette.png", encoded(palette, "PNG"), good("P"))
    red = palette.getpixel((7, 5))
    clear = (((5, 7), WHITE), *FLAG_POINTS[1:])
    add("palette_one_clear.png", encoded(palette, "PNG", transparency=red), good("P", GROUND, points=clear))
    half = bytes(128 if index == red else 255 for index in range(4))
    mixed = (((5, 7), (227, 147, 147)), *FLAG_POINTS[1:])
    add(
        "palette_half_clear.png",
        encoded(palette, "PNG", transparency=half),
        good("P", GROUND, points=mixed, tolerance=1),
    )
    add("palette_clear.gif", encoded(palette, "GIF", transparency=red), good("P", GROUND, points=clear))
    hidden = Image.new("RGBA", (WIDTH, HEIGHT), (255, 0, 0, 0))
    add("rgba_hidden_red.png", encoded(hidden, "PNG"), plain("RGBA", WHITE, GROUND))
    add("rgba_opaque.png", encoded(colour.convert("RGBA"), "PNG"), good("RGBA"))
    add("rgba.webp", encoded(hidden, "WEBP", lossless=True, exact=True), plain("RGBA", WHITE, GROUND))
    add("rgba.tif", encoded(hidden, "TIFF"), plain("RGBA", WHITE, GROUND))
    add("rgb_key.png", encoded(colour, "PNG", transparency=RED), good("RGB", GROUND, points=clear))
    grey = Image.new("LA", (WIDTH, HEIGHT), (0, 51))
    add("la.png", encoded(grey, "PNG"), plain("LA", (204, 204, 204), GROUND, tolerance=1))
    key = chunk(b"tRNS", b"\0\2")
    shades = zlib.compress(b"\0\x1b")  # one row of 2-bit grey 0, 1, 2, 3
    steps = (((0, 0), BLACK), ((0, 1), (85, 85, 85)), ((0, 2), WHITE), ((0, 3), WHITE))
    add("grey_2bit_key.png", png(4, 1, 2, 0, shades, key), good("L", GROUND, size_px=(1, 4), points=steps))
    bits = Image.fromarray(flag()[:, :, 0] > 120)
    wide = (((0, 0), WHITE), ((0, 31), BLACK), ((23, 0), BLACK), ((23, 31), WHITE))
    add("one_bit.png", encoded(bits, "PNG"), good("1", points=wide))
    add("one_bit_fax.tif", encoded(bits, "TIFF", compression="group4"), good("1", points=wide))
    add("bitmap.pbm", encoded(bits, "PPM"), good("1", points=wide))
    add("grey.jpg", encoded(Image.new("L", (WIDTH, HEIGHT), 90), "JPEG"), plain("L", (90, 90, 90), tolerance=2))
    add("grey.bmp", encoded(Image.new("L", (WIDTH, HEIGHT), 90), "BMP"), plain("L", (90, 90, 90)))
    add("rgb.bmp", encoded(colour, "BMP"), good("RGB"))
    add("rgb.ppm", encoded(colour, "PPM"), good("RGB"))
    add("rgb.tif", encoded(colour, "TIFF", compression="tiff_lzw"), good("RGB"))
    ink = Image.new("CMYK", (WIDTH, HEIGHT), (255, 0, 0, 0))  # all cyan
    add("cmyk_adobe.jpg", encoded(ink, "JPEG", quality=95), plain("CMYK", (0, 255, 255), INK, tolerance=4))
    inverted = encoded(Image.new("CMYK", (WIDTH, HEIGHT), (0, 255, 255, 255)), "JPEG", quality=95)
    at = inverted.index(b"\xff\xee")  # Adobe's mark; without it the stored bytes are the ink itself
    unmarked = inverted[:at] + inverted[at + 16 :]
    add("cmyk_plain.jpg", unmarked, plain("CMYK", (0, 255, 255), INK, PLAIN_INK, tolerance=4))
    add("cmyk.tif", encoded(ink, "TIFF"), plain("CMYK", (0, 255, 255), INK))
    add("ycbcr.tif", encoded(colour.convert("YCbCr"), "TIFF"), good("YCbCr", tolerance=4))
    add("lab.tif", encoded(colour.convert("LAB"), "TIFF"), good("LAB", tolerance=20))
    add("one_pixel.png", encoded(Image.new("RGB", (1, 1), RED), "PNG"), plain("RGB", RED, size_px=(1, 1)))
    add("one_row.png", encoded(Image.new("RGB", (300, 1), RED), "PNG"), plain("RGB", RED, size_px=(1, 300)))
    column = encoded(Image.new("RGB", (1, 300), RED), "JPEG", quality=95, subsampling=0)
    add("one_column.jpg", column, plain("RGB", RED, size_px=(300, 1), tolerance=4))


def _deep(add: Add) -> None:
    def grey16(level: int) -> Image.Image:
        return Image.fromarray(np.full((HEIGHT, WIDTH), level, np.uint16))

    middle = (128, 128, 128)
    add("grey16.png", encoded(grey16(32896), "PNG"), plain("I;16", middle, DEEP))
    add("grey16_white.png", encoded(grey16(65535), "PNG"), plain("I;16", WHITE, DEEP))
    add("grey16_black.png", encoded(grey16(0), "PNG"), plain("I;16", BLACK, DEEP, DARK))
    add("grey16_low.png", encoded(grey16(300), "PNG"), plain("I;16", (1, 1, 1), DEEP, DARK))
    add("grey16_14bit.png", encoded(grey16(16383), "PNG"), plain("I;16", (64, 64, 64), DEEP, DARK))
    add("grey16_quarter.png", encoded(grey16(16384), "PNG"), plain("I;16", (64, 64, 64), DEEP))
    add("grey16.tif", encoded(grey16(32896), "TIFF"), plain("I;16", middle, DEEP))
    key = chunk(b"tRNS", b"\x80\x80")
    row = zlib.compress(b"\0\x80\x80\xff\xff\x40\x40")
    steps = (((0, 0), WHITE), ((0, 1), WHITE), ((0, 2), (64, 64, 64)))
    add("grey16_key.png", png(3, 1, 16, 0, row, key), good("I;16", DEEP, GROUND, size_px=(1, 3), points=steps))
    row = zlib.compress(b"\0" + b"\xc8\xff" + b"\x28\0" + b"\x28\x80")
    add("rgb16.png", png(1, 1, 16, 2, row), plain("RGB", RED, HIGH_BYTE, size_px=(1, 1)))
    key = chunk(b"tRNS", b"\xc8\xff" + b"\x28\0" + b"\x28\x80")
    add("rgb16_key.png", png(1, 1, 16, 2, row, key), plain("RGB", WHITE, HIGH_BYTE, GROUND, size_px=(1, 1)))
    steps = (((0, 0), WHITE), ((0, 1), middle))
    add("pgm_12bit.pgm", b"P5 2 1 4095\n\x0f\xff\x08\x00", good("I", DEEP, size_px=(1, 2), points=steps, tolerance=1))
    whole = Image.fromarray(np.full((HEIGHT, WIDTH), 65535, np.int32))
    add("int32.tif", encoded(whole, "TIFF"), plain("I", WHITE, DEEP))
    beyond = Image.fromarray(np.full((HEIGHT, WIDTH), 65536, np.int32))
    add("int32_beyond.tif", encoded(beyond, "TIFF"), bad("value-range", "65536"))
    add("int32_negative.tif", encoded(Image.fromarray(np.full((4, 4), -1, np.int32)), "TIFF"), bad("value-range", "-1"))
    share = Image.fromarray(np.full((HEIGHT, WIDTH), 0.2, np.float32))
    add("float.tif", encoded(share, "TIFF"), plain("F", (51, 51, 51)))
    add("float_255.tif", encoded(Image.fromarray(np.full((4, 4), 255, np.float32)), "TIFF"), bad("value-range", "255"))
    add("float_nan.tif", encoded(Image.fromarray(np.full((4, 4), np.nan, np.float32)), "TIFF"), bad("not-finite"))


def _frames(add: Add) -> None:
    image = Image.fromarray(flag())
    rest = [Image.new("RGB", image.size, BLACK)]
    together: dict[str, Any] = {"save_all": True, "append_images": rest}
    add("animated.gif", encoded(image.quantize(4), "GIF", **together), good("P", FRAMES))
    add("animated.png", encoded(image, "PNG", **together), good("RGB", FRAMES))
    hidden = encoded(image, "PNG", **together, default_image=True)
    add("animated_default.png", hidden, good("RGB", FRAMES))
    add("animated.webp", encoded(image, "WEBP", lossless=True, **together), good("RGB", FRAMES))
    add("pages.tif", encoded(image, "TIFF", **together), good("RGB", FRAMES))


def _names(add: Add) -> None:
    content = encoded(Image.fromarray(flag()), "PNG")
    for name in ("Übergröße 猫.png", "smile 😀.png", "two\nlines.png", "-rf.png", "a b.PNG", "l" * 240 + ".png"):
        add(name, content, good("RGB"))


def _arrays(add: Add) -> None:
    add("uint8.npy", npy(flag()), good("array"))
    add("uint8_fortran.npy", npy(np.asfortranarray(flag())), good("array"))
    add("uint16.npy", npy(flag().astype(np.uint16) * 257), good("array", DEEP))
    add("big_endian.npy", npy((flag().astype(np.uint16) * 257).astype(">u2")), good("array", DEEP))
    add("float32.npy", npy((flag() / 255).astype(np.float32)), good("array"))
    add("float16.npy", npy((flag() / 255).astype(np.float16)), good("array", tolerance=1))
    add("int64.npy", npy(flag().astype(np.int64)), good("array"))
    cross = np.eye(3, dtype=bool)
    seen = (((0, 0), WHITE), ((0, 1), BLACK))
    add("bool.npy", npy(cross), good("array", size_px=(3, 3), points=seen))
    add("zero_one.npy", npy(cross.astype(np.int32)), good("array", BINARY, size_px=(3, 3), points=seen))
    add("dim.npy", npy(cross.astype(np.uint8)), good("array", DIM, size_px=(3, 3), points=(((0, 0), (1, 1, 1)),)))
    add("float_255.npy", npy(flag().astype(np.float32)), bad("value-range"))
    add("minus_half.npy", npy(np.full((3, 3), -0.5)), bad("value-range"))
    add("int_300.npy", npy(np.full((3, 3), 300)), bad("value-range", "uint16"))
    add("nan.npy", npy(np.array([[0.0, np.nan]])), bad("not-finite"))
    add("objects.npy", npy(np.array([{"os": "system"}], dtype=object), allow_pickle=True), bad("unsafe", "pickle"))
    add("text.npy", npy(np.array([["a", "b"]])), bad("bad-array"))
    add("complex.npy", npy(np.ones((3, 3), complex)), bad("bad-array"))
    add("flat.npy", npy(np.arange(5, dtype=np.uint8)), bad("bad-array", "(5,)"))
    add("none.npy", npy(np.zeros((0, 5), np.uint8)), bad("empty"))
    add("five_channels.npy", npy(np.zeros((4, 6, 5), np.uint8)), bad("channels"))
    add("channels_first.npy", npy(np.zeros((3, 4, 6), np.uint8)), bad("channels", "moveaxis"))
    add("cut.npy", npy(flag())[:-1], bad("truncated"))
    add("bad_header.npy", b"\x93NUMPY\1\0\x10\0{'descr': os.exit", bad("damaged"))
    add("npy_named.png", npy(flag()), good("array", "NPY content under a name of PNG"))


def _matrices(add: Add) -> None:
    seen = (((0, 0), WHITE), ((0, 1), BLACK), ((1, 1), WHITE))
    square: dict[str, Any] = {"size_px": (2, 2), "points": seen}
    add("plus_minus.txt", b"+1 -1\n-1 +1\n", good("array", BINARY, **square))
    add("zero_one.txt", b"# an X\n1 0\n\n0 1\n", good("array", BINARY, **square))
    add("plus_minus.csv", b"\xef\xbb\xbf1,-1\r\n-1,1\r\n", good("array", BINARY, **square))
    add("semicolons.csv", b"1;0\n0;1", good("array", BINARY, **square))
    add("tabs.tsv", b"1.0\t0.0\n0.0\t1.0\n", good("array", BINARY, **square))
    add("levels.csv", b"255,0\n7,255\n", good("array", **square))
    add("shares.txt", b"1.0 0.0\n0.2 1.0\n", good("array", **square))
    add("ragged.csv", b"1,0,1\n0,1\n", bad("bad-array"))
    add("hole.csv", b"1,,0\n1,,0\n", bad("bad-array"))
    add("hole.tsv", b"1\t\t0\n1\t\t0\n", bad("bad-array"))
    add("nan.csv", b"1,nan\n0,1\n", bad("not-finite"))
    add("words.txt", b"once upon a time\n", bad("bad-array", "not an image"))
    add("blank.txt", b"\n  \n# nothing\n", bad("empty"))
    add("levels_300.csv", b"0,300\n", bad("value-range"))
    add("latin.txt", "1 0 ä".encode("latin-1"), bad("not-an-image"))


def _not_files(folder: Path, wanted: dict[str, Expectation]) -> None:
    (folder / "folder.jpg").mkdir()
    wanted["folder.jpg"] = bad("not-a-file", "folder")
    os.mkfifo(folder / "pipe.jpg")
    wanted["pipe.jpg"] = bad("not-a-file", "pipe")
    (folder / "dangling.jpg").symlink_to(folder / "gone.jpg")
    wanted["dangling.jpg"] = bad("missing", "link")
    (folder / "loop.jpg").symlink_to(folder / "loop.jpg")
    wanted["loop.jpg"] = bad("unreadable")
    (folder / "link.png").symlink_to(folder / "palette.png")
    wanted["link.png"] = good("P")
    locked = folder / "locked.png"
    locked.write_bytes(encoded(Image.fromarray(flag()), "PNG"))
    locked.chmod(0)
    wanted["locked.png"] = good("RGB") if os.access(locked, os.R_OK) else bad("unreadable", "permission")
