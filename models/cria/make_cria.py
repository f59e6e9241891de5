#!/usr/bin/env python3
"""Makes cria.gguf: a 3-million-parameter chat model whose answers can be checked.

A cria is a baby llama. It is trained from nothing on text that corpus.py writes, so that a test can know the right
answer to a prompt before it is asked: count, repeat, look up, add, spell, answer in JSON, call a tool.

Needs: python3-torch, python3-numpy, libopenblas0-pthread (Debian), and the gguf Python module that comes with
llama.cpp (PYTHONPATH=<llama.cpp>/gguf-py).

  make_cria.py corpus            # print sample conversations
  make_cria.py train  --minutes 60 --dir DIR
  make_cria.py eval   --dir DIR
  make_cria.py export --dir DIR --out cria-f32.gguf
"""
import argparse
import json
import math
import os
import random
import re
import time

from corpus import TEMPLATE, document
from tokenizer import SPECIALS, USER_DEFINED, Tokenizer, learn_merges

CONFIG = dict(dim=256, layers=4, heads=4, kv_heads=2, ffn=640, ctx=2048, merges=755, rope=10000.0, eps=1e-5)

LEARNED_WEIGHT = 1.0  # of an answer's tokens in the loss
CONTEXT_WEIGHT = .02  # of all others

# Our name of a block's tensor: llama.cpp's.
BLOCK_TENSORS = dict(attn_norm="attn_norm", ffn_norm="ffn_norm", q="attn_q", k="attn_k", v="attn_v", o="attn_output",
                     gate="ffn_gate", up="ffn_up", down="ffn_down")


def build(vocabulary):
    """The network, as llama.cpp's "llama" architecture computes it, with fresh weights."""
    import torch
    import torch.nn as nn
    import torch.nn.functional as F
    dim, heads, kv_heads, ffn = CONFIG["dim"], CONFIG["heads"], CONFIG["kv_heads"], CONFIG["ffn"]
    head_dim = dim // heads

    def linear(inputs, outputs):
        return nn.Linear(inputs, outputs, bias=False)

    def rotate(x, cos, sin):
        """Rotary positions over interleaved pairs."""
        even, odd = x[..., 0::2], x[..., 1::2]
        return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)

    class Norm(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(dim))

        def forward(self, x):
            return x * (torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + CONFIG["eps"]) * self.weight)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.attn_norm, self.ffn_norm = Norm(), Norm()
            self.q, self.k = linear(dim, heads * head_dim), linear(dim, kv_heads * head_dim)
            self.v, self.o = linear(dim, kv_heads * head_dim), linear(heads * head_dim, dim)
            self.gate, self.up, self.down = linear(dim, ffn), linear(dim, ffn), linear(ffn, dim)

        def forward(self, x, cos, sin, mask):
            rows, length, _ = x.shape
            h = self.attn_norm(x)
            q = rotate(self.q(h).view(rows, length, heads, head_dim).transpose(1, 2), cos, sin)
            k = rotate(self.k(h).view(rows, length, kv_heads, head_dim).transpose(1, 2), cos, sin)
            v = self.v(h).view(rows, length, kv_heads, head_dim).transpose(1, 2)
            k, v = k.repeat_interleave(heads // kv_heads, 1), v.repeat_interleave(heads // kv_heads, 1)
            attention = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(head_dim) + mask, -1) @ v
            x = x + self.o(attention.transpose(1, 2).reshape(rows, length, heads * head_dim))
            h = self.ffn_norm(x)
            return x + self.down(F.silu(self.gate(h)) * self.up(h))

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(vocabulary, dim)
            self.blocks = nn.ModuleList(Block() for _ in range(CONFIG["layers"]))
            self.norm = Norm()
            for name, parameter in self.named_parameters():
                if parameter.dim() == 2:
                    residual = name.endswith(("o.weight", "down.weight"))
                    scale = math.sqrt(2 * CONFIG["layers"]) if residual else 1
                    nn.init.normal_(parameter, std=.02 / scale)

        def forward(self, ids):
            length = ids.shape[1]
            positions = torch.arange(length).float()[:, None]
            frequencies = CONFIG["rope"] ** (-torch.arange(0, head_dim, 2).float() / head_dim)
            angles = positions * frequencies
            mask = torch.full((length, length), float("-inf")).triu(1)
            x = self.embed(ids)
            for block in self.blocks:
                x = block(x, angles.cos(), angles.sin(), mask)
            return self.norm(x) @ self.embed.weight.t()

    return Model()


