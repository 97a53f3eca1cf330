from mamba_mender.report.words import CAPTIONS, WORDS


def test_each_word_is_explained_once_in_a_sentence():
    names = [name for name, _ in WORDS]
    assert len(set(names)) == len(names)
    assert all(meaning.endswith(".") and len(meaning) > 30 for _, meaning in WORDS)
    assert all(caption.endswith(".") for caption in CAPTIONS.values())
