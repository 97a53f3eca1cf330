import gzip

import pytest
import torch

from mamba_mender._check import UserError
from mamba_mender.data.idx import read_idx

VALUES = [[[1, 2, 3], [4, 5, 255]], [[7, 8, 9], [10, 11, 12]]]


@pytest.mark.parametrize("name", ["values", "values.gz"])
def test_reads_what_was_written(tmp_path, write_idx, name):
    assert read_idx(write_idx(tmp_path / name, VALUES)).tolist() == VALUES


def test_result_can_be_written_to(tmp_path, write_idx):
    values = read_idx(write_idx(tmp_path / "values", VALUES))
    assert values.add_(1).dtype == torch.uint8


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x89PNG1234", r"not an IDX file of bytes: .* starts with 0x89504e47.* check that it is the right file"),
        (b"\0\0\x0d\x01\0\0\0\0", "not an IDX file of bytes: .* starts with 0x00000d01"),
        (b"", "not an IDX file of bytes"),
        (b"\0\0\x08\x03\0\0\0\x02", "cut short within its header"),
        (b"\0\0\x08\x01\0\0\0\x05ab", r"has 2 values, but its header promises 5 \(5\). Download it again"),
        (b"\0\0\x08\x01\0\0\0\x01ab", "has 2 values, but its header promises 1"),
    ],
    ids=["png", "floats", "empty", "header", "short", "long"],
)
def test_bad_content_is_refused_by_name(tmp_path, content, message):
    (tmp_path / "values").write_bytes(content)
    with pytest.raises(UserError, match=f"(?s)values: {message}"):
        read_idx(tmp_path / "values")


def test_truncated_gzip_is_refused_by_name(tmp_path, write_idx):
    path = write_idx(tmp_path / "values.gz", VALUES)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"values.gz: the gzip file is cut short or damaged .*Download it again"):
        read_idx(path)


@pytest.mark.parametrize("place", [0, 12], ids=["magic", "body"])
def test_damaged_gzip_is_refused_by_name(tmp_path, place):
    content = bytearray(gzip.compress(bytes(range(256)), mtime=0))
    content[place] ^= 0xFF
    (tmp_path / "values.gz").write_bytes(content)
    with pytest.raises(UserError, match=r"values.gz: the gzip file is cut short or damaged"):
        read_idx(tmp_path / "values.gz")
