from matplotlib.figure import Figure

from mamba_mender.report.picture import Picture


def test_the_file_is_what_the_page_shows(tmp_path):
    picture = Picture.of(Figure(figsize=(1, 1)), "nothing", "an empty frame")
    picture.save(tmp_path / "visualize" / "nothing.svg")
    assert (tmp_path / "visualize" / "nothing.svg").read_text().startswith("<?xml")
