"""What the name of a folder says, in the ways that people write it."""

import unicodedata

import pytest

from diffad_lib.datasets.names import (
    is_good_name,
    is_leftover,
    is_mask_folder,
    masked_folder,
    sounds_good,
)

GOOD_NAMES = [
    "good", "OK", "0_OK", "ＯＫ", "OKay", "i.O.", "iO", "Normal", "defect-free", "AnomalyFree",
    "NoAnomaly", "NonDefective", "DEFECT_FREE", "합격", "합격품", "무결함", "이상없음", "이상 없음",
    "正常品", "無異常", "无异常", "無缺陷", "異常なし", "欠陥なし", "良品1",
]  # fmt: skip
ASKED = [
    "0", "not_defective", "not_damaged", "NotDefective", "FaultFree", "faultfree", "NoCrack",
    "nocrack", "CrackFree", "crack-free", "OKParts", "GOODparts", "Ｇｏｏｄ　ｐａｒｔｓ",
    "undamaged", "flawless", "fehlerfrei", "ohne_Fehler", "free_of_defects", "无缺陷产品",
    "결함 없음 2차", "합격_1차", "正常サンプル", "异常なし",
]  # fmt: skip
DEFECTS = [
    "not_ok", "NotOK", "NOK", "NG", "abnormal", "bonding", "no_label", "NoLabel", "notch", "Notch",
    "notch_crack", "nonwoven", "NonWoven", "nonconforming", "not_ok_crack", "불합격", "不合格",
    "비정상", "不正常", "非正常", "이상", "결함", "異常", "crack", "Crack2", "scratch_head",
]  # fmt: skip


@pytest.mark.parametrize("name", GOOD_NAMES)
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_the_usual_names_of_normal_images_are_known(name, form) -> None:
    assert is_good_name(unicodedata.normalize(form, name))


@pytest.mark.parametrize("name", ASKED)
def test_a_name_that_only_sounds_good_is_asked_about(name) -> None:
    assert sounds_good(name) and not is_good_name(name)


@pytest.mark.parametrize("name", DEFECTS)
def test_the_name_of_a_defect_is_not_asked_about(name) -> None:
    assert not sounds_good(name) and not is_good_name(name)


def test_a_folder_of_masks_is_known_by_its_name_or_by_the_folder_beside_it() -> None:
    assert all(map(is_mask_folder, ("masks", "Ground_Truth", "GroundTruth", "GT", "마스크", "msk")))
    assert not any(map(is_mask_folder, ("label", "crack_mask", "ground", "truth")))
    there = ["good", "crack", "crack_2", "label", "labels", "no_label", "gum_mask"]
    assert masked_folder("Crack-Masks", there) == "crack"
    assert masked_folder("gt_crack_2", there) == "crack_2"
    assert masked_folder("good_groundTruth", there) == "good"
    for name in (*there, "crack_3_mask"):
        assert masked_folder(name, there) is None


def test_what_file_managers_leave_is_known_whatever_its_case() -> None:
    assert all(map(is_leftover, (".DS_Store", "._000.png", "Thumbs.db", "Desktop.ini", "__MACOSX")))
    assert not any(map(is_leftover, ("000.png", "thumbs", "desktop.png")))
