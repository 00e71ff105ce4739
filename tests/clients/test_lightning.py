"""Lightning's Trainer."""

import pytest
import torch

lightning = pytest.importorskip("lightning", reason="lightning is not installed: tools/clients has it")

from .client import ACCUMULATED, HALF, NORM, Client, schedule_of  # noqa: E402


class Module(lightning.LightningModule):
    def __init__(self, client):
        super().__init__()
        self.client = client
        self.model = client.made()

    def training_step(self, batch, _):
        return self.client.loss(self.model, batch)

    def configure_optimizers(self):
        optimizer = self.client.optimizer_of(self.model)
        schedule = {"scheduler": schedule_of(optimizer), "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": schedule}


class TestLightning(Client):
    def trained(self, folder, steps, resume=False):
        module = Module(self)
        trainer = lightning.Trainer(
            accelerator="cpu",
            max_epochs=steps // HALF,
            accumulate_grad_batches=ACCUMULATED,
            gradient_clip_val=NORM,
            default_root_dir=folder,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        data = torch.utils.data.DataLoader(self.epoch(), batch_size=None)
        trainer.fit(module, data, ckpt_path=folder / "last.ckpt" if resume else None)
        trainer.save_checkpoint(folder / "last.ckpt")
        return module.model
