"""Words of the page that do not depend on the run: captions of the score figures, and the glossary."""

WORDS = (
    ("Arm", "One kind of training in the comparison. All arms start from the same base model."),
    (
        "Control",
        "The arm that trains on for as many steps as the others, on the same batches, but without any "
        "constraint. What it gains or loses is due to "
        "more training alone, so mending is measured against it and not against the base.",
    ),
    (
        "Token",
        "One square patch of the image. The network reads an image as a sequence of tokens and keeps a list of "
        "numbers, its state, for each.",
    ),
    ("Block", "One layer of the network. Block 0 is the first one; the embedding is what enters it."),
    (
        "State",
        "The numbers at one place inside a block: x before the convolution, c after it, s out of the scan, z at the "
        "gate, y out of the block, h what is handed on from block to block.",
    ),
    ("Channel", "One of the numbers that a state holds for every token."),
    (
        "Relevance, external correlation",
        "How much a token matters for the answer: its state times how fast the answer changes with that state. "
        "Shown as a map over the image.",
    ),
    ("Internal correlation", "The same for channels: which of them carry the answer, wherever in the image."),
    (
        "Mask",
        "Where the model should look: the object without its background, or, for planted patches, all but the patch.",
    ),
    (
        "Planted patch, decoy",
        "A grey square in a corner whose shade gives the label away in training and is random at test time. A model "
        "that learns to read it is right for the wrong reason, and fails when the patch is random.",
    ),
    (
        "Easy and hard images",
        "In each class, the images for which the model gives the right class the highest and the lowest probability.",
    ),
    (
        "What-if test",
        "Replace a part of the image by the same part of other images and see how far the answer moves: from 0, "
        "nothing changes, to 1, another answer for sure. It asks the model itself.",
    ),
    (
        "External score",
        "How much more the marked region supports the answer than the rest, times its overlap with the mask.",
    ),
    (
        "Simplicity, homogeneity",
        "Simplicity: how few channels a class uses. Homogeneity: how much its images agree on which.",
    ),
    (
        "95 % interval",
        "The range in which the true value plausibly lies, found by drawing the test images and seeds anew many times. "
        "A gain whose interval includes 0 may be luck.",
    ),
    ("Seed", "The number that fixes the random order of the training images. Several seeds show how much is luck."),
)

CAPTIONS = {
    "external": (
        "Outside the mask: the share of the relevance map that falls there; lower is better, and the dotted line is "
        "what an even map would have. Perturbation ratio: how sure the model is when only the region it marks is "
        "shown, divided by how sure it is when that region is hidden; above 1 the region carries the answer. "
        "Overlap: how well the region covers the mask (IoU, from 0 to 1). External score: ratio times overlap. "
        "Solid: before mending; dashed: after. Blue: easy images; orange: hard ones."
    ),
    "internal": (
        "Share of unused channels (simplicity): 1 when none, 0 when all are used. Agreement within a class "
        "(homogeneity): 1 when all images of a class use the same channels. Solid: before mending; "
        "dashed: after. Blue: easy images; orange: hard ones."
    ),
}
