"""Formats, sizes and orientations are known before a decoder is called."""

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest

import layout_factory as factory
from diffad_lib import files
from diffad_lib.datasets import decode, header
from diffad_lib.datasets.decode import MOST_PIXELS, decode_image, decode_mask, decode_pair
from diffad_lib.datasets.header import orientation, seen_size, size_of
from diffad_lib.errors import DiffadError

WIDTH, HEIGHT = 24, 16
PICTURE = np.arange(HEIGHT * WIDTH * 3, dtype=np.uint8).reshape(HEIGHT, WIDTH, 3)
TURNING = ["JPEG", "PNG", "WebP", "TIFF"]  # the formats that OpenCV turns too


def saved(form: str, value: int | None = None, pixels: np.ndarray = PICTURE, **options) -> bytes:
    """A file that Pillow wrote, with an orientation if one is given."""
    if value is not None:
        options["exif"] = PIL.Image.Exif()
        options["exif"][0x0112] = value
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


def upright(data: bytes) -> np.ndarray:
    """What Pillow shows of a file, turned."""
    return np.asarray(PIL.ImageOps.exif_transpose(PIL.Image.open(io.BytesIO(data))).convert("RGB"))


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("form", TURNING)
def test_a_picture_is_turned_as_its_orientation_says(form, value, tmp_path):
    lossless = {"lossless": True} if form == "WebP" else {}
    data = saved(form, value, **lossless)
    path = tmp_path / "photo.png"
    path.write_bytes(data)
    assert orientation(data) == orientation(path) == value
    assert size_of(data) == (WIDTH, HEIGHT)
    image = decode_image(path)
    official = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    np.testing.assert_array_equal(image, official)
    tolerance = 4 if form == "JPEG" else 0  # another decoder
    np.testing.assert_allclose(image.astype(int), upright(data).astype(int), atol=tolerance)
    np.testing.assert_array_equal(decode_mask(path) > 0, official.max(2) >= (form == "JPEG") * 128)


@pytest.mark.parametrize("form", [*TURNING, "BMP", "PPM"])
def test_a_picture_without_an_orientation_stays_as_it_is(form):
    assert orientation(saved(form)) == 1
    assert orientation(b"") == orientation(b"no image") == 1
    if form in TURNING:
        assert orientation(saved(form, 9)) == 1


@pytest.mark.parametrize("value", [1, 3, 6])
@pytest.mark.parametrize("form", [*TURNING, "BMP", "PPM"])
def test_the_size_that_is_seen_is_that_of_the_decoded_picture(form, value, tmp_path):
    path = tmp_path / "picture"
    path.write_bytes(saved(form, value if form in TURNING else None))
    height, width = decode_image(path).shape[:2]
    assert seen_size(path) == (width, height, width < height)
    path.write_bytes(path.read_bytes()[:6])
    assert seen_size(path) is None


