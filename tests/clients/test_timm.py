"""timm: its optimizer factory, schedules, scaler and checkpoints; and which of its weights are matrices."""

import pytest
import torch
from torch import nn

timm = pytest.importorskip("timm", reason="timm is not installed: tools/clients has it")

from timm.models import resume_checkpoint  # noqa: E402
from timm.optim import OptimInfo, create_optimizer_v2  # noqa: E402
from timm.optim._optim_factory import default_registry  # noqa: E402
from timm.scheduler import create_scheduler_v2  # noqa: E402
from timm.utils import CheckpointSaver, NativeScaler  # noqa: E402

from prism_compile.optim import MuonWithAdamW, split_parameters  # noqa: E402

from ..matrices import gaussian  # noqa: E402
from .client import ACCUMULATED, BATCH, HALF, NORM, Client  # noqa: E402

CLASSES = 3
# Without biases of keys, whose gradients are rounding alone.
TINY = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 4, "qkv_bias": False}
default_registry.register(OptimInfo("muonwithadamw", MuonWithAdamW, has_eps=False))


def image(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise with a colour for each class."""
    wanted = (torch.arange(BATCH) + seed) % CLASSES
    colours = nn.functional.one_hot(wanted, CLASSES)[:, :, None, None]
    return gaussian(BATCH, CLASSES, 32, 32, seed=seed).float() + colours, wanted


class TestTimm(Client):
    def made(self):
        torch.manual_seed(0)
        return timm.create_model("vit_tiny_patch16_224", num_classes=CLASSES, **TINY)

    def epoch(self):
        return [image(seed) for seed in range(HALF * ACCUMULATED)]

    def loss(self, model, batch):
        images, wanted = batch
        return nn.functional.cross_entropy(model(images), wanted)

    def trained(self, folder, steps, resume=False):
        model, scaler = self.made(), NativeScaler(device="cpu")
        optimizer = create_optimizer_v2(
            model, "muonwithadamw", lr=0.02, weight_decay=0.1, param_group_fn=split_parameters, compile=False
        )
        # Epochs of a step each.
        schedule, _ = create_scheduler_v2(optimizer, "cosine", num_epochs=20)
        first = resume_checkpoint(model, folder / "last.pth.tar", optimizer, scaler) if resume else 0
        schedule.step(first)
        for step in range(first, steps):
            batches = (2 * self.epoch())[ACCUMULATED * step : ACCUMULATED * (step + 1)]
            for number, batch in enumerate(batches, start=1):
                scaler(
                    self.loss(model, batch) / ACCUMULATED,
                    optimizer,
                    clip_grad=NORM,
                    parameters=model.parameters(),
                    need_update=number == ACCUMULATED,
                )
            optimizer.zero_grad()
            schedule.step(step + 1)
        folder.mkdir(exist_ok=True)
        saver = CheckpointSaver(model, optimizer, amp_scaler=scaler, checkpoint_dir=folder)
        saver.save_checkpoint(steps - 1)
        return model


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vit_tiny_patch16_224", TINY),
        ("test_resnet", {}),
        ("test_convnext", {}),
        ("test_efficientnet", {}),
        ("test_mambaout", {}),
    ],
)
def test_matrices_are_what_timm_calls_neither_first_nor_classifier(name, options):
    model = timm.create_model(name, num_classes=10, **options)
    ends = {model.pretrained_cfg["first_conv"], model.pretrained_cfg["classifier"]}
    expected = {
        f"{layer}.weight"
        for layer, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d) and getattr(module, "groups", 1) == 1
    } - {f"{layer}.weight" for layer in ends}
    matrices, _ = split_parameters(model)
    assert {name for group in matrices for name, _ in group["params"]} == expected
