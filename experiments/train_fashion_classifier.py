"""Train the classifier behind `classifier_frechet` and write the weights that fdsr ships.

    python experiments/train_fashion_classifier.py [--folder FOLDER] [--epochs 18] [--output FILE]

Seeded; minutes on two cores; a run that was stopped goes on after its last epoch. Half of the training
images are flipped left to right; the 10 000 test images are used for the accuracy that the weights file states.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from fdsr.data.images.files import LabelledImages, download, find_folder, load
from fdsr.metrics.images.classifier import FashionClassifier

WEIGHTS = Path(__file__).parents[1] / "fdsr" / "metrics" / "weights" / "fashion_classifier.safetensors"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", default=None, help="folder of the IDX files (default: where fdsr finds them)")
    parser.add_argument("--epochs", type=int, default=18)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--lr", type=float, default=0.2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=WEIGHTS)
    arguments = parser.parse_args()

    folder = find_folder(arguments.folder, "cache/fashion-mnist") or download("cache/fashion-mnist")
    settings = {name: getattr(arguments, name) for name in ("epochs", "batch_size", "lr", "seed")}
    unfinished = arguments.output.with_name(f".{arguments.output.name}.unfinished")
    model = train(load(folder, "train"), **settings, unfinished=unfinished)
    correct = accuracy(model, load(folder, "test"))
    facts = {
        "test_accuracy": f"{correct:.4f}",
        "parameters": str(sum(p.numel() for p in model.parameters())),
        "training": json.dumps(settings),
        "data": "Fashion-MNIST, Xiao, Rasul and Vollgraf 2017, MIT licence",
    }
    partial = arguments.output.with_suffix(".partial")
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, partial, metadata=facts)
    partial.replace(arguments.output)
    unfinished.unlink(missing_ok=True)
    print(f"{arguments.output}: test accuracy {correct:.2%}")


def train(
    data: LabelledImages, epochs: int, batch_size: int, lr: float, seed: int, unfinished: Path
) -> FashionClassifier:
    """SGD with Nesterov momentum, one cycle of the learning rate, smoothed labels.

    After each epoch everything is saved to `unfinished`, from where a run with the same settings goes on.
    """
    torch.manual_seed(seed)
    model = FashionClassifier().to(memory_format=torch.channels_last).train()
    images, labels = data.images[:, None], data.labels.long()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4, nesterov=True)
    steps = len(images) // batch_size
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, epochs * steps, pct_start=0.2)
    settings = [epochs, batch_size, lr, seed]
    parts = {"model": model, "optimizer": optimizer, "schedule": schedule}
    first = 0
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    if unfinished.exists():
        saved = torch.load(unfinished, weights_only=True)
        if saved["settings"] == settings:
            first = saved["epoch"]
            for name, part in parts.items():
                part.load_state_dict(saved[name])
    with tqdm(total=epochs * steps, initial=first * steps, desc="classifier") as progress:
        for epoch in range(first, epochs):
            # each epoch has its own draws, so that a run which resumes draws what it would have drawn
            torch.manual_seed(int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0]))
            for chosen in torch.randperm(len(images))[: steps * batch_size].split(batch_size):
                loss = F.cross_entropy(model(augment(images[chosen])), labels[chosen], label_smoothing=0.05)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                progress.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
                progress.update()
            partial = unfinished.with_suffix(".partial")
            torch.save(
                {"settings": settings, "epoch": epoch + 1, **{k: v.state_dict() for k, v in parts.items()}}, partial
            )
            partial.replace(unfinished)
    return model.eval()


def augment(images: Tensor) -> Tensor:
    """Flip half of (B, 1, H, W) left to right."""
    return torch.where(torch.rand(len(images), 1, 1, 1) < 0.5, images.flip(-1), images)


@torch.inference_mode()
def accuracy(model: FashionClassifier, data: LabelledImages) -> float:
    hits = [
        (model(images[:, None]).argmax(1) == labels).sum()
        for images, labels in zip(data.images.split(500), data.labels.split(500), strict=True)
    ]
    return float(sum(hits)) / len(data.labels)


if __name__ == "__main__":
    main()
