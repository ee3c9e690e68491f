"""The student's tokenizer: the teacher's WordPiece vocabulary, pruned to 8 704 entries."""

from __future__ import annotations

import string
from collections import Counter
from typing import TYPE_CHECKING

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from .settings import BEGIN_ID, END_ID, MASK_TOKEN, SPECIAL_TOKENS, VOCABULARY_SIZE

if TYPE_CHECKING:
    import random
    from pathlib import Path

    from .corpus import Corpus
    from .settings import Workspace

COUNTED_PARAGRAPHS = 15_000
FIRST_CANDIDATE = 999  # ids below hold [unused…], special tokens and single characters
ZIPF_SHIFT = 990  # the prior of a piece is 1 / (rank - 990)
PRIOR_WEIGHT, DICTIONARY_WEIGHT, MANUALS_WEIGHT = 0.4, 0.4, 0.2
ENCODE_AT_ONCE = 5000


def read_vocabulary(teacher: Path) -> dict[str, int]:
    """Returns the teacher's pieces and their ids, which fall with frequency."""
    lines = (teacher / "vocab.txt").read_text(encoding="utf-8").split("\n")
    return {piece: index for index, piece in enumerate(lines) if piece}


def piece_shares(tokenizer: Tokenizer, texts: list[str]) -> dict[str, float]:
    """Returns each piece's share of all pieces in ``texts``."""
    counts: Counter[str] = Counter()
    for start in range(0, len(texts), ENCODE_AT_ONCE):
        batch = texts[start : start + ENCODE_AT_ONCE]
        for encoding in tokenizer.encode_batch(batch, add_special_tokens=False):
            counts.update(encoding.tokens)
    total = sum(counts.values())
    return {piece: count / total for piece, count in counts.items()}


def score_pieces(
    rank: dict[str, int], in_dictionary: dict[str, float], in_manuals: dict[str, float]
) -> dict[str, float]:
    """Returns how useful each ASCII piece is: a Zipf prior mixed with two observed shares."""
    zipf_total = sum(1 / (r - ZIPF_SHIFT) for r in range(1000, 30_522))
    scores = {}
    for piece, r in rank.items():
        letters = piece.removeprefix("##")
        is_long_number = letters.isdigit() and len(letters) > 2
        if r < FIRST_CANDIDATE or not piece.isascii() or is_long_number:
            continue
        scores[piece] = (
            PRIOR_WEIGHT / (r - ZIPF_SHIFT) / zipf_total
            + DICTIONARY_WEIGHT * in_dictionary.get(piece, 0)
            + MANUALS_WEIGHT * in_manuals.get(piece, 0)
        )
    return scores


def choose_pieces(rank: dict[str, int], scores: dict[str, float]) -> list[str]:
    """Returns the vocabulary in id order: specials, pieces by the teacher's rank, the mask.

    All single printable characters stay, so that no word in ASCII becomes unknown.
    """
    starts = [c for c in string.printable if c in rank and c.strip()]
    inner = [f"##{c}" for c in string.ascii_lowercase + string.digits if f"##{c}" in rank]
    characters = starts + inner
    others = sorted(
        scores.keys() - set(characters), key=lambda piece: (-scores[piece], rank[piece])
    )
    body = (characters + others)[: VOCABULARY_SIZE - len(SPECIAL_TOKENS) - 1]
    return [*SPECIAL_TOKENS, *sorted(body, key=rank.__getitem__), MASK_TOKEN]


def wordpiece_tokenizer(pieces: list[str]) -> Tokenizer:
    """Returns a lower-casing WordPiece tokenizer that frames texts as ``<s> … </s>``."""
    begin, end = SPECIAL_TOKENS[BEGIN_ID], SPECIAL_TOKENS[END_ID]
    tokenizer = Tokenizer(
        models.WordPiece(
            {piece: index for index, piece in enumerate(pieces)},
            unk_token="<unk>",  # noqa: S106 - a vocabulary entry, not a secret
            continuing_subword_prefix="##",
            max_input_chars_per_word=100,
        )
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True) for token in (*SPECIAL_TOKENS, MASK_TOKEN)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {end}",
        pair=f"{begin} $A {end} {end} $B {end}",
        special_tokens=[(begin, BEGIN_ID), (end, END_ID)],
    )
    return tokenizer


def build_tokenizer(
    work: Workspace,
    corpus: Corpus,
    paragraphs: list[str],
    rank: dict[str, int],
    rng: random.Random,
) -> list[str]:
    """Chooses the pieces, saves the tokenizer and returns the pieces in id order."""
    teacher = Tokenizer.from_file(str(work.teacher / "tokenizer.json"))
    teacher.no_padding()
    teacher.no_truncation()
    dictionary = []
    for index in corpus.training_synsets():
        synset = corpus.synsets[index]
        dictionary += [synset.gloss, *synset.examples, ", ".join(synset.lemmas)]
    in_dictionary = piece_shares(teacher, dictionary)
    in_manuals = piece_shares(teacher, rng.sample(paragraphs, COUNTED_PARAGRAPHS))
    pieces = choose_pieces(rank, score_pieces(rank, in_dictionary, in_manuals))
    wordpiece_tokenizer(pieces).save(str(work.tokenizer))
    return pieces
