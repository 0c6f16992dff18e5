"""What the names of folders and files say: normal images, masks."""

import re
import unicodedata

GOOD = "good"  # the name of the folder of normal images
# Other names that such a folder has in practice, in small letters, its words joined by blanks.
_GOOD_NAMES = {
    GOOD, "goods", "ok", "okay", "normal", "normals", "pass", "passed", "healthy", "nondefective",
    "non defective", "defect free", "no defect", "no defects", "no anomaly", "anomaly free", "gut",
    "io", "i o", "양품", "정상", "정상품", "良品", "正常", "合格", "合格品",
}  # fmt: skip
# Names that only sound so are asked about: these beginnings, these words alone, and "no" or "free"
# with a word for a fault.
_GOOD_BEGINNINGS = (
    "good", "normal", "healthy", "negative", "defectfree", "nodefect", "fehlerfrei", "flawless",
    "faultless", "defectless", "undamaged", "gutteil", "양호", "양품", "정상", "合格",
)  # fmt: skip
_GOOD_WORDS = {
    "clean", "intact", "reference", "nominal", "accept", "accepted", "passing", "perfect", "fine",
    "bueno", "buenos", "buono", "buoni", "bon", "bons", "bonne", "conforme", "良",
}  # fmt: skip
_FAULTS = ("defect", "anomal", "fault", "flaw", "error", "damage", "crack", "scratch", "fehler")
_WITHOUT = {"no", "non", "without", "zero", "free", "ohne"}
_NEGATIONS = {"no", "not", "non", "un", "bad"}
# Words in the name of a mask that lies beside its image, and folders that hold masks.
MASK_WORDS = {"mask", "masks", "gt", "label", "labels", "groundtruth", "annotation", "seg"}
_MASK_FOLDERS = {"mask", "masks", "gt", "groundtruth", "ground truth", "annotation", "annotations"}


def _words(name: str) -> list[str]:
    """The words of a name, in small letters: "0_OK-parts2" has "ok" and "parts"."""
    return re.findall(r"[^\W\d_]+", unicodedata.normalize("NFC", name.lower()))


def is_good_name(name: str) -> bool:
    """True for the usual names of a folder of normal images, such as good, OK and defect-free."""
    return " ".join(_words(name)) in _GOOD_NAMES


def is_mask_folder(name: str) -> bool:
    """True for names such as masks and Ground_Truth."""
    return " ".join(_words(name)) in _MASK_FOLDERS


def sounds_good(name: str) -> bool:
    """True for names such as ok_parts, fault-free or 0, but not for not_ok and no_label."""
    words = _words(name)
    has_fault = any(word.startswith(_FAULTS) for word in words)
    if name == "0" or (has_fault and _WITHOUT & {*words}) or " ".join(words) in _GOOD_WORDS:
        return True
    sounds = any(word in _GOOD_NAMES or word.startswith(_GOOD_BEGINNINGS) for word in words)
    return sounds and not _NEGATIONS & {*words}
