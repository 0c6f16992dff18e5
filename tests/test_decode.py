import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

import layout_factory as factory
from diffad_lib.datasets.decode import (
    decode_image,
    decode_mask,
    decode_pair,
    mask_doubt,
    resize_image,
)
from diffad_lib.datasets.regions import resize_mask, resize_regions, whole_regions
from diffad_lib.errors import DiffadError
from diffad_lib.metrics import aupro

SHARED = Path(__file__).resolve().parents[2] / "shared"
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="the shared data is not here")

RED_BGR = (10, 20, 200)


def plain(side=16, value=RED_BGR):
    return np.full((side, side, len(value)), value, np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".jpg"])
def test_colours_come_out_as_rgb(suffix, tmp_path):
    path = tmp_path / f"red{suffix}"
    factory.write_pixels(path, plain())
    image = decode_image(path)
    assert image.shape == (16, 16, 3)
    assert image.dtype == np.uint8
    np.testing.assert_allclose(image[8, 8].astype(int), (200, 20, 10), atol=2)  # JPEG is lossy


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_greyscale_gets_three_equal_channels(suffix, tmp_path):
    path = tmp_path / f"grey{suffix}"
    grey = np.tile(np.arange(16, dtype=np.uint8) * 16, (16, 1))
    factory.write_pixels(path, grey)
    image = decode_image(path)
    assert image.shape == (16, 16, 3)
    assert (image == image[..., :1]).all()
    np.testing.assert_allclose(image[..., 0].astype(int), grey.astype(int), atol=3)


def test_jpeg_is_turned_as_its_exif_says(tmp_path):
    path = tmp_path / "photo.jpg"
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:, :16] = 255  # left half white
    factory.write_pixels(path, pixels)
    data = path.read_bytes()
    # One EXIF entry: orientation (0x0112) = 6, turn a quarter clockwise.
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 1) + entry + b"\0\0\0\0"
    path.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:])
    image = decode_image(path)
    assert image.shape == (32, 16, 3)
    assert image[:8].mean() > 250
    assert image[-8:].mean() < 5


