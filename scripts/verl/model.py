"""A tiny random language model, its tokenizer and a data set, made on the spot: nothing is downloaded."""

import random
import sys
from pathlib import Path

TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


def write_model(folder: Path) -> None:
    """Write a model of two layers with a tokenizer of one character a token."""
    import transformers
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    words = {word: number for number, word in enumerate(["<pad>", "<|im_end|>", *"0123456789+=ĠĊ"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<|im_end|>", chat_template=TEMPLATE
    )
    fast.save_pretrained(folder)
    config = transformers.Qwen2Config(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        eos_token_id=1,
        pad_token_id=0,
        bos_token_id=None,
        tie_word_embeddings=False,
    )
    transformers.Qwen2ForCausalLM(config).save_pretrained(folder)


def write_data(file: Path, rows: int) -> None:
    """Write sums of two digits."""
    import pandas

    source = random.Random(0)
    digits = [(source.randint(0, 9), source.randint(0, 9)) for _ in range(rows)]
    pandas.DataFrame(
        [
            {
                "data_source": "sums",
                "prompt": [{"role": "user", "content": f"{one}+{other}="}],
                "reward_model": {"style": "rule", "ground_truth": str(one + other)},
                "extra_info": {"index": number},
            }
            for number, (one, other) in enumerate(digits)
        ]
    ).to_parquet(file)


def compute_score(solution_str: str, ground_truth: str, **_: object) -> float:
    """Return the reward: digits of the answer that occur in the response, less what else there is."""
    digits = sum(digit in solution_str for digit in ground_truth)
    return digits / len(ground_truth) - 0.02 * len(solution_str)


if __name__ == "__main__":
    here = Path(sys.argv[1])
    write_model(here / "model")
    write_data(here / "train.parquet", 64)
    write_data(here / "val.parquet", 8)