def test_the_size_that_is_seen_is_read_from_the_head_of_a_file(tmp_path, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    photo, square, late = (tmp_path / name for name in ("photo.jpg", "square.png", "late.png"))
    photo.write_bytes(saved("JPEG", 6, pixels, quality=95))
    square.write_bytes(saved("PNG", 6, pixels[:, :200]))
    found = saved("PNG", pixels=pixels)
    exif = b"eXIf" + saved("TIFF", 6)
    chunk = struct.pack(">I", len(exif) - 4) + exif + struct.pack(">I", zlib.crc32(exif))
    late.write_bytes(found[:-12] + chunk + found[-12:])
    webp = tmp_path / "photo.webp"  # whose EXIF block is the last
    webp.write_bytes(saved("WebP", 6, pixels, lossless=True))
    for path in (late, webp):
        assert decode_image(path).shape == (300, 200, 3)
        assert seen_size(path) == (200, 300, True)
    monkeypatch.setattr(header, "read_bytes", lambda path: pytest.fail(f"read {path} whole"))
    assert seen_size(photo) == (200, 300, True)
    assert seen_size(square)[:2] == (200, 200)


def test_an_image_behind_a_long_head_has_its_size(tmp_path, monkeypatch):
    path = tmp_path / "photo.jpg"
    path.write_bytes(saved("JPEG", 6, icc_profile=bytes(50_000)))
    monkeypatch.setattr(files, "_HEAD", 40_000)
    assert seen_size(path) == (HEIGHT, WIDTH, True)


def test_what_follows_the_picture_does_not_turn_it(tmp_path):
    data = saved("JPEG") + saved("JPEG", 6)[2:]  # a second picture, as phones append one
    (tmp_path / "photo.jpg").write_bytes(data)
    official = cv2.imread(str(tmp_path / "photo.jpg"))[..., ::-1]
    assert orientation(data) == 1 and official.shape == PICTURE.shape
    np.testing.assert_array_equal(decode_image(tmp_path / "photo.jpg"), official)


def test_the_first_of_two_sizes_counts_as_for_the_decoder(tmp_path):
    entry = struct.pack("<HHII", 256, 4, 1, 12_000)
    data = saved("TIFF", 1)
    start = int.from_bytes(data[4:8], "little")
    count = int.from_bytes(data[start : start + 2], "little")
    directory = data[start + 2 : start + 2 + 12 * count]
    width = directory.index(struct.pack("<HH", 256, 4))
    twice = directory[: width + 12] + entry + directory[width + 12 :]
    data = data[:4] + struct.pack("<I", len(data)) + data[8:]
    data += struct.pack("<H", count + 1) + twice + b"\0\0\0\0"
    (tmp_path / "photo.tif").write_bytes(data)
    assert size_of(data) == (WIDTH, HEIGHT)
    np.testing.assert_array_equal(decode_image(tmp_path / "photo.tif"), PICTURE)


def os2_bmp() -> bytes:
    """Colours, which OpenCV reads as greys with the flag that keeps alpha and 16 bits."""
    rows = PICTURE[::-1, :, ::-1].tobytes()
    head = struct.pack("<IHHHH", 12, WIDTH, HEIGHT, 1, 24)
    return b"BM" + struct.pack("<IHHI", 26 + len(rows), 0, 0, 26) + head + rows


def test_a_mask_in_the_stored_size_of_a_turned_picture_is_told_why(tmp_path):
    image, mask = tmp_path / "photo.jpg", tmp_path / "mask.png"
    image.write_bytes(saved("JPEG", 6))
    factory.write_pixels(mask, np.zeros((HEIGHT, WIDTH), np.uint8))
    with pytest.raises(
        DiffadError, match=r"photo\.jpg is 16×24, turned by its EXIF orientation 6;"
    ):
        decode_pair(image, mask)


@pytest.mark.parametrize(
    ("form", "modes"),
    [
        ("JPEG", ["RGB", "L", "CMYK"]),
        ("PNG", ["RGB", "L", "1", "P"]),
        ("TIFF", ["RGB", "L", "1", "P", "CMYK"]),
        ("BMP", ["RGB", "L", "1", "P"]),
        ("PPM", ["RGB", "L", "1"]),
    ],
)
def test_colours_are_those_of_the_official_way_to_read(form, modes, tmp_path):
    path = tmp_path / "photo.png"
    for mode in modes:
        PIL.Image.fromarray(PICTURE).convert(mode).save(path, form)
        official = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if (form, mode) == ("TIFF", "CMYK"):
            with pytest.raises(DiffadError, match="4 channels"):
                decode_image(path)
        else:
            np.testing.assert_array_equal(decode_image(path)[..., ::-1], official)


def vast(form: str) -> bytes:
    """A small file that says of itself that it has 12,000 × 12,000 pixels."""
    side = 12_000
    data = bytearray(saved(form.removesuffix("-L"), lossless=form == "WebP-L"))
    if form == "PNG":
        data[16:24] = struct.pack(">II", side, side)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    elif form == "JPEG":
        start = data.index(b"\xff\xc0") + 5
        data[start : start + 4] = struct.pack(">HH", side, side)
    elif form == "BMP":
        data[18:26] = struct.pack("<ii", side, -side)
    elif form == "TIFF":
        for tag in (256, 257):
            start = data.index(struct.pack("<HH", tag, 4) + b"\1\0\0\0") + 8
            data[start : start + 4] = struct.pack("<I", side)
    elif form == "WebP":
        data[26:30] = struct.pack("<HH", side, side)
    elif form == "WebP-L":
        data[21:25] = struct.pack("<I", side - 1 | side - 1 << 14)
    else:
        return b"P6 # a comment\n#\n12000\n12000 255\n" + b"\0" * 100
    return bytes(data)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "TIFF", "WebP", "WebP-L", "PPM"])
