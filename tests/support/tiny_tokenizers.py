"""Small but real XLM-R tokenizers, counted from a corpus in this file.

The pieces are *counted*, not trained: the trainer of the `tokenizers` library sums floats in
parallel, so its result may differ from run to run; counting substrings cannot.

What is as in the published tokenizer: Unigram without byte fallback, `<s>`=0 `<pad>`=1 `</s>`=2
`<unk>`=3 and `<mask>` last, the template `<s> A </s>`, and an NFKC-like normaliser. The two layouts
of `tokenizer.json` in the wild differ in their pre-tokenizer, and so in the offsets they report:

    whitespace+metaspace   classic XLM-R   "a b" → ▁a (0, 1)  ▁b (2, 3)   spaces belong to no token
    metaspace              bge-m3          "a b" → ▁a (0, 1)  ▁b (1, 3)   a space opens its token,
                                                                          a last one is a token ▁
"""

from __future__ import annotations

import json
import math
import string
from collections import Counter
from typing import TYPE_CHECKING, Literal

from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import Unigram

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

Layout = Literal["whitespace+metaspace", "metaspace"]
LAYOUTS: tuple[Layout, ...] = ("whitespace+metaspace", "metaspace")

VOCAB_SIZE = 896
MAX_PIECE_LENGTH = 12
BAKED_TRUNCATION = 16  # tokens; shorter than any instruction plus a sentence
BAKED_PADDING = 24  # tokens; every encoding is filled up to it

BOS, PAD, EOS, UNK, MASK = "<s>", "<pad>", "</s>", "<unk>", "<mask>"
BOS_ID, PAD_ID, EOS_ID, UNK_ID = range(4)

CORPUS = (
    "Represent the query for retrieving evidence documents: ",
    "Represent the document for retrieval: ",
    "Represent the query for retrieving evidence documents: How do I reset the device?",
    "Represent the document for retrieval: Hold the button for ten seconds to reset the device.",
    "Berlin is the capital and largest city of Germany, both by area and by population.",
    "Its more than 3.85 million inhabitants make it the most populous city of the European Union.",
    "The city is also one of the states of Germany, and is the third smallest state by area.",
    "The quick brown fox jumps over the lazy dog, and the dog does not mind at all.",
    "A river runs through the old town; the bridge was built in 1902 and rebuilt in 1951.",
    "Late chunking reads the whole document first, and only then splits it into chunks.",
    "Every chunk keeps the context of the document, so a pronoun still knows its noun.",
    "What is the largest city in the European Union by population?",
    "The library opens at nine in the morning and closes at six in the evening.",
    "Water boils at 100 degrees Celsius at sea level, and at 93 degrees high in the mountains.",
    "The error was: connection refused (code 111). Please try again later!",
    "He said that the price had risen by 12.5 % in 2023; she did not agree with him.",
    "An embedding is a vector of numbers; texts of similar meaning have similar vectors.",
    "The doctor will see you now. Have you been waiting for a long time?",
    "In the beginning there was nothing, which exploded; so they say, and so it was written.",
    "Please send your application, with all documents, to the following address.",
    "Our train leaves in twenty minutes from platform 7, so we should hurry.",
    "It was a bright cold day in April, and the clocks were striking one in the afternoon.",
    "Berlin ist die Hauptstadt und ein Land der Bundesrepublik Deutschland.",
    "Die Stadt ist mit rund 3,85 Millionen Einwohnern die größte Stadt der Europäischen Union.",
    "Über den Wolken muß die Freiheit wohl grenzenlos sein; alle Ängste, alle Sorgen.",
    "Wo finde ich die Unterlagen für die Steuererklärung? Sie liegen schon auf dem Schreibtisch.",
    "柏林是德国的首都,也是德国最大的城市。柏林有三百八十五万人口。",
    "这座城市是欧盟人口最多的城市。我们今天去图书馆看书。",
    "東京は日本の首都であり、世界最大の都市の一つです。私は東京に住んでいます。",
    "今日はとても良い天気ですね。図書館で本を読みます。",
    "서울은 대한민국의 수도이며 가장 큰 도시이다.",
    "กรุงเทพมหานครเป็นเมืองหลวงของประเทศไทย และเป็นเมืองที่ใหญ่ที่สุดของประเทศไทย",
    "วันนี้อากาศดีมาก เราไปห้องสมุดกันเถอะ",
    "برلين هي عاصمة ألمانيا وأكبر مدينة فيها. يبلغ عدد سكانها أكثر من ثلاثة ملايين.",
    "القاهرة هي عاصمة مصر وأكبر مدنها.",
    "Great work 🙂🙂 see you soon 👍🏽 — the team 🎉",
    'He asked: "why?"; she replied (after a while): "why not?"... and that was all.',
    " ".join(string.ascii_letters + string.digits + string.punctuation),  # none of them is unknown
)


def tiny_tokenizer(layout: Layout, *, vocab_size: int = VOCAB_SIZE) -> Tokenizer:
    """A tokenizer with exactly `vocab_size` ids, the same one in every process.

    A `vocab_size` above `VOCAB_SIZE` is filled up with pieces that no text contains; ids of
    texts stay the same, except that of `<mask>`, which is always last.
    """
    tokenizer = Tokenizer(Unigram(_vocabulary(vocab_size), unk_id=UNK_ID, byte_fallback=False))
    tokenizer.normalizer = _normalizer()
    tokenizer.pre_tokenizer = _pre_tokenizer(layout)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A {EOS}",
        pair=f"{BOS} $A {EOS} {EOS} $B {EOS}",
        special_tokens=[(BOS, BOS_ID), (EOS, EOS_ID)],
    )
    tokenizer.add_special_tokens([_special(token) for token in (BOS, PAD, EOS, UNK, MASK)])
    return tokenizer


