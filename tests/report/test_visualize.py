from PIL import Image

from mamba_mender.inspection import Diagnosis
from mamba_mender.report.visualize import visualize


def test_easy_and_hard_have_maps_and_channels(finished_run, tmp_path):
    paths = visualize(Diagnosis.load(finished_run), tmp_path)
    assert [str(path.relative_to(tmp_path / "visualize")) for path in paths] == [
        "hdata/external/maps.png",
        "hdata/internal/channels.png",
        "ldata/external/maps.png",
        "ldata/internal/channels.png",
    ]
    for path in paths:
        with Image.open(path) as image:
            assert min(image.size) > 200
            assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