def test_a_vast_picture_is_refused_before_it_is_decoded(form, tmp_path, monkeypatch):
    monkeypatch.setattr(decode.cv2, "imdecode", lambda *_: pytest.fail("it was decoded"))
    path = tmp_path / "photo.png"
    path.write_bytes(vast(form))
    for read in (decode_image, decode_mask):
        with pytest.raises(DiffadError, match=r"12000×12000 pixels, more than 100 megapixels; "):
            read(path)


def test_a_webp_with_a_canvas_says_its_size():
    assert size_of(saved("WebP", 1)) == (WIDTH, HEIGHT)
    assert saved("WebP", 1)[12:16] == b"VP8X"
    assert MOST_PIXELS == 10**8


@pytest.mark.parametrize("order", ["<", ">"])
def test_sizes_of_two_and_of_four_bytes_are_read_in_either_order(order):
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, 2)
    head += struct.pack(order + "HHIHH", 256, 3, 1, 300, 0)
    head += struct.pack(order + "HHII", 257, 4, 1, 70_000)
    assert size_of(head) == (300, 70_000)
    assert size_of(head[:-8]) is None


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "TIFF", "WebP", "PPM"])
def test_a_header_that_is_cut_off_is_damaged(form, tmp_path):
    data = saved(form)
    path = tmp_path / "photo.png"
    for length in (0, 3, 8, 13, 15, 17, 22):
        path.write_bytes(data[:length])
        with pytest.raises(
            DiffadError, match=r"photo\.png is (cut off or )?(damaged|not an image)"
        ):
            decode_image(path)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (saved("GIF"), "a GIF"),
        (os2_bmp(), "an OS/2 BMP"),
        (saved("AVIF"), "HEIC, AVIF or a video"),
        (b"\0\0\0\x18ftypheic", "HEIC, AVIF or a video"),
        (b"P7\nWIDTH 16\nHEIGHT 16\nDEPTH 1\nMAXVAL 255\nENDHDR\n" + b"\1" * 256, "a PAM"),
        (bytes(cv2.imencode(".ras", PICTURE)[1]), "a Sun raster"),
        (bytes(cv2.imencode(".pfm", PICTURE.astype(np.float32))[1]), "a PFM"),
        (saved("JPEG2000"), "a JPEG 2000"),
        (bytes(cv2.imencode(".hdr", PICTURE.astype(np.float32))[1]), "a Radiance HDR"),
        (saved("TIFF", big_tiff=True), "a BigTIFF"),
    ],
)
def test_other_formats_that_opencv_would_decode_are_refused(data, told, tmp_path, monkeypatch):
    monkeypatch.setattr(decode.cv2, "imdecode", lambda *_: pytest.fail("it was decoded"))
    path = Path(tmp_path, "photo.png")
    path.write_bytes(data)
    with pytest.raises(DiffadError) as caught:
        decode_image(path)
    assert str(caught.value) == f"{path} is {told} file, whatever its name; convert it to PNG"


