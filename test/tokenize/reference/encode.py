"""Trains small tokenizers of every family of the field, and tokenizes with them as engines do.

Called with a folder, where it writes NAME/tokenizer.json for each; then reads one JSON object a line and answers one a line:
  {"names": true}                     -> {"names": [...]}
  {"load": NAME, "path": FILE?}       -> {}
  {"encode": NAME, "text": TEXT, "special": BOOL} -> {"ids": [...]}
  {"decode": NAME, "ids": [...]}      -> {"text": TEXT}
"""

import json
import os
import random
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

SPECIAL = ["<unk>", "<s>", "</s>"]
GPT4 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PHI4 = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
)
POSSESSIVE = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
WORDS = (
    "the of and model server request token cache block prefix The HELLO don't we've 12345 2026 größe café naïve привет мир "
    "Ελλάδα שלום مرحبا नमस्ते 你好 世界 こんにちは 한국어 ไทย ﬁne ① ½ İstanbul ß 👩‍👩‍👧 🇫🇷 😀 <b> {} [] -> == // \t \n\n"
).split(" ")


def corpus():
    draw = random.Random(7)
    for _ in range(400):
        yield " ".join(draw.choice(WORDS) for _ in range(draw.randint(1, 14)))


def byte_level(tokenizer, regex, prefix=False):
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=regex)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def train_bpe(tokenizer, alphabet=(), size=700, **options):
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=SPECIAL, initial_alphabet=list(alphabet), show_progress=False, **options
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


def bytes_alphabet():
    return pre_tokenizers.ByteLevel.alphabet()


def gpt2():
    return train_bpe(byte_level(Tokenizer(models.BPE()), True), bytes_alphabet())


def gpt2_prefix():
    return train_bpe(byte_level(Tokenizer(models.BPE()), True, True), bytes_alphabet())


def llama3():
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    byte_level(tokenizer, False)
    split = pre_tokenizers.Split(Regex(GPT4), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, tokenizer.pre_tokenizer])
    train_bpe(tokenizer, bytes_alphabet())
    bos = tokenizer.token_to_id("<s>")
    template = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", bos)])
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    return tokenizer


def qwen():
    tokenizer = llama3()
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def split_by(pattern, behavior="isolated"):
    tokenizer = Tokenizer(models.BPE())
    byte_level(tokenizer, False)
    split = pre_tokenizers.Split(Regex(pattern), behavior, invert=behavior == "removed")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, tokenizer.pre_tokenizer])
    return train_bpe(tokenizer, bytes_alphabet())


def normalized(normalizer):
    tokenizer = gpt2()
    tokenizer.normalizer = normalizer
    return tokenizer


def punctuation():
    tokenizer = byte_level(Tokenizer(models.BPE()), False)
    parts = [pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.Digits(False), tokenizer.pre_tokenizer]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(parts)
    return train_bpe(tokenizer, bytes_alphabet())


def deepseek():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"[\r\n]"), "isolated"),
            pre_tokenizers.Split(Regex(r"\s?[A-Za-zµÀ-ÖØ-öø-ƺ]+"), "isolated"),
            pre_tokenizers.Split(Regex(r"\s?[!-/:-~！-／：-～‘-‟　-。]+"), "isolated"),
            pre_tokenizers.Split(Regex(r"\s+$"), "isolated"),
            pre_tokenizers.Split(Regex(r"[一-龥ࠀ-一가-퟿]+"), "isolated"),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return train_bpe(tokenizer, bytes_alphabet())


def with_bytes(tokenizer):
    """The 256 tokens of byte fallback, as sentencepiece's models have them."""
    trained = json.loads(tokenizer.to_str())
    vocab = trained["model"]["vocab"]
    tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    if isinstance(vocab, dict):
        for token in tokens:
            vocab[token] = len(vocab)
    else:
        vocab.extend([token, -20.0] for token in tokens)
    trained["model"]["byte_fallback"] = True
    if trained["model"]["type"] == "BPE":
        trained["model"]["unk_token"] = "<unk>"
        trained["model"]["fuse_unk"] = True
    return Tokenizer.from_str(json.dumps(trained))


def spaces_decoder(strip):
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    return decoders.Sequence(parts + ([decoders.Strip(" ", 1, 0)] if strip else []))


def llama2():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = spaces_decoder(True)
    tokenizer = with_bytes(train_bpe(tokenizer, max_token_length=12))
    bos = tokenizer.token_to_id("<s>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", bos)]
    )
    return tokenizer


def gemma():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = spaces_decoder(False)
    return with_bytes(train_bpe(tokenizer, max_token_length=12))


