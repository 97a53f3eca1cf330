import pytest

from mamba_mender._check import UserError
from mamba_mender.data.find import find_data, idx_file


@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path):
    monkeypatch.delenv("MAMBA_MENDER_DATA", raising=False)
    monkeypatch.chdir(tmp_path)


def put(folder, name="train-images-idx3-ubyte.gz"):
    folder.mkdir(parents=True)
    (folder / name).write_bytes(b"")
    return folder


@pytest.mark.parametrize("place", ["data/things", "shared/data/things"])
def test_looks_in_folders_above(monkeypatch, tmp_path, place):
    folder = put(tmp_path / place)
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    assert find_data("things") == folder


def test_environment_comes_first(monkeypatch, tmp_path):
    put(tmp_path / "data" / "things")
    told = put(tmp_path / "elsewhere" / "things")
    monkeypatch.setenv("MAMBA_MENDER_DATA", str(tmp_path / "elsewhere"))
    assert find_data("things") == told


def test_folder_without_the_images_is_passed_over(tmp_path):
    put(tmp_path / "data" / "things", "readme.txt")
    folder = put(tmp_path / "shared" / "data" / "things")
    assert find_data("things") == folder


def test_missing_data_says_which_files_to_put_where(tmp_path):
    with pytest.raises(
        UserError,
        match=r"'things' were not found. Put train-images-idx3-ubyte.gz, .*t10k-labels-idx1-ubyte.gz into "
        rf"{tmp_path}/data/things or into \$MAMBA_MENDER_DATA/things",
    ):
        find_data("things")


@pytest.mark.parametrize(
    "name",
    ["t10k-labels-idx1-ubyte.gz", "t10k-labels-idx1-ubyte", "t10k-labels.idx1-ubyte", "t10k-labels.idx1-ubyte.gz"],
)
def test_known_spellings_of_file_names(tmp_path, name):
    folder = put(tmp_path / "things", name)
    assert idx_file(folder, "test", "labels") == folder / name
    assert idx_file(folder, "train", "labels") is None