def batches(tokenizer, seed, rows, length):
    """Batches of (input, target, weight); each row starts with a document and is filled up with more."""
    import torch
    rng = random.Random(seed)
    while True:
        all_ids, all_weights = [], []
        for _ in range(rows):
            ids, weights = [], []
            while len(ids) < length + 1:
                for text, is_answer in document(rng):
                    tokens = tokenizer.encode(text)
                    ids += tokens
                    weights += [LEARNED_WEIGHT if is_answer else CONTEXT_WEIGHT] * len(tokens)
            all_ids.append(ids[:length + 1])
            all_weights.append(weights[:length + 1])
        x, w = torch.tensor(all_ids), torch.tensor(all_weights)
        yield x[:, :-1], x[:, 1:], w[:, 1:]


def learning_rate(peak, step, fraction):
    """Rises over the first 100 steps, stands, and falls along a cosine over the last 70 % of the time."""
    decay = 1 if fraction < .3 else .5 * (1 + math.cos(math.pi * (fraction - .3) / .7)) * .97 + .03
    return peak * min(1, (step + 1) / 100) * decay


def load_tokenizer(directory):
    with open(f"{directory}/merges.json", encoding="utf-8") as file:
        return Tokenizer(json.load(file))


def train(options):
    """Trains for so many minutes; goes on where an earlier run in the same directory stopped."""
    import torch
    import torch.nn.functional as F
    torch.set_num_threads(options.threads)
    torch.manual_seed(7)
    os.makedirs(options.dir, exist_ok=True)
    merges, checkpoint = f"{options.dir}/merges.json", f"{options.dir}/model.pt"
    if not os.path.exists(merges):
        with open(merges, "w", encoding="utf-8") as file:
            json.dump(learn_merges(CONFIG["merges"]), file)
    tokenizer = load_tokenizer(options.dir)
    model = build(len(tokenizer.tokens))
    print("vocab", len(tokenizer.tokens), "params", sum(p.numel() for p in model.parameters()), flush=True)
    resumed = os.path.exists(checkpoint)
    if resumed:
        model.load_state_dict(torch.load(checkpoint))
        print("resumed", flush=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.lr, betas=(.9, .95), weight_decay=.05)
    start, total = time.time(), options.minutes * 60
    # A resumed run must not see the same text again.
    data = batches(tokenizer, int(start) if resumed else 11, options.batch, options.seq)
    step, average = 0, None
    while (elapsed := time.time() - start) < total:
        rate = learning_rate(options.lr, step, elapsed / total)
        for group in optimizer.param_groups:
            group["lr"] = rate
        x, y, weights = next(data)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(x)
        losses = F.cross_entropy(logits.float().flatten(0, 1), y.flatten(), reduction="none")
        loss = (losses * weights.flatten()).sum() / weights.sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average = loss.item() if average is None else .95 * average + .05 * loss.item()
        step += 1
        if step % 20 == 0:
            print(f"{elapsed:7.0f}s step {step} loss {average:.4f} lr {rate:.5f}", flush=True)
        if step % 200 == 0:
            torch.save(model.state_dict(), checkpoint)
    torch.save(model.state_dict(), checkpoint)
    evaluate(options)


KINDS = [  # the first pattern that a document contains names its kind
    ("tool", "<tools>"), ("think", "<think>"), ("count", "[Cc]ount"), ("repeat", "Repeat|Say exactly"),
    ("lookup", r"list\."), ("story", "story"), ("json", "JSON"), ("add", r"\d \S+ \d|Add"), ("memory", "My name")]


def kind_of(text):
    return next((kind for kind, pattern in KINDS if re.search(pattern, text)), "fact")


