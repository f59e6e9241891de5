"""cria's tokenizer: byte-level byte-pair encoding, as llama.cpp's "gpt-2" pre-tokenizer reads it."""
import random
import re

from corpus import document

SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>", "</tool_call>",
            "<tool_response>", "</tool_response>", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|pad|>"]
# Specials that stay in the text, so that a server can find thoughts and tool calls in it.
USER_DEFINED = {"<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"}

WORD = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+")
SPECIAL = re.compile("(" + "|".join(re.escape(special) for special in SPECIALS) + ")")


def byte_characters():
    """GPT-2's printable character for each byte."""
    plain = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    others = [byte for byte in range(256) if byte not in plain]
    characters = {byte: chr(byte) for byte in plain}
    characters.update({byte: chr(256 + index) for index, byte in enumerate(others)})
    return characters


CHARACTERS = byte_characters()


class Tokenizer:
    """Text to token ids and back."""

    def __init__(self, merges):
        self.merges = [tuple(merge) for merge in merges]
        self.rank = {merge: rank for rank, merge in enumerate(self.merges)}
        self.tokens = [CHARACTERS[byte] for byte in range(256)] + ["".join(merge) for merge in self.merges] + SPECIALS
        self.id = {token: index for index, token in enumerate(self.tokens)}
        self.cache = {}

    def word(self, word):
        if word not in self.cache:
            parts = [CHARACTERS[byte] for byte in word.encode()]
            while len(parts) > 1:
                known = [(self.rank[pair], i) for i, pair in enumerate(zip(parts, parts[1:])) if pair in self.rank]
                if not known:
                    break
                _, i = min(known)
                parts[i:i + 2] = [parts[i] + parts[i + 1]]
            self.cache[word] = [self.id[part] for part in parts]
        return self.cache[word]

    def encode(self, text):
        ids = []
        for part in SPECIAL.split(text):
            if part in SPECIALS:
                ids.append(self.id[part])
            else:
                for word in WORD.findall(part):
                    ids += self.word(word)
        return ids

    def decode(self, ids):
        byte_of = {character: byte for byte, character in CHARACTERS.items()}

        def token_bytes(token):
            return token.encode() if token in SPECIALS else bytes(byte_of[character] for character in token)

        return b"".join(token_bytes(self.tokens[i]) for i in ids).decode("utf-8", "replace")


def learn_merges(merges_wanted, documents=12000, seed=1):
    """The most frequent pairs of the corpus, one after the other."""
    rng = random.Random(seed)
    counts = {}
    for _ in range(documents):
        for text, _ in document(rng):
            for part in SPECIAL.split(text):
                if part not in SPECIALS:
                    for word in WORD.findall(part):
                        counts[word] = counts.get(word, 0) + 1
    words = [([CHARACTERS[byte] for byte in word.encode()], count) for word, count in counts.items()]
    merges = []
    while len(merges) < merges_wanted:
        pairs = {}
        for parts, count in words:
            for pair in zip(parts, parts[1:]):
                pairs[pair] = pairs.get(pair, 0) + count
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        for parts, _ in words:
            merge_pair(parts, best)
    return merges


def merge_pair(parts, pair):
    """Joins each occurrence of `pair` in the list `parts`, in place."""
    i = 0
    while i < len(parts) - 1:
        if (parts[i], parts[i + 1]) == pair:
            parts[i:i + 2] = [parts[i] + parts[i + 1]]
        i += 1