def mistral():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = spaces_decoder(True)
    return with_bytes(train_bpe(tokenizer, max_token_length=12))


def unigram(normalizer, scheme):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme=scheme)
    trainer = trainers.UnigramTrainer(
        vocab_size=400, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


def t5():
    spaces = normalizers.Replace(Regex(" {2,}"), " ")
    return unigram(normalizers.Sequence([normalizers.NFKC(), normalizers.Strip(), spaces]), "always")


def unigram_nfkc():
    return unigram(normalizers.NFKC(), "always")


def unigram_plain():
    return unigram(normalizers.Sequence([]), "first")


def xlm():
    return with_bytes(unigram(normalizers.NFKC(), "first"))


def wordpiece(normalizer, pre_tokenizer):
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=500, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(corpus(), trainer)
    ends = [("<s>", tokenizer.token_to_id("<s>")), ("</s>", tokenizer.token_to_id("</s>"))]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=ends
    )
    return tokenizer


def bert():
    return wordpiece(normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer())


def bert_cased():
    return wordpiece(normalizers.BertNormalizer(lowercase=False), pre_tokenizers.BertPreTokenizer())


def accents():
    steps = [normalizers.NFD(), normalizers.Lowercase(), normalizers.StripAccents()]
    return wordpiece(normalizers.Sequence(steps), pre_tokenizers.Whitespace())


def whitespace_split():
    return wordpiece(normalizers.NFKD(), pre_tokenizers.WhitespaceSplit())


def added(tokenizer, **options):
    tokens = ["<|im_start|>", "<|tool|>", "model", "你好"]
    tokenizer.add_tokens([AddedToken(token, **options) for token in tokens])
    return tokenizer


FAMILIES = {
    "gpt2": gpt2,
    "gpt2-prefix": gpt2_prefix,
    "llama3": llama3,
    "qwen": qwen,
    "deepseek": deepseek,
    "llama2": llama2,
    "gemma": gemma,
    "mistral": mistral,
    "t5": t5,
    "unigram-nfkc": unigram_nfkc,
    "unigram-plain": unigram_plain,
    "xlm": xlm,
    "o200k": lambda: split_by(O200K),
    "possessive": lambda: split_by(POSSESSIVE),
    "phi4": lambda: split_by(PHI4),
    "digits": lambda: split_by(r"\d+|\D+", "removed"),
    "lines": lambda: split_by(r"^.*$|\b\w+\b"),
    "punctuation": punctuation,
    "lowercase": lambda: normalized(normalizers.Lowercase()),
    "nfkc": lambda: normalized(normalizers.NFKC()),
    "nfd": lambda: normalized(normalizers.NFD()),
    "strip": lambda: normalized(normalizers.Strip()),
    "replace-regex": lambda: normalized(normalizers.Replace(Regex(r"\s+"), " ")),
    "bert": bert,
    "bert-cased": bert_cased,
    "accents": accents,
    "whitespace": whitespace_split,
    "qwen-added": lambda: added(qwen(), normalized=False),
    "qwen-normalized": lambda: added(qwen(), normalized=True),
    "qwen-strip": lambda: added(qwen(), normalized=False, lstrip=True, rstrip=True),
    "qwen-words": lambda: added(qwen(), normalized=False, single_word=True),
    "llama2-added": lambda: added(llama2(), normalized=False),
    "llama2-normalized": lambda: added(llama2(), normalized=True),
    "mistral-added": lambda: added(mistral(), normalized=False),
    "unigram-added": lambda: added(unigram_nfkc(), normalized=False),
    "t5-added": lambda: added(t5(), normalized=False, lstrip=True),
    "bert-added": lambda: added(bert(), normalized=True),
}


def build(folder):
    for name, make in FAMILIES.items():
        os.makedirs(os.path.join(folder, name), exist_ok=True)
        make().save(os.path.join(folder, name, "tokenizer.json"))


def main(folder):
    build(folder)
    loaded = {}
    for line in sys.stdin:
        question = json.loads(line)
        if "names" in question:
            answer = {"names": list(FAMILIES)}
        elif "load" in question:
            name = question["load"]
            path = question.get("path", os.path.join(folder, name, "tokenizer.json"))
            loaded[name] = Tokenizer.from_file(path)
            answer = {}
        elif "encode" in question:
            encoding = loaded[question["encode"]].encode(question["text"], add_special_tokens=question["special"])
            answer = {"ids": encoding.ids}
        else:
            answer = {"text": loaded[question["decode"]].decode(question["ids"], skip_special_tokens=True)}
        print(json.dumps(answer), flush=True)


main(sys.argv[1])