def write_tokenizer(
    folder: Path,
    layout: Layout = "whitespace+metaspace",
    *,
    model_max_length: int = 8194,
    baked_truncation: bool = False,
    baked_padding: bool = False,
    vocab_size: int = VOCAB_SIZE,
) -> Tokenizer:
    """Write the three tokenizer files of a model folder; returns what `tiny_tokenizer` would.

    Args:
        folder: Made if it does not exist.
        layout: The pre-tokenizer.
        model_max_length: Goes into `tokenizer_config.json`; counts the special tokens.
        baked_truncation: Leave a truncation to `BAKED_TRUNCATION` tokens in `tokenizer.json`, as
            some repositories do. A loader that does not switch it off loses text.
        baked_padding: Leave a padding to `BAKED_PADDING` tokens in `tokenizer.json`. A loader that
            does not switch it off embeds `<pad>`.
        vocab_size: As in `tiny_tokenizer`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = tiny_tokenizer(layout, vocab_size=vocab_size)
    if baked_truncation:
        tokenizer.enable_truncation(BAKED_TRUNCATION)
    if baked_padding:
        tokenizer.enable_padding(pad_id=PAD_ID, pad_token=PAD, length=BAKED_PADDING)
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_json(folder / "tokenizer_config.json", _tokenizer_config(model_max_length, vocab_size))
    _write_json(folder / "special_tokens_map.json", _special_tokens_map())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _normalizer() -> normalizers.Normalizer:
    """White space and control characters to spaces, NFKC, one space for many."""
    return normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )


def _pre_tokenizer(layout: Layout) -> pre_tokenizers.PreTokenizer:
    if layout == "metaspace":
        return pre_tokenizers.Metaspace()
    if layout == "whitespace+metaspace":
        return pre_tokenizers.Sequence(
            [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
        )
    msg = f"unknown tokenizer layout {layout!r}; choose from {LAYOUTS}"
    raise ValueError(msg)


def _vocabulary(vocab_size: int) -> list[tuple[str, float]]:
    """Pieces and their log probabilities, in the order of their ids."""
    words = _words(CORPUS)
    counts = _substring_counts(words)
    characters = sorted(piece for piece in counts if len(piece) == 1)
    candidates = {piece for piece in _closed(counts) if counts[piece] > 1 or piece in words}
    longer = sorted(candidates, key=lambda piece: (-_gain(piece, counts), piece))
    longer = longer[: VOCAB_SIZE - len(characters) - 5]  # the five specials
    total = sum(counts[piece] for piece in (*longer, *characters))
    pieces = [(piece, math.log(counts[piece] / total)) for piece in (*longer, *characters)]
    filler = [(f"\ue000{i}\ue000", -100.0) for i in range(vocab_size - VOCAB_SIZE)]
    specials = [(token, 0.0) for token in (BOS, PAD, EOS, UNK)]
    return [*specials, *pieces, *filler, (MASK, 0.0)]


def _words(texts: Iterable[str]) -> Counter[str]:
    """How often each `▁word` occurs in the normalised texts."""
    normalizer, split = _normalizer(), _pre_tokenizer("whitespace+metaspace")
    return Counter(
        word for text in texts for word, _ in split.pre_tokenize_str(normalizer.normalize_str(text))
    )


def _substring_counts(words: Counter[str]) -> Counter[str]:
    """How often each string of at most `MAX_PIECE_LENGTH` characters occurs inside the words."""
    counts: Counter[str] = Counter()
    for word, n in words.items():
        for start in range(len(word)):
            for end in range(start + 1, min(len(word), start + MAX_PIECE_LENGTH) + 1):
                counts[word[start:end]] += n
    return counts


def _closed(counts: Counter[str]) -> set[str]:
    """Substrings of two or more characters that no longer substring always contains."""
    swallowed = {
        part
        for piece, n in counts.items()
        for part in (piece[1:], piece[:-1])
        if counts.get(part) == n
    }
    return {piece for piece in counts if len(piece) > 1} - swallowed


def _gain(piece: str, counts: Counter[str]) -> int:
    """How many tokens the piece saves over single characters in the whole corpus."""
    return counts[piece] * (len(piece) - 1)


def _special(token: str) -> AddedToken:
    return AddedToken(token, lstrip=token == MASK, normalized=False, special=True)


def _tokenizer_config(model_max_length: int, vocab_size: int) -> dict[str, object]:
    ids = {BOS_ID: BOS, PAD_ID: PAD, EOS_ID: EOS, UNK_ID: UNK, vocab_size - 1: MASK}
    return {
        "added_tokens_decoder": {
            str(i): {**_special_json(token), "special": True} for i, token in ids.items()
        },
        "bos_token": BOS,
        "clean_up_tokenization_spaces": True,
        "cls_token": BOS,
        "eos_token": EOS,
        "mask_token": MASK,
        "model_max_length": model_max_length,
        "pad_token": PAD,
        "sep_token": EOS,
        "tokenizer_class": "XLMRobertaTokenizer",
        "unk_token": UNK,
    }


def _special_tokens_map() -> dict[str, object]:
    roles = {"bos": BOS, "cls": BOS, "eos": EOS, "mask": MASK, "pad": PAD, "sep": EOS, "unk": UNK}
    return {f"{role}_token": _special_json(token) for role, token in roles.items()}


def _special_json(token: str) -> dict[str, object]:
    return {
        "content": token,
        "lstrip": token == MASK,
        "normalized": False,
        "rstrip": False,
        "single_word": False,
    }


def _write_json(path: Path, content: dict[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