def damage_cut(data):
    return data[: len(data) // 2]


def damage_end(data):
    return data[:-2]


def damage_bit(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize(
    ("suffix", "damage"),
    [
        (".png", damage_cut),
        (".png", damage_end),
        (".png", damage_bit),
        (".png", lambda data: b""),
        (".jpg", damage_cut),
        (".jpg", damage_end),
        (".jpg", lambda data: data[:30]),
    ],
)
def test_cut_off_or_damaged_files_are_errors(suffix, damage, tmp_path):
    path = tmp_path / f"photo{suffix}"
    factory.write_noise(path, 0, side=64)
    decode_image(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DiffadError, match=rf"photo{suffix} is cut off or damaged"):
        decode_image(path)


def third_with_an_end(data):
    return data[: len(data) // 3] + b"\xff\xd9"


def nearly_all_with_an_end(data):
    return data[: len(data) * 19 // 20] + b"\xff\xd9"


def random_inside(data):
    middle = len(data) // 2
    return data[:middle] + np.random.default_rng(0).bytes(2000) + data[middle + 2000 :]


def half_and_all(data):
    return data[: len(data) // 2] + data


def zeros_inside(data):
    middle = len(data) // 2
    return data[:middle] + bytes(2000) + data[middle + 2000 :]


PROGRESSIVE = (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
RESTARTS = (cv2.IMWRITE_JPEG_RST_INTERVAL, 2)


@pytest.mark.parametrize(
    ("kind", "damage"),
    [
        *(
            (kind, damage)
            for kind in ((), PROGRESSIVE, RESTARTS)
            for damage in (third_with_an_end, random_inside, half_and_all)
        ),
        ((), zeros_inside),
        ((), nearly_all_with_an_end),
        (RESTARTS, nearly_all_with_an_end),
    ],
)
def test_a_jpeg_with_damage_inside_is_an_error_and_not_grey(kind, damage, tmp_path, capfd):
    rows, columns = np.mgrid[:240, :320]
    photo = np.stack([rows % 200, columns % 250, rows * columns // 300 % 256], 2).astype(np.uint8)
    photo += np.random.default_rng(0).integers(0, 6, photo.shape, np.uint8)
    data = cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_QUALITY, 90, *kind])[1].tobytes()
    path = tmp_path / "photo.jpg"
    path.write_bytes(data)
    official = cv2.imread(str(path))[..., ::-1]
    np.testing.assert_array_equal(decode_image(path), official)
    path.write_bytes(damage(data))
    with pytest.raises(DiffadError, match=r"photo\.jpg is .*damaged"):
        decode_image(path)
    assert capfd.readouterr().err == ""


def test_a_jpeg_that_lacks_a_stretch_between_restarts_is_an_error(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = cv2.imencode(".jpg", noise, RESTARTS)[1].tobytes()
    path = tmp_path / "photo.jpg"
    path.write_bytes(data[: data.index(b"\xff\xd1")] + data[data.index(b"\xff\xd3") :])
    with pytest.raises(DiffadError, match=r"photo\.jpg is cut off or damaged"):
        decode_image(path)


@pytest.mark.parametrize("quality", [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)])
@pytest.mark.parametrize("restarts", [(), (cv2.IMWRITE_JPEG_RST_INTERVAL, 2)])
def test_every_kind_of_whole_jpeg_is_read(quality, restarts, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = cv2.imencode(".jpg", noise, [*quality, *restarts])[1].tobytes()
    path = tmp_path / "photo.jpg"
    path.write_bytes(data + b"\0\0trailer of a camera")
    assert decode_image(path).shape == (64, 64, 3)


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (np.full((16, 16), 40_000, np.uint16), "16 bits a channel"),
        (np.full((16, 16, 3), 40_000, np.uint16), "16 bits a channel"),
        (plain(value=(1, 2, 3, 255)), "4 channels"),
        (plain(side=1), "is 1×1 pixels"),
        (plain(side=7), "is 7×7 pixels"),
    ],
)
def test_unusable_images_are_errors_that_name_the_file(pixels, expected, tmp_path):
    path = tmp_path / "photo.png"
    factory.write_pixels(path, pixels)
    for decode in (decode_image, decode_mask):
        with pytest.raises(DiffadError) as caught:
            decode(path)
        assert str(caught.value).startswith(f"{path} ")
        assert expected in str(caught.value)
        assert "\n" not in str(caught.value)


def test_files_that_are_no_image(tmp_path):
    path = tmp_path / "photo.png"
    with pytest.raises(DiffadError, match=r"photo.png cannot be read: No such file"):
        decode_image(path)
    path.write_text("no image at all")
    with pytest.raises(DiffadError, match=r"photo.png is not an image"):
        decode_image(path)


@pytest.mark.parametrize("value", [1, 3, 127, 255])
def test_any_value_but_zero_marks_a_defect(value, tmp_path):
    factory.write_mask(tmp_path / "mask.png", value)
    mask = decode_mask(tmp_path / "mask.png")
    assert mask.dtype == np.uint8
    assert np.unique(mask).tolist() == [0, 1]
    assert mask.sum() == 36


def test_a_mask_in_colour_counts_every_channel(tmp_path):
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[3, 4, 0] = pixels[5, 6, 1] = pixels[7, 8, 2] = 1
    factory.write_pixels(tmp_path / "mask.png", pixels)
    assert decode_mask(tmp_path / "mask.png").sum() == 3


def test_a_normal_image_has_an_empty_mask(tmp_path):
    factory.write_noise(tmp_path / "image.png", 0)
    image, mask = decode_pair(tmp_path / "image.png", None)
    assert mask.shape == image.shape[:2]
    assert not mask.any()


def test_mask_of_another_size_is_an_error(tmp_path):
    factory.write_noise(tmp_path / "image.png", 0)
    factory.write_mask(tmp_path / "mask.png", side=33)
    with pytest.raises(DiffadError, match=r"mask.png is 33×33 pixels but .*image.png is 32×32"):
        decode_pair(tmp_path / "image.png", tmp_path / "mask.png")


def test_shrinking_averages_areas():
    image = np.random.default_rng(0).integers(0, 256, (32, 64, 3), np.uint8)
    blocks = image.reshape(16, 2, 16, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(resize_image(image, 16), blocks, atol=0.51)


def test_a_side_that_shrinks_is_averaged_even_if_the_other_grows():
    columns = np.random.default_rng(0).random(64, np.float32)
    resized = resize_image(np.tile(columns, (8, 1)), 16)
    np.testing.assert_allclose(resized, np.tile(columns.reshape(16, 4).mean(1), (16, 1)), rtol=1e-5)


def test_masks_of_the_same_size_stay_as_they_are():
    mask = (np.random.default_rng(0).random((32, 32)) > 0.8).astype(np.uint8)
    np.testing.assert_array_equal(resize_mask(mask, 32), mask)


@pytest.mark.parametrize("size", [16, 37, 64, 128, 150])
def test_one_pixel_defects_never_vanish(size):
    rng = np.random.default_rng(size)
    for _ in range(50):
        mask = np.zeros((100, 130), np.uint8)
        row, column = rng.integers(100), rng.integers(130)
        mask[row, column] = 1
        resized = resize_mask(mask, size)
        rows, columns = np.nonzero(resized)
        assert 1 <= len(rows) <= max(1, 2 * (size / 100) ** 2)
        # It stays in its place, to a pixel of the coarser grid.
        assert abs((rows.mean() + 0.5) / size - (row + 0.5) / 100) <= 1 / min(size, 100)
        assert abs((columns.mean() + 0.5) / size - (column + 0.5) / 130) <= 1 / min(size, 130)


def test_every_component_leaves_a_pixel():
    mask = np.zeros((256, 256), np.uint8)
    mask[::32, ::32] = 1  # 64 specks
    mask[100:140, 100:140] = 1  # a large defect beside them does not hide the loss
    assert resize_mask(mask, 32)[::4, ::4].all()


def test_a_hairline_stays_a_line():
    mask = np.zeros((256, 256), np.uint8)
    mask[100, 20:220] = 1  # covers an eighth of the pixels it touches
    resized = resize_mask(mask, 32)
    assert resized[100 // 8, 20 // 8 + 1 : 220 // 8].all()
    assert resized.any(axis=1).sum() == 1


def test_area_of_large_defects_is_nearly_unbiased():
    rng = np.random.default_rng(0)
    before = after = 0.0
    for _ in range(40):
        mask = np.zeros((256, 256), np.uint8)
        centre, radius = rng.uniform(80, 170, 2), int(rng.integers(15, 60))
        cv2.circle(mask, tuple(int(value) for value in centre), radius, 1, -1)
        before += mask.mean()
        after += resize_mask(mask, 48).mean()
    assert after == pytest.approx(before, rel=0.01)


def gone_through_jpeg(path, mask, quality):
    """Writes a mask that was a JPEG before: its noise stays, whatever the file is now."""
    done, data = cv2.imencode(".jpg", mask, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    if path.suffix == ".jpg":
        path.write_bytes(data.tobytes())
    else:
        factory.write_pixels(path, cv2.imdecode(data, cv2.IMREAD_UNCHANGED))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp"])
@pytest.mark.parametrize("quality", [60, 75, 95])
@pytest.mark.parametrize("white", [128, 255])
def test_a_mask_saved_as_a_jpeg_keeps_its_area(white, quality, suffix, tmp_path):
    mask = np.zeros((256, 256), np.uint8)
    mask[60:80, 50:200] = white
    path = tmp_path / f"000_mask{suffix}"
    gone_through_jpeg(path, mask, quality)
    assert decode_mask(path).sum() == 3000
    gone_through_jpeg(path, np.zeros_like(mask), quality)
    assert not decode_mask(path).any()


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("width", [2, 3, 6])
def test_a_thin_defect_in_a_lossy_mask_keeps_its_area(width, suffix, tmp_path):
    mask = np.zeros((1024, 1024), np.uint8)
    cv2.polylines(mask, [np.int32([[100, 150], [380, 240], [900, 420]])], False, 255, width)
    gone_through_jpeg(tmp_path / f"m{suffix}", mask, 75)
    kept = decode_mask(tmp_path / f"m{suffix}").sum() / (mask > 0).sum()
    assert 0.9 < kept < 1.1


def test_a_lossy_webp_mask_keeps_its_area_and_a_lossless_one_its_class_ids(tmp_path):
    mask = np.zeros((256, 256), np.uint8)
    mask[60:80, 50:200] = 255
    path = tmp_path / "m.webp"
    assert cv2.imwrite(str(path), mask, [cv2.IMWRITE_WEBP_QUALITY, 75])
    assert decode_mask(path).sum() == 3000
    assert cv2.imwrite(str(path), mask // 255, [cv2.IMWRITE_WEBP_QUALITY, 101])
    assert decode_mask(path).sum() == 3000


def test_a_second_level_in_a_lossy_mask_is_an_error_and_not_left_out(tmp_path):
    mask = np.zeros((256, 256), np.uint8)
    mask[60:80, 50:120], mask[160:180, 50:120] = 255, 85
    gone_through_jpeg(tmp_path / "m.jpg", mask, 75)
    with pytest.raises(DiffadError, match=r"m\.jpg is a lossy mask with a second level of grey"):
        decode_mask(tmp_path / "m.jpg")


def test_smooth_edges_and_class_ids_beside_white_are_marks(tmp_path):
    disc = np.zeros((600, 600), np.uint8)
    cv2.circle(disc, (300, 300), 100, 255, -1)
    smooth = cv2.resize(disc, (200, 200), interpolation=cv2.INTER_AREA)
    ids = np.zeros((200, 200), np.uint8)
    ids[20:60, 20:180] = np.arange(160) // 40 + 1
    ids[100:120, 50:90] = 255
    for mask in (smooth, ids):
        factory.write_pixels(tmp_path / "m.png", mask)
        assert np.array_equal(decode_mask(tmp_path / "m.png"), mask > 0)


def ids_beside_white():
    mask = np.zeros((256, 256), np.uint8)
    for value in range(1, 8):
        mask[90 + 10 * value : 98 + 10 * value, 50:150] = value
    mask[60:64, 50:60] = 255
    return mask


def instances():
    mask = np.zeros((256, 256), np.uint8)
    for number in range(80):
        row, column = 20 + 20 * (number // 10), 10 + 20 * (number % 10)
        mask[row : row + 12, column : column + 15] = number + 1
    return mask


def smooth(faint, sigma):
    mask = np.zeros((256, 256), np.float32)
    mask[60:80, 50:200], mask[150:170, 50:200] = 255, faint
    return cv2.GaussianBlur(mask, (0, 0), sigma).astype(np.uint8)


@pytest.mark.parametrize(
    "mask", [ids_beside_white(), instances(), smooth(28, 1.5), smooth(0, 6), smooth(255, 12)]
)
def test_classes_however_many_and_smooth_edges_however_wide_are_no_noise(mask, tmp_path):
    factory.write_pixels(tmp_path / "m.png", mask)
    assert np.array_equal(decode_mask(tmp_path / "m.png"), mask > 0)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("quality", [50, 75, 90, 95])
@pytest.mark.parametrize(
    ("value", "height", "width"), [(24, 20, 150), (100, 4, 30), (128, 20, 150), (160, 20, 150)]
)
@pytest.mark.parametrize("row", [83, 120])
def test_a_level_of_grey_in_a_lossy_mask_is_an_error_however_small(
    row, value, height, width, quality, suffix, tmp_path
):
    mask = np.zeros((256, 256), np.uint8)
    mask[60:80, 50:200], mask[row : row + height, 50 : 50 + width] = 255, value
    gone_through_jpeg(tmp_path / f"m{suffix}", mask, quality)
    with pytest.raises(DiffadError, match=rf"m\{suffix} .* second level of grey"):
        decode_mask(tmp_path / f"m{suffix}")


@pytest.mark.parametrize("quality", [50, 75, 90, 95])
def test_two_colours_of_unequal_brightness_in_a_jpeg_are_two_levels(quality, tmp_path):
    mask = np.zeros((256, 256, 3), np.uint8)
    mask[60:80, 50:200], mask[120:140, 50:200] = (0, 0, 255), (128, 0, 0)
    gone_through_jpeg(tmp_path / "m.jpg", mask, quality)
    with pytest.raises(DiffadError, match="second level of grey"):
        decode_mask(tmp_path / "m.jpg")


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("white", [128, 255])
@pytest.mark.parametrize("quality", [50, 60])
def test_strong_noise_on_one_level_is_no_second_level(quality, white, suffix, tmp_path):
    rng = np.random.default_rng(quality)
    for _ in range(20):
        mask = np.zeros((256, 256), np.uint8)
        cv2.fillPoly(mask, [rng.integers(0, 256, (5, 2)).astype(np.int32)], white)
        gone_through_jpeg(tmp_path / f"m{suffix}", mask, quality)
        kept = decode_mask(tmp_path / f"m{suffix}").sum() / (mask > 0).sum()
        assert 0.95 < kept < 1.05


def test_a_class_of_one_pixel_near_white_stays(tmp_path):
    mask = ids_beside_white()
    mask[70, 54] = 3
    factory.write_pixels(tmp_path / "m.png", mask)
    assert np.array_equal(decode_mask(tmp_path / "m.png"), mask > 0)


@pytest.mark.parametrize(
    ("value", "rows", "columns", "suffix"),
    [
        (100, (120, 123), (60, 63), ".jpg"),  # a speck
        (24, (80, 94), (50, 200), ".jpg"),  # as near as noise, but flat
        (8, (120, 140), (50, 200), ".png"),  # a class in what was a JPEG
    ],
)
def test_a_level_is_told_by_its_distance_or_by_being_flat(value, rows, columns, suffix, tmp_path):
    mask = np.zeros((256, 256), np.uint8)
    mask[60:80, 51:200], mask[slice(*rows), slice(*columns)] = 255, value
    gone_through_jpeg(tmp_path / f"m{suffix}", mask, 75)
    with pytest.raises(DiffadError, match="second level of grey"):
        decode_mask(tmp_path / f"m{suffix}")


def test_noise_as_strong_as_a_hairline_is_an_error(tmp_path):
    mask = np.zeros((256, 256), np.uint8)
    cv2.polylines(mask, [np.int32([[25, 36], [85, 64], [153, 76], [230, 104]])], False, 255, 1)
    gone_through_jpeg(tmp_path / "m.jpg", mask, 30)
    with pytest.raises(DiffadError, match="strong noise"):
        decode_mask(tmp_path / "m.jpg")


@needs_shared
def test_real_masks_are_what_is_not_zero():
    paths = [*(SHARED / "data").rglob("ground_truth/*/*.png")]
    paths += (SHARED / "data").rglob("Label/*.PNG")
    assert len(paths) == 324
    for path in paths:
        assert np.array_equal(decode_mask(path), cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 0)


def test_class_ids_in_a_jpeg_are_an_error_and_not_an_empty_mask(tmp_path):
    for value in (1, 60):
        mask = np.full((64, 64), value, np.uint8)
        assert cv2.imwrite(str(tmp_path / "ids.jpg"), mask)
        with pytest.raises(DiffadError, match=rf"ids\.jpg .* values to {value} only; .* PNG"):
            decode_mask(tmp_path / "ids.jpg")


@pytest.mark.parametrize("size", [1000, 2000, 2048])
def test_many_regions_keep_their_pixels_at_a_large_size(size):
    mask = np.zeros((size, size), np.uint8)
    mask[::40, ::40] = 1  # 625 to 2704 regions of one pixel
    regions = resize_regions(mask, size)
    assert np.array_equal(regions > 0, mask > 0)
    assert len(np.unique(regions)) - 1 == mask.sum()


@pytest.mark.parametrize("regions_of", [resize_regions, whole_regions])
def test_a_mask_that_is_not_of_0_and_1_is_refused_and_not_grown_or_emptied(regions_of):
    mask = np.zeros((64, 64), np.uint8)
    mask[8:40, 8:40] = 255
    with pytest.raises(DiffadError, match="a mask holds 255; give 1 on the defect"):
        regions_of(mask, 32)


@pytest.mark.parametrize(("regions_of", "size"), [(resize_regions, 64), (whole_regions, 600)])
def test_a_mask_of_noise_is_refused(regions_of, size):
    mask = np.zeros((600, 600), np.uint8)
    mask[::2, ::2] = 1  # 90,000 regions
    with pytest.raises(DiffadError, match=r"90000 regions are more than the 65534.*save a mask"):
        regions_of(mask, size)


def test_an_inverted_mask_is_doubted_and_a_large_defect_is_not():
    mask = np.ones((64, 64), np.uint8)
    assert mask_doubt(mask) == "marks every pixel; is it the mask of a defect?"
    mask[20:30, 20:50] = 0
    assert mask_doubt(mask) == "marks 93% of the image and 100% of its border; inverted?"
    assert mask_doubt(1 - mask) is None
    mask[20:30] = 0  # a defect from border to border
    assert mask_doubt(mask) == "marks 84% of the image and 92% of its border; inverted?"
    assert mask_doubt(1 - mask) is None
    mask[:40] = 0  # a defect that covers most of the image
    assert mask_doubt(1 - mask) is None
    assert mask_doubt(np.zeros_like(mask)) == "marks no pixel"
    disc = cv2.circle(np.zeros((256, 256), np.uint8), (128, 128), 108, 1, -1)
    assert mask_doubt(1 - disc) == "marks 44% of the image and 100% of its border; inverted?"
    assert mask_doubt(disc) is None


def test_empty_mask_stays_empty():
    assert not resize_mask(np.zeros((50, 50), np.uint8), 16).any()


@needs_shared
@pytest.mark.parametrize("folder", ["mvtec/bottle", "mpdd/metal_plate"])
def test_real_masks_keep_every_defect_and_their_area(folder):
    paths = sorted((SHARED / "data" / folder / "ground_truth").rglob("*.png"))
    masks = [decode_mask(path) for path in paths]
    small = [resize_mask(mask, 64) for mask in masks]
    assert all(mask.any() for mask in small)
    assert np.mean(small) == pytest.approx(np.mean(masks), rel=0.03)


@pytest.mark.parametrize("suffix", [".bmp", ".tif"])
def test_a_cut_off_bmp_or_tiff_is_an_error_without_lines_of_opencv(suffix, tmp_path, capfd):
    path = tmp_path / f"photo{suffix}"
    factory.write_pixels(path, np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8))
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DiffadError, match=rf"photo{suffix} is damaged, .* copy it again"):
        decode_image(path)
    assert capfd.readouterr().err == ""


def scratch_and_blob(side: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A mask with a bent scratch and a disc that do not touch, and the disc alone."""
    mask = np.zeros((side, side), np.uint8)
    points = np.int32(np.array([[100, 150], [380, 240], [620, 300], [900, 420]]) * side / 1024)
    cv2.polylines(mask, [points], False, 1, width)
    disc = np.zeros_like(mask)
    cv2.circle(disc, (int(0.78 * side), int(0.78 * side)), side // 17, 1, -1)
    return mask | disc, disc


@pytest.mark.parametrize("side", [512, 1024, 2048, 4096])
@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 6])
def test_a_scratch_stays_one_region_and_aupro_what_it_is_at_the_native_size(side, width):
    mask, disc = scratch_and_blob(side, width)
    assert cv2.connectedComponents(mask)[0] - 1 == 2
    native = aupro(disc[None].astype(float), mask[None])
    for size in (256, 128, 64):
        regions = resize_regions(mask, size)
        assert regions.max() == len(np.unique(regions)) - 1 == 2
        found = (resize_regions(disc, size) > 0).astype(float)
        assert aupro(found[None], regions[None]) == pytest.approx(native, abs=0.002)


def test_regions_that_touch_only_after_resizing_stay_two():
    mask = np.zeros((256, 256), np.uint8)
    mask[100:140, 60:127] = mask[100:140, 129:200] = 1
    regions = resize_regions(mask, 32)
    assert cv2.connectedComponents((regions > 0).astype(np.uint8))[0] - 1 == 1
    assert set(np.unique(regions)) == {0, 1, 2}
    assert (regions[:, 8:15] != 2).all() and (regions[:, 18:24] != 1).all()


@pytest.mark.parametrize("size", [32, 48, 64, 100])
def test_every_region_that_has_a_pixel_of_its_own_is_kept_also_when_growing(size):
    rng = np.random.default_rng(size)
    for _ in range(20):
        mask = (cv2.GaussianBlur(rng.normal(size=(70, 50)), (0, 0), 2) > 0.25).astype(np.uint8)
        regions, marked = resize_regions(mask, size), resize_mask(mask, size)
        assert regions.dtype == np.uint16 and np.array_equal(regions > 0, marked > 0)
        assert len(np.unique(regions)) - 1 >= 0.9 * (cv2.connectedComponents(mask)[0] - 1)
