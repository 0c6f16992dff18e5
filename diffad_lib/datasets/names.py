"""What the names of folders and files say: normal images, masks, leftovers."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

GOOD = "good"  # the name of the folder of normal images
# Other names that such a folder has in practice, in small letters, its words joined by blanks.
_GOOD_NAMES = {
    GOOD, "goods", "ok", "okay", "normal", "normals", "pass", "passed", "healthy", "nondefective",
    "non defective", "defect free", "no defect", "no defects", "no anomaly", "anomaly free", "gut",
    "io", "i o", "양품", "정상", "정상품", "합격", "합격품", "무결함", "이상없음", "이상 없음",
    "결함없음", "결함 없음", "良品", "正常", "正常品", "合格", "合格品", "無異常", "无异常",
    "無缺陷", "无缺陷", "無欠陥", "異常なし", "異常無し", "欠陥なし",
}  # fmt: skip
# Names that only sound so are asked about: these beginnings, these words alone, and a word for a
# fault with one for "without".
_GOOD_BEGINNINGS = (
    "good", "normal", "healthy", "negative", "gutteil", "양호", "양품", "정상", "합격", "良品",
    "正常", "合格",
)  # fmt: skip
_GOOD_WORDS = {
    "clean", "intact", "reference", "nominal", "accept", "accepted", "passing", "perfect", "fine",
    "bueno", "buenos", "buono", "buoni", "bon", "bons", "bonne", "conforme", "良",
}  # fmt: skip
_FAULTS = (
    "defect", "anomal", "fault", "flaw", "error", "damage", "crack", "scratch", "fehler", "결함",
    "이상", "불량", "異常", "异常", "缺陷", "欠陥",
)  # fmt: skip
_WITHOUT = {"no", "non", "without", "zero", "free", "ohne", "없음", "なし", "無し"}
_FAULT = f"(?:{'|'.join(_FAULTS)})"
_FAULTLESS = re.compile(  # also in one word
    rf"\b(?:no|non|not|un|ohne|무|無|无) ?{_FAULT}"
    rf"|\b{_FAULT}\w*(?:free|less|frei|없|なし|無し)"
)
_NEGATIONS = {"no", "not", "non", "un", "bad"}
# Words in the name of a mask that lies beside its image, and folders that hold masks.
_MASK_FOLDERS = {
    "mask", "masks", "msk", "gt", "groundtruth", "annotation", "annotations", "segmentation",
    "segmentations", "마스크", "マスク", "掩码",
}  # fmt: skip
_MASK_WORDS = _MASK_FOLDERS | {"label", "labels", "seg", "annotated", "라벨", "标注"}
_LEFTOVERS = {"thumbs.db", "desktop.ini", "__macosx"}
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def nfc(name: str) -> str:
    """A name in one Unicode form: a folder copied from a Mac has another than a keyboard gives."""
    return unicodedata.normalize("NFC", name)


def _parts(name: str) -> list[str]:
    """The words and numbers of a name, in small letters: "0_OKParts2" is "0", "ok", "parts", "2".

    Letters of full width are the usual ones; ground truth is one word.
    """
    apart = _CAMEL.sub(" ", unicodedata.normalize("NFKC", name)).lower()
    joined = re.sub(r"ground[\W_]+truth", "groundtruth", apart)
    return re.findall(r"[0-9]+|[^\W\d_]+", joined)


def _words(name: str) -> str:
    """The words of a name, joined by blanks."""
    return " ".join(part for part in _parts(name) if not part.isdecimal())


def is_good_name(name: str) -> bool:
    """True for the usual names of a folder of normal images, such as good, OK and defect-free."""
    return not _GOOD_NAMES.isdisjoint((_words(name), _words(name.lower())))  # OKay is one word


def sounds_good(name: str) -> bool:
    """True for names such as ok_parts, fault-free or 0, but not for not_ok and no_label."""
    return name == "0" or any(map(_sound_good, (_words(name), _words(name.lower()))))


def _sound_good(text: str) -> bool:
    words = text.split()
    has_fault = any(word.startswith(_FAULTS) for word in words)
    if (has_fault and _WITHOUT & {*words}) or _FAULTLESS.search(text) or text in _GOOD_WORDS:
        return True
    sounds = any(word in _GOOD_NAMES or word.startswith(_GOOD_BEGINNINGS) for word in words)
    return sounds and not _NEGATIONS & {*words}


def is_mask_folder(name: str) -> bool:
    """True for names such as masks and Ground_Truth."""
    return _words(name) in _MASK_FOLDERS


def masked_folder(name: str, others: Iterable[str]) -> str | None:
    """That of the other folders whose masks one seems to hold by its name: crack of crack_mask."""
    parts = _parts(name)
    rest = _without_mask_words(parts)
    if not rest or len(rest) == len(parts):
        return None
    return next((other for other in others if tuple(_parts(other)) == rest), None)


def masks_among(images: Sequence[Path], place: str) -> Iterator[str]:
    """Problems: images that are called as the mask of another one is, in any common way.

    Where all are called so, as pictures of a face mask may be, they are taken as images.
    """
    words = {image: _parts(image.stem) for image in images}
    plain = {tuple(found) for found in words.values() if not _MASK_WORDS & {*found}}
    for image, found in words.items():
        rest = _without_mask_words(found)
        has_twin = any(rest[: len(other)] == other for other in plain if other)
        if len(rest) < len(found) and (has_twin or (plain and "mask" in found)):
            yield f"{image} would be read as an image; move masks into {place}"


def _without_mask_words(parts: Sequence[str]) -> tuple[str, ...]:
    return tuple(part for part in parts if part not in _MASK_WORDS)


def is_leftover(name: str) -> bool:
    """True for hidden files and for what file managers leave."""
    return name.startswith(".") or name.lower() in _LEFTOVERS
