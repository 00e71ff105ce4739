"""Lightning's Trainer: a step as a plain loop takes it, and training that is resumed from a checkpoint."""

import pytest
import torch

lightning = pytest.importorskip("lightning", reason="lightning is not installed: tools/clients has it")

from .models import assert_close, assert_moved, batches, made, optimizer_of, plain_loop, schedule_of  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
STEPS, ACCUMULATED = 3, 2
# Of one epoch, for Lightning resumes at the beginning of one.
DATA = batches(STEPS * ACCUMULATED)


class Module(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.model = made()

    def training_step(self, batch, _):
        return self.model(*batch)

    def configure_optimizers(self):
        optimizer = optimizer_of(self.model)
        schedule = {"scheduler": schedule_of(optimizer), "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": schedule}


def trained(folder, epochs: int, checkpoint=None) -> tuple[lightning.Trainer, Module]:
    module = Module()
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        accumulate_grad_batches=ACCUMULATED,
        gradient_clip_val=0.5,
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    trainer.fit(module, torch.utils.data.DataLoader(DATA, batch_size=None), ckpt_path=checkpoint)
    return trainer, module


def test_a_module_trains_as_a_plain_loop_does(tmp_path):
    _, module = trained(tmp_path, 2)
    assert_close(module.model, plain_loop(2 * DATA, ACCUMULATED, 0.5), 1e-6)
    assert_moved(module.model, made())


def test_resuming_changes_nothing(tmp_path):
    _, straight = trained(tmp_path, 2)
    trainer, _ = trained(tmp_path, 1)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    _, resumed = trained(tmp_path, 2, tmp_path / "half.ckpt")
    assert_close(resumed.model, straight.model, 0)
