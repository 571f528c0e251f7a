"""One derivation as a sequence of marked tokens, ready to draw."""

from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from ..objective import SequenceSignals


@dataclass(frozen=True, slots=True)
class TokenStrip:
    """A sequence's tokens, each with the signals of the position that predicts it (KL in nats).

    The first token, which nothing predicts, has KL 0 and no mark.
    """

    tokens: list[str]
    kl: list[float]
    pivot: list[bool]
    singular: list[bool]

    @classmethod
    def build(cls, tokenizer: PreTrainedTokenizerBase, input_ids: list[int], signals: SequenceSignals) -> "TokenStrip":
        """The strip of `input_ids` `[T+1]` and the signals `[T]` of its predictions."""
        pieces = [str(tokenizer.decode([token])) for token in input_ids]
        return cls(
            pieces,
            [0.0, *signals.kl.tolist()],
            [False, *signals.pivot.tolist()],
            [False, *signals.singular.tolist()],
        )
