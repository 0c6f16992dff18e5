"""MVTec AD: its facts. Its layout is the one that `scan_tree` reads."""

from diffad_lib.datasets.dataset import Archive, Dataset, categories_of

DATASET = Dataset(
    key="mvtec",
    title="MVTec AD",
    folder="mvtec",
    licence="CC BY-NC-SA 4.0",
    citation=(
        "P. Bergmann, M. Fauser, D. Sattlegger, C. Steger. MVTec AD – A Comprehensive Real-World "
        "Dataset for Unsupervised Anomaly Detection. CVPR 2019."
    ),
    homepage="https://www.mvtec.com/company/research/datasets/mvtec-ad",
    one_size=True,
    categories=categories_of(
        "texture",
        "carpet 280/28/89, grid 264/21/57, leather 245/32/92, tile 230/33/84, wood 247/19/60, "
        "zipper 240/32/119",
    )
    | categories_of(
        "object",
        "bottle 209/20/63, cable 224/58/92, capsule 219/23/109, hazelnut 391/40/70, "
        "metal_nut 220/22/93, pill 267/26/141, screw 320/41/119, toothbrush 60/12/30, "
        "transistor 213/60/40",
    ),
    archives=(
        Archive(
            urls=(
                "https://www.mydrive.ch/shares/150996/b52ecdcbf521176e9db9c731f2304b27/download/"
                "420938113-1629960298/mvtec_anomaly_detection.tar.xz",
                "https://www.mydrive.ch/shares/38536/3830184030e49fe74747669442f0f282/download/"
                "420938113-1629952094/mvtec_anomaly_detection.tar.xz",
            ),
            filename="mvtec_anomaly_detection.tar.xz",
            extract_to="mvtec",
            sha256="cf4313b13603bec67abb49ca959488f7eedce2a9f7795ec54446c649ac98cd3d",
            manual=(
                "get mvtec_anomaly_detection.tar.xz from the download form at "
                "https://www.mvtec.com/company/research/datasets/mvtec-ad"
            ),
        ),
    ),
)
