"""The model card of a finished run, filled from its settings and results."""

from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from .compare import SPLIT_NAMES
from .config import RunConfig

_TEMPLATE = """\
---
{{ card_data }}
---

# {{ name }}

A small language model distilled with `discnb` (preset `{{ preset }}`): teacher `{{ teacher }}`, student
`{{ student }}`, {{ parameters }} parameters. The loss follows the per-token KL to the teacher, amplified where it
jumps (DISC); what that adds over plain distillation is measured in the project's ablation, not claimed here.

## Held-out figures

| | before | after | teacher |
|---|---|---|---|
{% for row in figures %}| {{ row.name }} | {{ row.before }} | {{ row.after }} | {{ row.teacher }} |
{% endfor %}
KL at temperature {{ temperature }}, per token, over {{ eval_samples }} held-out samples ({{ eval_tokens }} tokens).

## Files

| file | bytes | KL to PyTorch (nats/token) | top-1 agreement | tokens/s |
|---|---|---|---|---|
{% for row in files %}| `{{ row.name }}` | {{ row.bytes }} | {{ row.kl }} | {{ row.top1 }} | {{ row.speed }} |
{% endfor %}
Measured on the machine of the run, {{ threads }} threads.

## Right answers

| | {% for name in graded %}{{ name }} | {% endfor %}

|---|{% for name in graded %}---|{% endfor %}

{% for row in answers %}| {{ row }} |
{% endfor %}
Greedy derivations of held-out problems, the final answer graded; a text cut off before its answer is wrong.

## Prompt

```
Solve the following problem carefully and show a rigorous derivation.

Problem:
{question}

Proof:
```

The model writes the derivation, then `Final Answer:` and the answer.

## Data and licence

{{ licence_note }}
"""

_LICENCES = {
    "mini": (
        "apache-2.0",
        "Trained on `discnb`'s built-in corpus (Apache-2.0). The teacher's own licence applies to the weights.",
    ),
    "hub": (
        "cc-by-nc-sa-4.0",
        "Trained on the ten `0xZee/dataset-CoT-*` sets. They derive from SCP-116K, whose card says CC-BY-NC-SA-4.0: "
        "non-commercial use, share alike. No row of them is part of this repository.",
    ),
    "stream:": (
        "other",
        "Trained on `{source}`, whose licence holds for what is made of it, beside the teacher's own.",
    ),
}
"""By how `data.source` begins: the card's licence and what it says of it."""


def model_card(config: RunConfig, results: dict[str, Any]) -> str:
    """The card as Markdown with its YAML header, every figure taken from `results`."""
    kind = next((kind for kind in _LICENCES if config.data.source.startswith(kind)), "hub")  # a folder has copies of it
    licence, note = _LICENCES[kind]
    evaluation, gguf = results["eval"], results["gguf"]
    rows = (("KL", "kl"), ("KL at pivots", "pivot_kl"), ("KL elsewhere", "smooth_kl"), ("cross-entropy", "ce"),
            ("perplexity", "perplexity"), ("gap energy", "energy"))  # fmt: skip
    card = ModelCard.from_template(
        ModelCardData(
            license=licence,
            library_name="transformers",
            pipeline_tag="text-generation",
            tags=["distillation", "gguf", "discnb"],
        ),
        template_str=_TEMPLATE,
        name=f"{config.preset} (DISC)",
        preset=config.preset,
        teacher=results["teacher"],
        student=f"{config.student.model}, {results['student']['layers']} layers",
        parameters=f"{results['student']['parameters']:,}",
        figures=[
            {"name": label, **{when: f"{evaluation[when][key]:.4g}" for when in ("before", "after", "teacher")}}
            for label, key in rows
        ],
        temperature=config.objective.temperature,
        eval_samples=results["samples"]["used"]["eval"],
        eval_tokens=f"{evaluation['after']['tokens']:,}",
        files=[
            {
                "name": f"student-{kind}.gguf",
                "bytes": f"{facts['bytes']:,}",
                "kl": f"{facts['kl_to_torch']:.2e}",
                "top1": f"{facts['top1_agreement']:.2%}",
                "speed": f"{facts['tokens_per_second']:.0f}",
            }
            for kind, facts in gguf.items()
        ],
        threads=config.export.threads,
        graded=[SPLIT_NAMES[split] for split in results["grades"]["after"]],
        answers=[
            " | ".join([name, *(f"{report['correct']} of {report['problems']}" for report in reports.values())])
            for name, reports in results["grades"].items()
        ],
        licence_note=note.format(source=config.data.source),
    )
    return str(card)
