import os
import time

import torch
from PIL import Image

from mamba_mender.data.content_hash import content_hash
from mamba_mender.data.file_images import FileImages
from mamba_mender.data.memory_images import MemoryImages


def test_sees_one_pixel_and_one_mask_value():
    images, masks = torch.zeros(4, 1, 3, 3, dtype=torch.uint8), torch.ones(4, 1, 3, 3, dtype=torch.bool)
    labels = torch.arange(4)
    brighter, opposite = images.clone(), ~masks
    brighter[3, 0, 2, 2] = 1
    sets = [(images, masks), (brighter, masks), (images, opposite)]
    marks = [content_hash(MemoryImages(pixels, labels, masks=where)) for pixels, where in sets]
    assert len(set(marks)) == 3
    assert content_hash(MemoryImages(images.clone(), labels, masks=masks.clone())) == marks[0]
    assert content_hash(MemoryImages(images, labels, masks=masks).subset(torch.tensor([1, 0, 2, 3]))) != marks[0]


def test_sees_that_an_image_or_mask_file_has_changed(tmp_path):
    files, masks = [tmp_path / "a.png", tmp_path / "b.png"], [tmp_path / "a-mask.png", None]
    for file in (*files, masks[0]):
        Image.new("L", (4, 4)).save(file)
    images = FileImages(files, torch.tensor([0, 1]), ["a", "b"], channels=1, size=(4, 4), masks=masks)
    marks = [content_hash(images)]
    for number, file in enumerate((files[1], masks[0]), start=1):
        os.utime(file, ns=(number, number))
        marks.append(content_hash(images))
    assert len(set(marks)) == 3
    assert content_hash(images) == marks[-1]


def test_sixty_thousand_images_take_under_a_second():
    images = MemoryImages(torch.zeros(60_000, 1, 28, 28, dtype=torch.uint8), torch.zeros(60_000))
    begun = time.process_time()
    content_hash(images)
    assert time.process_time() - begun < 1
