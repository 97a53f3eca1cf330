import pytest
import torch

from mamba_mender.data import make_loader
from mamba_mender.data.decode import UnreadableImageError
from mamba_mender.data.file_images import FileImages

pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),  # on a machine with one core
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),  # Python 3.12 and fork
]


@pytest.fixture
def build(image_folder):
    def build(masks=None):
        files = sorted(image_folder.rglob("*.png"))
        labels = torch.tensor(["ab".index(file.parent.name) for file in files])
        names = [file.name for file in files]
        return FileImages(files, labels, names, channels=1, size=(8, 8), masks=masks)

    return build


def batches_equal(a, b):
    masks_equal = (a.masks is None and b.masks is None) or torch.equal(a.masks, b.masks)
    return masks_equal and all(
        torch.equal(getattr(a, name), getattr(b, name)) for name in ("images", "labels", "has_mask", "indices")
    )


@pytest.mark.parametrize("masks", [None, "nonzero", "otsu"])
def test_files_and_memory_give_the_same(build, masks):
    files = build(masks)
    memory = files.in_memory([(image * 255).to(torch.uint8) for image in files.batch(torch.arange(20)).images])
    chosen = torch.tensor([7, 0, 19, 3])
    for one, other in [
        (files, memory),
        (files.subset(chosen), memory.subset(chosen)),
        (files.with_masks_only_for(chosen[:2]), memory.with_masks_only_for(chosen[:2])),
    ]:
        indices = torch.tensor([1, 3, 0])
        assert batches_equal(one.batch(indices), other.batch(indices))
        assert one.names == other.names
        assert torch.equal(one.has_mask, other.has_mask)


def test_masks_come_from_their_files(build, mask_folder):
    files = build()
    masks = [mask_folder / name for name in files.names]
    masks[2] = None
    batch = build(masks).batch(torch.arange(20))
    assert batch.has_mask.tolist() == [number != 2 for number in range(20)]
    assert batch.masks[2].all()
    assert torch.equal(batch.masks[batch.has_mask], batch.images[batch.has_mask] > 0)


def test_empty_mask_counts_as_none(build, mask_folder, write_image):
    files = build()
    masks = [mask_folder / name for name in files.names]
    write_image(masks[0], torch.zeros(8, 8))
    batch = build(masks).batch(torch.tensor([0, 1]))
    assert batch.has_mask.tolist() == [False, True]
    assert batch.masks[0].all()


def test_damaged_file_is_named_also_from_a_worker(build):
    files = build()
    files.files[4].write_bytes(files.files[4].read_bytes()[:40])
    with pytest.raises(UnreadableImageError, match=files.names[4]):
        files.batch(torch.tensor([4]))
    with pytest.raises(UnreadableImageError, match=files.names[4]):
        list(make_loader(files, 5, shuffle=False, workers=1))


def test_empty_batch(build):
    assert build().batch(torch.tensor([], dtype=torch.long)).images.shape == (0, 1, 8, 8)


def test_rejects_disagreeing_counts(tmp_path):
    with pytest.raises(ValueError, match="1 files, 2 labels and 1 names"):
        FileImages([tmp_path], torch.zeros(2), ["a"], channels=1, size=(8, 8))
