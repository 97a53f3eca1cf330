"""Train a small Mamba of transformers on the characters of a text, on our kernels, and save it.

python examples/train_characters.py --text train.txt --validation val.txt --out runs/characters
The folder then holds a transformers model and vocabulary.json, which `mamba-mender inspect` reads.
"""

import argparse
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from transformers import MambaConfig, MambaForCausalLM

from mamba_mender import accelerate_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--validation", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/characters"))
    for name, value in {"steps": 700, "batch": 16, "length": 256, "width": 192, "layers": 6}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()

    torch.manual_seed(0)
    text, held_out = args.text.read_text(), args.validation.read_text()
    vocabulary = sorted(set(text) | set(held_out))
    number = {character: i for i, character in enumerate(vocabulary)}
    train, validation = (torch.tensor([number[c] for c in t]) for t in (text, held_out))
    sizes = {"hidden_size": args.width, "num_hidden_layers": args.layers}
    config = MambaConfig(vocab_size=len(vocabulary), use_cache=False, **sizes)
    model = MambaForCausalLM(config)
    accelerate_model(model)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.1, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, args.steps, pct_start=0.1)

    def loss_at(data: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
        ids = torch.stack([data[s : s + args.length + 1] for s in starts.tolist()])
        return F.cross_entropy(model(ids[:, :-1]).logits.flatten(0, 1), ids[:, 1:].flatten())

    for step in range(1, args.steps + 1):
        loss = loss_at(train, torch.randint(len(train) - args.length - 1, (args.batch,)))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 50 == 0 or step == args.steps:
            with torch.no_grad():
                held = loss_at(validation, torch.arange(0, len(validation) - args.length - 1, 4096)[:64])
            print(f"step {step}  loss of a batch {loss:.3f}  of held-out text {held:.3f}", flush=True)
    model.save_pretrained(args.out)
    (args.out / "vocabulary.json").write_text(json.dumps(vocabulary))


if __name__ == "__main__":
    main()