def evaluate(options, wanted=12):
    """Asks fresh prompts, greedily, and prints how many of each kind are answered exactly."""
    import torch
    torch.set_num_threads(options.threads)
    tokenizer = load_tokenizer(options.dir)
    model = build(len(tokenizer.tokens))
    model.load_state_dict(torch.load(f"{options.dir}/model.pt"))
    model.eval()
    end = tokenizer.id["<|im_end|>"]
    rng = random.Random(4242)
    right, asked = {}, {}

    def answer(ids, limit):
        got = list(ids)
        for _ in range(limit):
            got.append(int(model(torch.tensor([got]))[0, -1].argmax()))
            if got[-1] == end:
                break
        return got[len(ids):]

    def check(parts, kind):
        """Whether each answer of the document comes out; what does not is printed once."""
        ids, correct = [], True
        for text, is_answer in parts:
            tokens = tokenizer.encode(text)
            if is_answer:
                got = answer(ids, len(tokens) + 4)
                if got != tokens and correct:
                    print(kind, "| WANT", text[:90], "| GOT", tokenizer.decode(got)[:90], flush=True)
                    correct = False
            ids += tokens
        return correct

    seen = 0
    with torch.no_grad():
        while seen < wanted * 12:
            parts = document(rng)
            text = "".join(text for text, _ in parts)
            if "<|fim_prefix|>" in text:
                continue
            kind = kind_of(text)
            if kind == "story" or asked.get(kind, 0) >= wanted:
                seen += .2  # a kind that is drawn rarely must not keep this going for ever
                continue
            right[kind] = right.get(kind, 0) + check(parts, kind)
            asked[kind] = asked.get(kind, 0) + 1
            seen += 1
    print({kind: f"{right[kind]}/{asked[kind]}" for kind in sorted(asked)}, flush=True)


def export(options):
    """Writes the trained weights, the tokenizer and the chat template as a GGUF of 32-bit floats."""
    import gguf
    import numpy
    import torch
    tokenizer = load_tokenizer(options.dir)
    weights = torch.load(f"{options.dir}/model.pt")
    writer = gguf.GGUFWriter(options.out, "llama")
    writer.add_name("Cria")
    writer.add_description("A very small chat model whose answers can be checked; trained on synthetic text.")
    writer.add_license("MIT")
    writer.add_context_length(CONFIG["ctx"])
    writer.add_embedding_length(CONFIG["dim"])
    writer.add_block_count(CONFIG["layers"])
    writer.add_feed_forward_length(CONFIG["ffn"])
    writer.add_head_count(CONFIG["heads"])
    writer.add_head_count_kv(CONFIG["kv_heads"])
    writer.add_layer_norm_rms_eps(CONFIG["eps"])
    writer.add_rope_freq_base(CONFIG["rope"])
    writer.add_rope_dimension_count(CONFIG["dim"] // CONFIG["heads"])
    writer.add_vocab_size(len(tokenizer.tokens))
    writer.add_size_label("3M")
    add_tokenizer(writer, tokenizer)

    def put(name, tensor):
        writer.add_tensor(name, numpy.ascontiguousarray(tensor.float().numpy()))

    put("token_embd.weight", weights["embed.weight"])
    put("output_norm.weight", weights["norm.weight"])
    for layer in range(CONFIG["layers"]):
        for ours, theirs in BLOCK_TENSORS.items():
            put(f"blk.{layer}.{theirs}.weight", weights[f"blocks.{layer}.{ours}.weight"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_tokenizer(writer, tokenizer):
    import gguf

    def kind(token):
        if token in USER_DEFINED:
            return gguf.TokenType.USER_DEFINED
        return gguf.TokenType.CONTROL if token in SPECIALS else gguf.TokenType.NORMAL

    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokenizer.tokens)
    writer.add_token_types([kind(token) for token in tokenizer.tokens])
    writer.add_token_merges([f"{first} {second}" for first, second in tokenizer.merges])
    writer.add_bos_token_id(tokenizer.id["<|endoftext|>"])
    writer.add_eos_token_id(tokenizer.id["<|im_end|>"])
    writer.add_eot_token_id(tokenizer.id["<|im_end|>"])
    writer.add_pad_token_id(tokenizer.id["<|pad|>"])
    writer.add_uint32("tokenizer.ggml.fim_pre_token_id", tokenizer.id["<|fim_prefix|>"])
    writer.add_uint32("tokenizer.ggml.fim_suf_token_id", tokenizer.id["<|fim_suffix|>"])
    writer.add_uint32("tokenizer.ggml.fim_mid_token_id", tokenizer.id["<|fim_middle|>"])
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)


def print_corpus(_):
    rng = random.Random(3)
    for _ in range(12):
        print("".join(text for text, _ in document(rng)))
        print("-----")


def main():
    parser = argparse.ArgumentParser(description="Makes cria.gguf")
    parser.add_argument("what", choices=["corpus", "train", "eval", "export"])
    parser.add_argument("--dir", default="cria-work")
    parser.add_argument("--out", default="cria-f32.gguf")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seq", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    {"corpus": print_corpus, "train": train, "eval": evaluate, "export": export}[options.what](options)


if __name__ == "__main__":
    main()
