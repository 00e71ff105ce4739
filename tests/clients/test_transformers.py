"""Hugging Face's Trainer: the optimizer is one line, and training resumes to the bit."""

import os

import pytest
import torch

os.environ.setdefault("HF_HUB_OFFLINE", "1")
transformers = pytest.importorskip(
    "transformers", reason="transformers is not installed: tools/clients has it"
)
pytest.importorskip("accelerate", reason="accelerate, which Trainer needs, is not installed")

from .models import VOCABULARY, assert_close, assert_moved, batches, optimizer_of, schedule_of  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
STEPS, ACCUMULATED, BATCH = 6, 2, 4


def made() -> transformers.PreTrainedModel:
    """A Llama of random weights, with grouped heads."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=VOCABULARY, **sizes, **heads))


class Tokens(torch.utils.data.IterableDataset):
    """Examples in an order that no sampler changes."""

    def __iter__(self):
        for tokens, _ in batches(STEPS * ACCUMULATED):
            for row in tokens:
                yield {"input_ids": row, "labels": row}


def trained(folder, steps: int = STEPS, resume=None, **options) -> transformers.PreTrainedModel:
    model = made()
    optimizer = optimizer_of(model)
    arguments = transformers.TrainingArguments(
        output_dir=folder,
        max_steps=steps,
        per_device_train_batch_size=BATCH,
        gradient_accumulation_steps=ACCUMULATED,
        max_grad_norm=0.5,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        **{"save_strategy": "no", **options},
    )
    optimizers = optimizer, schedule_of(optimizer)
    trainer = transformers.Trainer(model, arguments, train_dataset=Tokens(), optimizers=optimizers)
    trainer.train(resume_from_checkpoint=resume)
    return model


def test_trainer_steps_as_a_plain_loop_does(tmp_path):
    model, twin = trained(tmp_path), made()
    optimizer = optimizer_of(twin)
    schedule = schedule_of(optimizer)
    data = iter(batches(STEPS * ACCUMULATED))
    for _ in range(STEPS):
        optimizer.zero_grad()
        for _ in range(ACCUMULATED):
            tokens, _ = next(data)
            (twin(input_ids=tokens, labels=tokens).loss / ACCUMULATED).backward()
        torch.nn.utils.clip_grad_norm_(twin.parameters(), 0.5)
        optimizer.step()
        schedule.step()
    # Trainer divides a sum over all accumulated tokens; AdamW's first steps turn rounding in gradients near
    # zero into as much of lr = 0.02 as it is of them.
    assert_close(model, twin, 1e-4)
    assert_moved(model, made())


def test_resuming_changes_nothing(tmp_path):
    straight = trained(tmp_path / "straight")
    trained(tmp_path / "resumed", save_strategy="steps", save_steps=STEPS // 2)
    resumed = trained(tmp_path / "resumed", resume=str(tmp_path / "resumed" / f"checkpoint-{STEPS // 2}"))
    assert_close(resumed, straight, 0)


def test_trainers_own_schedule_moves_the_rates_of_all_groups(tmp_path):
    model = made()
    optimizer = optimizer_of(model)
    arguments = transformers.TrainingArguments(
        output_dir=tmp_path, max_steps=4, warmup_steps=2, report_to="none", use_cpu=True, save_strategy="no"
    )
    trainer = transformers.Trainer(model, arguments, train_dataset=Tokens(), optimizers=(optimizer, None))
    trainer.train()
    assert len(optimizer.param_groups) == 2
    # The linear schedule has come to its end.
    assert [group["lr"] for group in optimizer.param_groups] == [0.0, 0.0]