TURNED = PIL.Image.fromarray(PICTURE[::-1])


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (saved("TIFF", save_all=True, append_images=[TURNED] * 9), 10),
        (saved("PNG", save_all=True, append_images=[TURNED] * 2), 3),
        (saved("WebP", save_all=True, append_images=[TURNED]), 2),
    ],
)
def test_a_file_of_several_pictures_is_an_error_and_not_its_first(data, count, tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(data)
    for read in (decode_image, decode_mask):
        with pytest.raises(DiffadError, match=rf"photo\.png holds {count} pictures; save one$"):
            read(path)


def test_the_smaller_copy_that_a_tiff_brings_is_no_second_picture(tmp_path):
    path = tmp_path / "photo.tif"
    smaller = TURNED.copy()
    smaller.encoderinfo = {"tiffinfo": {254: 1}}
    path.write_bytes(saved("TIFF", save_all=True, append_images=[smaller]))
    assert PIL.Image.open(path).n_frames == 2
    np.testing.assert_array_equal(decode_image(path), PICTURE)


def test_directories_in_a_circle_end(tmp_path):
    data = bytearray(saved("TIFF"))
    start = int.from_bytes(data[4:8], "little")
    link = start + 2 + 12 * int.from_bytes(data[start : start + 2], "little")
    data[link : link + 4] = data[4:8]
    (tmp_path / "photo.tif").write_bytes(data)
    with pytest.raises(DiffadError, match="pictures; save one"):
        decode_image(tmp_path / "photo.tif")


def test_a_tiff_in_cielab_is_an_error(tmp_path):
    PIL.Image.fromarray(PICTURE).convert("LAB").save(tmp_path / "photo.tif")
    with pytest.raises(DiffadError, match=r"photo\.tif has other colours than grey or RGB"):
        decode_image(tmp_path / "photo.tif")


@pytest.mark.parametrize("alpha", [0, 255, 100, PICTURE[..., :1]])
def test_the_fourth_byte_of_a_bmp_is_alpha_unless_it_says_nothing(alpha, tmp_path):
    path = tmp_path / "photo.bmp"
    fourth = np.broadcast_to(np.asarray(alpha, np.uint8), (HEIGHT, WIDTH, 1))
    path.write_bytes(saved("BMP", pixels=np.concatenate([PICTURE, fourth], 2)))
    if np.ndim(alpha) == 0 and alpha in (0, 255):
        np.testing.assert_array_equal(decode_image(path), PICTURE)
    else:
        with pytest.raises(DiffadError, match=r"photo\.bmp has 4 channels \(RGBA\?\); convert it"):
            decode_image(path)


@pytest.mark.parametrize("white", [1, 100, 254, 255])
@pytest.mark.parametrize("magic", ["P2", "P3", "P5", "P6"])
def test_a_pnm_with_another_white_than_255_is_no_image_but_a_mask(magic, white, tmp_path):
    values = np.minimum(PICTURE if magic in "P3P6" else PICTURE[..., 0], white)
    head = f"{magic}\n# a comment\n{WIDTH} {HEIGHT}\n{white}\n".encode()
    text = b" ".join(b"%d" % value for value in values.ravel()) + b"\n"
    path = tmp_path / "photo.ppm"
    path.write_bytes(head + (text if magic in "P2P3" else values.tobytes()))
    if white == 255:
        assert decode_image(path).shape == PICTURE.shape
    else:
        with pytest.raises(DiffadError, match=rf"photo\.ppm has {white} as its white, not 255"):
            decode_image(path)
    if white == 1:
        assert decode_mask(path).sum() == (values.reshape(HEIGHT, WIDTH, -1).max(2) > 0).sum()


@pytest.mark.parametrize("magic", ["P1", "P4"])
def test_a_pbm_is_black_and_white(magic, tmp_path):
    rows = np.arange(HEIGHT)[:, None] % 2 * np.ones((1, WIDTH), np.uint8)  # 1: black
    bits = np.packbits(rows, axis=1).tobytes()
    text = b" ".join(b"%d" % value for value in rows.ravel())
    path = tmp_path / "photo.pbm"
    path.write_bytes(f"{magic}\n{WIDTH} {HEIGHT}\n".encode() + (text if magic == "P1" else bits))
    np.testing.assert_array_equal(decode_image(path)[..., 0], 255 * (1 - rows))
    np.testing.assert_array_equal(decode_mask(path), 1 - rows)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "TIFF", "WebP", "PPM"])
def test_a_file_with_damaged_bytes_is_read_or_named(form, tmp_path):
    data, rng = np.frombuffer(saved(form), np.uint8), np.random.default_rng(1)
    path = tmp_path / "photo.png"
    for _ in range(200):
        damaged = data.copy()
        damaged[rng.integers(4, min(len(data), 700), 3)] = rng.integers(0, 256, 3)
        path.write_bytes(damaged[: rng.integers(4, len(data) + 1)].tobytes())
        try:
            decode_image(path)
        except DiffadError as error:
            assert "photo.png" in str(error) and "\n" not in str(error)
