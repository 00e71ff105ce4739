"""Hugging Face's Trainer: the optimizer is one line."""

import os

import pytest
import torch

os.environ.setdefault("HF_HUB_OFFLINE", "1")
transformers = pytest.importorskip(
    "transformers", reason="transformers is not installed: tools/clients has it"
)
pytest.importorskip("accelerate", reason="accelerate, which Trainer needs, is not installed")

from .client import ACCUMULATED, BATCH, HALF, NORM, VOCABULARY, Client, schedule_of  # noqa: E402


class Tokens(torch.utils.data.IterableDataset):
    """Examples in an order that no sampler changes."""

    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        for tokens, _ in self.batches:
            for row in tokens:
                yield {"input_ids": row, "labels": row}


class TestTransformers(Client):
    # Trainer divides a sum over all accumulated tokens; AdamW's first steps turn rounding in gradients near
    # zero into as much of lr = 0.02 as it is of them.
    tolerance = 1e-4

    def made(self):
        """A Llama of random weights, with grouped heads."""
        torch.manual_seed(0)
        sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
        heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
        config = transformers.LlamaConfig(vocab_size=VOCABULARY, **sizes, **heads)
        return transformers.LlamaForCausalLM(config)

    def loss(self, model, batch):
        return model(input_ids=batch[0], labels=batch[0]).loss

    def trainer_of(self, folder, optimizers, model, steps, **options):
        arguments = transformers.TrainingArguments(
            output_dir=folder,
            max_steps=steps,
            save_steps=steps,
            per_device_train_batch_size=BATCH,
            report_to="none",
            use_cpu=True,
            disable_tqdm=True,
            **options,
        )
        data = Tokens(2 * self.epoch())
        return transformers.Trainer(model, arguments, train_dataset=data, optimizers=optimizers)

    def trained(self, folder, steps, resume=False):
        model = self.made()
        optimizer = self.optimizer_of(model)
        training = {"gradient_accumulation_steps": ACCUMULATED, "max_grad_norm": NORM}
        trainer = self.trainer_of(folder, (optimizer, schedule_of(optimizer)), model, steps, **training)
        trainer.train(resume_from_checkpoint=str(folder / f"checkpoint-{HALF}") if resume else None)
        return model

    def test_trainers_own_schedule_moves_the_rates_of_all_groups(self, tmp_path):
        model = self.made()
        optimizer = self.optimizer_of(model)
        self.trainer_of(tmp_path, (optimizer, None), model, 4, warmup_steps=2).train()
        assert len(optimizer.param_groups) == 2
        # The linear schedule has come to its end.
        assert [group["lr"] for group in optimizer.param_groups] == [0.0, 0.0]
