"""What is inspected: a model with the means to feed it, read from a file, a folder or the hub."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from mamba_mender._check import UserError, need
from mamba_mender.models import load_model, read_card

VOCABULARY = "vocabulary.json"
TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json")
Kind = Literal["image", "text"]


@dataclass(frozen=True, eq=False)
class Subject:
    """A model and how it is fed.

    model: what is inspected.
    name: what to call it.
    kind: "image" or "text".
    encode: text to token numbers, or None where texts come as token numbers.
    decode: a token number as it is shown.
    card: what the model's file says of its data: mean, std, classes.
    """

    model: nn.Module
    name: str
    kind: Kind
    encode: Callable[[str], list[int]] | None = None
    decode: Callable[[int], str] = str
    card: dict[str, Any] = field(default_factory=dict)

    def word(self, number: int) -> str:
        """Name a class or a token as the page shows it."""
        if self.kind == "text":
            return self.decode(number)
        classes = self.card.get("classes", [])
        return str(classes[number]) if number < len(classes) else str(number)


def take_subject(model: "Subject | nn.Module | str | Path", *, tokenizer: Any = None) -> Subject:
    """Take a model as it is, or read it from where a person says it is.

    Args:
        model: a model, or what this function made of one; a ``.safetensors`` file of ours or a published ``.pth``;
            a folder with such a ``model.safetensors`` or one of transformers; or a name on the hub, such as
            "state-spaces/mamba-130m-hf".
        tokenizer: one of transformers, or a list of characters; None takes the one beside the model.

    Returns:
        The model and how to feed it.

    Raises:
        UserError: there is no such model, it is damaged, or it has no head to predict with.
    """
    if isinstance(model, Subject):
        return model
    if isinstance(model, nn.Module):
        kind: Kind = "image" if hasattr(model, "img_size") else "text"
        return Subject(model, type(model).__name__, kind, *_coder(tokenizer))
    path = Path(model)
    if path.is_dir() and (path / "config.json").is_file():
        return _from_transformers(str(path), tokenizer)
    if path.is_dir() and (path / "model.safetensors").is_file():
        path = path / "model.safetensors"
    if path.suffix or path.exists() or str(model).count("/") != 1:
        if path.is_dir():
            raise UserError(f"inspect: the folder {str(path)!r} has neither config.json nor model.safetensors in it.")
        card = read_card(path) if path.suffix == ".safetensors" else {}
        about = card.get("data", {}) | ({"classes": card["classes"]} if "classes" in card else {})
        return Subject(load_model(path), path.name, "image", card=about)
    return _from_transformers(str(model), tokenizer)


def _from_transformers(name: str, tokenizer: Any) -> Subject:
    """Load a language model of transformers, with every weight it needs."""
    transformers = need("transformers", extra="language", where="inspect")
    local = Path(name).is_dir()
    try:
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            name, local_files_only=local, output_loading_info=True
        )
    except (OSError, ValueError) as error:
        first = str(error).strip().partition("\n")[0]
        hint = "check the folder" if local else "offline, download it elsewhere and give its folder"
        raise UserError(f"inspect: transformers cannot load {name!r} ({first}); {hint}.") from error
    if missing := sorted(info["missing_keys"]):
        raise UserError(
            f"inspect: {name!r} lacks the weights {missing[:3]}, so it cannot predict; "
            "give a model that was saved with its language head."
        )
    return Subject(model, Path(name).name, "text", *_coder(_tokenizer(name, local) if tokenizer is None else tokenizer))


def _tokenizer(name: str, local: bool) -> Any:
    """Read the tokenizer beside a model: one of transformers, or a list of characters."""
    vocabulary = Path(name) / VOCABULARY
    if local and vocabulary.is_file():
        try:
            characters = json.loads(vocabulary.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"inspect: {str(vocabulary)!r} is damaged ({error}).") from error
        if not isinstance(characters, list) or not all(isinstance(c, str) and len(c) == 1 for c in characters):
            raise UserError(f'inspect: {str(vocabulary)!r} must be a list of characters, as in ["a", "b"].')
        return characters
    if local and not any((Path(name) / file).is_file() for file in TOKENIZERS):
        return None
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(name, local_files_only=local)


def _coder(tokenizer: Any) -> tuple[Callable[[str], list[int]] | None, Callable[[int], str]]:
    """Make what turns text into numbers, and a number into what is shown."""
    if tokenizer is None:
        return None, str
    if isinstance(tokenizer, list | tuple):
        characters = list(tokenizer)
        return _characters(characters), lambda number: characters[number]
    return (
        lambda text: list(tokenizer(text, add_special_tokens=False)["input_ids"]),
        lambda number: tokenizer.decode([number]),
    )


def _characters(characters: list[str]) -> Callable[[str], list[int]]:
    number = {character: i for i, character in enumerate(characters)}

    def encode(text: str) -> list[int]:
        if unknown := sorted(set(text) - number.keys()):
            raise UserError(f"inspect: the model has no characters {unknown[:8]}; its vocabulary has {len(number)}.")
        return [number[character] for character in text]

    return encode


def describe(subject: Subject) -> dict[str, Any]:
    """Say what a model is, as JSON values."""
    model = subject.model
    config = getattr(model, "config", {})
    told = config if isinstance(config, dict) else config.to_dict()
    kept = {name: value for name, value in told.items() if isinstance(value, str | int | float | bool) and value != ""}
    dtypes = sorted({str(p.dtype).removeprefix("torch.") for p in model.parameters()})
    return {
        "name": subject.name,
        "kind": subject.kind,
        "architecture": type(model).__name__,
        "parameters": sum(p.numel() for p in model.parameters()),
        "dtype": ", ".join(dtypes),
        "device": str(next((p.device for p in model.parameters()), torch.device("cpu"))),
        "config": json.loads(json.dumps(kept, allow_nan=False, default=str)),
    }
