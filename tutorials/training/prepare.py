"""From three sets of recordings and five speech synthesisers to one file of labelled sounds, `sounds.npz`.

    python prepare.py --fsdd fsdd.tar --commands gsc.tar --one-speaker digits.tar --kokoro kokoro-js-1.2.1.tgz

Recorded digits come from the Free Spoken Digit Dataset (ten digits, six men, 8 kHz; CC BY-SA 4.0, Zohar Jackson and
contributors), Speech Commands (four digits and eight other words, about 1,200 speakers; CC BY 4.0, Pete Warden,
Google) and one more man (five digits; MIT, the project
felixchenfy/ros_speech_commands_classification). Synthetic ones come from espeak-ng, flite, pico, Festival and
Kokoro. `unknown` comes from other words by the same people and voices, alone and in rows, from digits taken apart, and
from synthetic sounds. Silence needs no recordings: training makes its noises as it goes.

Needs numpy, scipy, soundfile, ttspico (which holds pico), the programs espeak-ng, flite, festival and sox, the voices
of `FESTIVAL`, and the packages that kokoro.py names. The same seed gives the same file (on another kind of processor,
Kokoro's part may differ in the last bits).
"""

import argparse
import concurrent.futures
import functools
import hashlib
import io
import pathlib
import subprocess
import tarfile
import tempfile
import threading
import time
import wave

import kokoro
import numpy as np
from scipy import signal

RATE = 16000
LABELS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "unknown", "silence")
UNKNOWN, SILENCE = LABELS.index("unknown"), LABELS.index("silence")
KOKORO = 2  # settings of each of Kokoro's voices
TALK = len(LABELS)  # unknown words in a row, until they are labelled
HELD_TAKES = range(5, 10)  # of each digit and speaker: never trained on

DIALECTS = ("en-us", "en-gb", "en-gb-x-rp", "en-us-nyc", "en-gb-scotland", "en-gb-x-gbcwmd", "en-gb-x-gbclan", "en-029")
WOMEN = """
    f1 f2 f3 f4 f5 Alicia Andrea Annie anika aunty belinda grandma linda shelby steph steph2 steph3 whisperf
""".split()  # noqa: SIM905
MEN = """
    m1 m2 m3 m4 m5 m6 m7 m8 adam Alex Andy Denis Diogo Gene Henrique Hugo Jacky Lee Marco Mario Michael Mike Nguyen
    antonio benjamin boris caleb david ed edward grandpa iven iven2 john klatt klatt2 klatt3 klatt4 marcelo max michel
    miguel norbert pablo paul pedro quincy rob robert sandro travis victor zac
""".split()  # noqa: SIM905
HELD_VOICES = ("f3", "linda", "Andrea", "steph2", "m7", "klatt3", "Michael", "david", "awb", "suo_fi_lj_diphone",
               "czech_machac", "af_nova", "am_puck", "bf_lily", "bm_lewis")  # fmt: skip
FLITE = ("slt", "slt", "slt", "rms", "kal16", "kal", "awb")  # slt, the one woman, three times
PICO = ("en-US", "en-GB")  # both women
# Festival's voices were recorded from people, most of whom speak other languages: five women, six men and a boy.
FESTIVAL = {"ked_diphone": "English", "lp_diphone": "Italian", "pc_diphone": "Italian", "upc_ca_ona_hts": "Catalan",
            "czech_dita": "Czech", "czech_krb": "Czech", "czech_machac": "Czech", "czech_ph": "Czech",
            "suo_fi_lj_diphone": "Finnish", "hy_fi_mv_diphone": "Finnish", "msu_ru_nsh_clunits": "Russian",
            "telugu_NSK_diphone": "Telugu"}  # fmt: skip
ABROAD = ("de-DE", "es-ES", "fr-FR", "it-IT")  # pico's other voices: four more women
SPELT = {  # by language or voice: the digits as it has to read them, to speak English with its accent
    "English": " ".join(LABELS[:10]),
    "Italian": "zirou|ziro uan tuu|tù tri|thri foor|for fajv|fàiv six sèven|sevn èit|eight nàin|najn",
    "Catalan": "zirou uan|guan tu tri|thri for faiv six|sics sèven|sevn èit|eight nàin|nain",
    "Czech": "zirou|zírou uan|van tů tri|sri fór fajv siks sevn|seven ejt najn|naen",
    "Finnish": "siirou|ziro uan tuu tri|srii foor faif|faiv siks seven eit nain|najn",
    "Russian": "зироу уан ту сри|три фор файв сикс севен эйт найн",
    "Telugu": "జీరో వన్ టూ త్రీ ఫోర్ ఫైవ్ సిక్స్ సెవెన్ ఎయిట్ నైన్",
    "de-DE": "siro|siero uann|wann tuh|tu thri|srie for|foor faiv|faif ssix|ßix ßewwen äjt|ähit neinn|nain",
    "es-ES": "siro|sírou uan|guan tú|tu fri|zri foor faiv|fáif siks|six seven|séven eit|heit nain|nayn",
    "fr-FR": "ziirô|zirô ouane tou|toou srie|srî - - sixe|sixse sevenne eillte naillne",
    "it-IT": "zìrou|ziro uan tu tri|thri foor|for fajv|faiv six|sics sevn|sèvn eight|eit nàin|najn",
}  # -: no spelling was found that the voice reads well enough
OTHER_WORDS = {  # where a voice cannot read Latin letters
    "Russian": "дом стол окно вода рука день ночь утро город дорога книга школа мама папа хлеб молоко снег дождь лето "
    "зима сад лес поле река море небо солнце работа время человек друг слово",
    "Telugu": "ఇల్లు నీరు చెట్టు పువ్వు పక్షి పుస్తకం బడి అమ్మ నాన్న అన్న అక్క తమ్ముడు రోజు రాత్రి ఉదయం నగరం దారి "
    "ఆకాశం సూర్యుడు చంద్రుడు సముద్రం నది కొండ అడవి పాలు అన్నం పండు చేప కుక్క పిల్లి గుర్రం ఏనుగు",
}
ENCODINGS = {"Czech": "iso-8859-2", "Russian": "utf-8", "Telugu": "utf-8"}  # of what a voice reads; else iso-8859-1
SOURCES = {  # what the options name
    "fsdd": "a tar of recordings/*.wav of the Free Spoken Digit Dataset, Jakobovski/free-spoken-digit-dataset",
    "commands": "a tar of Speech Commands' clips as FLAC, {word}/{speaker}_nohash_{n}.flac",
    "one_speaker": "a tar of FLAC files {word}/*.flac, one to five, of felixchenfy/ros_speech_commands_classification",
    "kokoro": "the archive that `npm pack kokoro-js@1.2.1` fetches",
}
# What people say to machines (the words of Speech Commands), as far as there is no recording of them here.
COMMANDS = ("on", "off", "yes", "no", "stop", "tree", "sheila", "marvin", "wow", "bird", "dog", "house", "follow",
            "forward", "backward", "learn", "visual")  # fmt: skip
ENDINGS = ("", ".", "?", "!", ",")  # punctuation changes the intonation


def read_wav(data):
    """Bytes of a 16 bit mono WAV -> (samples in -1..1, rate)."""
    with wave.open(io.BytesIO(data)) as f:
        rate, samples = f.getframerate(), np.frombuffer(f.readframes(f.getnframes()), "<i2")
    return samples.astype(np.float32) / 32768, rate


def resampled(x, rate):
    """To 16 kHz."""
    if rate == RATE:
        return x
    step = np.gcd(rate, RATE)
    return signal.resample_poly(x, RATE // step, rate // step).astype(np.float32)


def loud_frames(x, share):
    """Which frames of 80 samples, 5 ms, have a peak of at least this share of the highest: their numbers."""
    frames = np.abs(x[: len(x) // 80 * 80].reshape(-1, 80)).max(1)
    return np.flatnonzero(frames >= share * frames.max(initial=0))


def trimmed(x, margin=0.02, share=0.015):
    """Without what is quieter than this share of the peak at both ends, but for a margin in seconds."""
    loud = loud_frames(x, share)
    if len(loud) == 0:
        return x
    keep = int(margin * RATE)
    return x[max(0, loud[0] * 80 - keep) : (loud[-1] + 1) * 80 + keep]


def another_voice(x, size, tempo):
    """A speaker with a vocal tract `size` times shorter (pitch and formants move together), `tempo` times as fast."""
    effects = ["speed", f"{size:.4f}", "tempo", "-s", f"{tempo / size:.4f}"]
    raw = ["-t", "raw", "-e", "float", "-b", "32", "-r", str(RATE), "-c", "1"]
    done = subprocess.run(["sox", "-V1", *raw, "-", *raw, "-", *effects, "rate", str(RATE)],
                          input=x.astype("<f4").tobytes(), capture_output=True, check=True)  # fmt: skip
    return np.frombuffer(done.stdout, "<f4")


def of_size(x, size):
    """Synthetic speech by a speaker with a vocal tract `size` times shorter, no faster; too short a sound as it is."""
    return another_voice(x, size, 1.0) if size != 1 and len(x) > 800 else x


def shift(recording, size, tempo):
    """A recorded digit in another voice; its group says so."""
    x, label, group, held = recording
    return another_voice(x, size, tempo), label, "shifted/" + group.split("/", 1)[1], held


def espeak(text, voice, pitch, speed):
    command = ["espeak-ng", "-v", voice, "-p", str(pitch), "-s", str(speed), "--stdout", text]
    data = subprocess.run(command, capture_output=True, check=True).stdout
    data = data[:40] + (len(data) - 44).to_bytes(4, "little") + data[44:]  # a stream's header does not know its length
    return trimmed(resampled(*read_wav(data)))


def flite(text, voice, pitch, stretch, out):
    options = ["--setf", f"int_f0_target_mean={pitch}", "--setf", f"duration_stretch={stretch}"]
    subprocess.run(["flite", "-voice", voice, *options, "-t", text, "-o", str(out)], check=True)
    x = trimmed(resampled(*read_wav(out.read_bytes())))
    out.unlink()
    return x


PICO_LOCK = threading.Lock()  # it keeps its state in one place


def pico(text, voice, pitch, rate):
    import ttspico  # here, for training imports this module too and makes do without

    with PICO_LOCK:
        engine = ttspico.TtsEngine(voice)
        engine.pitch, engine.rate = pitch, rate
        data = engine.speak(text)
    return trimmed(np.frombuffer(data, "<i2").astype(np.float32) / 32768)


def recorded_digits(path):
    """Each recording as (samples, label, "fsdd/speaker/take", held)."""
    with tarfile.open(path) as tar:
        for member in sorted(tar.getmembers(), key=lambda m: m.name):
            if member.name.endswith(".wav"):
                digit, speaker, take = pathlib.PurePath(member.name).stem.split("_")
                x = resampled(*read_wav(tar.extractfile(member).read()))
                yield x, int(digit), f"fsdd/{speaker}/{take}", int(take) in HELD_TAKES


def part_of(speaker):
    """The part of Speech Commands that a speaker belongs to: 80 % training, 10 % validation, 10 % test."""
    byte = hashlib.sha256(speaker.encode()).digest()[0]
    return "validation" if byte < 26 else "test" if byte < 52 else "training"


def sound_files(path, ending):
    """(folder, name, samples, rate) of each file with this ending in a tar, in the order of their names."""
    import soundfile  # here, for training imports this module too and makes do without

    with tarfile.open(path) as tar:
        for member in sorted(tar.getmembers(), key=lambda m: m.name):
            if member.name.endswith(ending):
                file = pathlib.PurePath(member.name)
                x, rate = soundfile.read(io.BytesIO(tar.extractfile(member).read()), dtype="float32")
                yield file.parent.name, file.stem, x, rate


def flac_files(path):
    """(folder, name, samples at 16 kHz) of each FLAC file in a tar."""
    return ((folder, name, resampled(x, rate)) for folder, name, x, rate in sound_files(path, ".flac"))


def speech_commands(path):
    """Each clip as (samples, label, "gsc/speaker/word-number", held); a word that is not a digit is `unknown`."""
    for word, name, x in flac_files(path):
        speaker, _, number = name.split("_")
        label = LABELS.index(word) if word in LABELS else UNKNOWN
        yield x, label, f"gsc/{speaker}/{word}-{number}", part_of(speaker) != "training"


def one_speaker(path):
    """Each recording of one to five by one man; every tenth is held out."""
    for i, (word, _, x) in enumerate(flac_files(path)):
        yield trimmed(x, margin=0.1, share=0.05), LABELS.index(word), f"feiyu/feiyu/{i}", i % 10 == 9


def voice_of(rng):
    """Any voice of espeak-ng, flite and pico: (engine settings, group, held, size)."""
    kind = rng.choice(4, p=(0.36, 0.24, 0.22, 0.18))
    if kind < 2:
        variant = str(rng.choice(WOMEN if kind == 0 else MEN))
        pitch = int(rng.integers(45, 90) if kind == 0 else rng.integers(15, 70))
        name = f"{rng.choice(DIALECTS)}+{variant}"
        settings, group = ("espeak", name, pitch, int(rng.integers(100, 210))), f"espeak/{name}"
    elif kind == 2:
        variant = FLITE[int(rng.integers(len(FLITE)))]
        pitch = int(rng.integers(160, 260) if variant == "slt" else rng.integers(80, 180))
        settings, group = ("flite", variant, pitch, round(float(rng.uniform(0.75, 1.6)), 2)), f"flite/{variant}"
    else:
        variant = str(rng.choice(PICO))
        settings = ("pico", variant, int(rng.integers(70, 150)), int(rng.integers(65, 130)))
        group = f"pico/{variant}"
    size = round(float(rng.uniform(0.88, 1.15)), 3) if rng.random() < 0.6 else 1.0
    return settings, group, variant in HELD_VOICES, size


def speeches(rng, words, voices, spoken):
    """The synthetic part as a list of jobs: (text, label, group, held, engine settings, size)."""
    jobs = []
    for _ in range(voices):
        settings, group, held, size = voice_of(rng)
        for label, text in enumerate(LABELS[:10]):
            jobs.append((text + str(rng.choice(ENDINGS)), label, group, held, settings, size))
        for text in rng.choice(words, spoken, replace=False):
            jobs.append((str(text) + str(rng.choice(ENDINGS)), UNKNOWN, group, held, settings, size))
        talk = " ".join(rng.choice(words, 8, replace=False))
        jobs.append((talk, UNKNOWN, "talk/" + group.split("/")[1], held, settings, size))
    return jobs


def close_speeches(rng, voices, spoken):
    """As `speeches`, but each voice says only words that are easily taken for a digit."""
    jobs = []
    for _ in range(voices):
        settings, group, held, size = voice_of(rng)
        for text, _ in kokoro.close_words(rng, "us", LABELS[:10], COMMANDS, spoken):
            text += str(rng.choice(ENDINGS))
            jobs.append((text, UNKNOWN, "near/" + group.split("/")[1], held, settings, size))
    return jobs


def accents(rng, words, voices, settings):
    """What voices from abroad are to say, as many settings each: (voice, duration stretch, size, [(text, label)])."""
    plans = []
    for voice in list(voices) * settings:
        spelling = FESTIVAL.get(voice, voice)
        others = OTHER_WORDS[spelling].split() if spelling in OTHER_WORDS else words
        texts = [(rng.choice(spelt.split("|")), label) for label, spelt in enumerate(SPELT[spelling].split())]
        texts += [(text, UNKNOWN) for text in rng.choice(others, 10, replace=False)]
        texts = [(str(text) + str(rng.choice(ENDINGS)), label) for text, label in texts if text != "-"]
        texts.append((" ".join(rng.choice(others, 8, replace=False)), TALK))
        size = round(float(rng.uniform(0.88, 1.15)), 3) if rng.random() < 0.6 else 1.0
        plans.append((voice, round(float(rng.uniform(0.7, 1.3)), 2), size, texts))
    return plans


def abroad(voice, stretch, size, texts):
    """Run one plan with pico -> (samples, label, group, held) for each text."""
    for text, label in texts:
        group = ("talk/" if label == TALK else "abroad/") + voice
        yield of_size(pico(text, voice, 100, round(100 / stretch)), size), min(label, UNKNOWN), group, False


def festival(voice, stretch, size, texts):
    """Run one plan -> (samples, label, group, held) for each text.

    Festival takes long to start, so it says all at once. Where a word is too foreign for a voice, it says nothing.
    """
    with tempfile.TemporaryDirectory() as scratch:
        files = [pathlib.Path(scratch) / f"{i}.wav" for i in range(len(texts))]
        script = f"(voice_{voice})(Parameter.set 'Duration_Stretch {stretch})"
        for file, (text, _) in zip(files, texts, strict=True):
            script += f'(set! u (utt.synth (Utterance Text "{text}")))(utt.save.wave u "{file}" \'riff)'
        (pathlib.Path(scratch) / "say.scm").write_bytes(script.encode(ENCODINGS.get(FESTIVAL[voice], "iso-8859-1")))
        done = subprocess.run(["festival", "-b", f"{scratch}/say.scm"], capture_output=True)
        if not files[0].exists():
            raise SystemExit(f"festival, voice {voice}: {done.stderr.decode(errors='replace')}")
        if done.returncode:
            return
        waves = [trimmed(resampled(*read_wav(file.read_bytes()))) for file in files]
    for x, (_, label) in zip(waves, texts, strict=True):
        group = ("talk/" if label == TALK else "festival/") + voice
        yield of_size(x, size), min(label, UNKNOWN), group, voice in HELD_VOICES


def natural(speaker, mixture, speed, texts):
    """Run one plan with Kokoro -> (samples, label, group, held) for each text."""
    name = "+".join(voice for voice, _ in mixture)
    for phonemes, digit in texts:
        x = trimmed(resampled(speaker.say(phonemes, mixture, speed), kokoro.RATE))
        label = digit if isinstance(digit, int) else UNKNOWN
        yield x, label, f"{digit if isinstance(digit, str) else 'kokoro'}/{name}", name in HELD_VOICES


ENGINES = {"espeak": espeak, "flite": flite, "pico": pico}
ACCENTS = ("festival", "abroad")
SYNTHESISERS = (*ENGINES, *ACCENTS, "kokoro")  # as the groups of sounds begin


def speak(job, scratch):
    """Run one job -> (samples, label, group, held)."""
    number, (text, label, group, held, (engine, *settings), size) = job
    if engine == "flite":
        settings = (*settings, scratch / f"{number}.wav")
    x = ENGINES[engine](text, *settings)
    return of_size(x, size), label, group, held


def taken_apart(rng, digits, count, share=0.015):
    """Speech that is no digit, in real voices: digits backwards, cut in half, or glued to half of another.

    share: of the peak, below which a recording's ends are cut off first.
    """
    for _ in range(count):
        x, label, group, held = digits[rng.integers(len(digits))]
        # the other half by the same speaker, so that leaving a speaker or a take out leaves all of it out
        same = [d for d in digits if d[3] == held and d[2].split("/")[1] == group.split("/")[1]]
        y, other, _, _ = same[rng.integers(len(same))]
        x, y = trimmed(x, share=share), trimmed(y, share=share)
        how = rng.integers(3)
        if how == 0:
            x = x[::-1]
        elif how == 1:
            x = x[: int(len(x) * rng.uniform(0.3, 0.4))] if label not in (8,) else x[int(len(x) * 0.65) :]
        else:
            x = np.concatenate([x[: len(x) // 2], y[len(y) // 2 :]] if label != other else [x, y])
        yield np.ascontiguousarray(x), UNKNOWN, "apart/" + group.split("/", 1)[1], held


def sounds(rng, count):
    """Chirps, tones, chords, clicks, plucked strings, sirens, bursts: what is neither speech nor silence."""
    for i in range(count):
        n = int(RATE * rng.uniform(0.15, 1.1))
        t = np.arange(n) / RATE
        f = 80 * 2 ** rng.uniform(0, 5.3)
        decay = np.exp(-t * rng.uniform(0, 12))
        kind = i % 8
        if kind == 0:  # chirp
            x = signal.chirp(t, f, t[-1], 80 * 2 ** rng.uniform(0, 6), method="logarithmic") * decay
        elif kind == 1:  # chord with overtones
            notes = f * 2 ** (rng.choice([0, 3, 4, 5, 7, 9, 12], 3) / 12)
            x = sum(np.sin(2 * np.pi * k * g * t) / k for g in notes for k in (1, 2, 3, 4) if k * g < 7500) * decay
        elif kind == 2:  # clicks
            x = np.zeros(n)
            x[rng.integers(0, n, rng.integers(1, 25))] = rng.uniform(-1, 1)
            x = signal.lfilter([1], [1, -rng.uniform(0.5, 0.98)], x)
        elif kind == 3:  # plucked string: a noise burst going round a delay line that dulls it
            period = max(4, int(RATE / min(f, 2000)))
            excitation = np.zeros(n)
            excitation[: min(period, n)] = rng.uniform(-1, 1, min(period, n))
            x = signal.lfilter([1], np.r_[1, np.zeros(period - 1), -0.498, -0.498], excitation)
        elif kind == 4:  # siren
            sweep = f * (1 + 0.3 * np.sin(2 * np.pi * rng.uniform(1, 12) * t))
            x = signal.square(2 * np.pi * np.cumsum(np.minimum(sweep, 7000)) / RATE, rng.uniform(0.2, 0.8))
        elif kind == 5:  # bursts of filtered noise, such as knocks, rustle, breath
            x = rng.standard_normal(n) * (0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(1, 15) * t)) ** rng.integers(1, 9)
            low = rng.uniform(60, 3000)
            x = signal.sosfilt(signal.butter(2, [low, low * rng.uniform(1.2, 2.5)], "band", fs=RATE, output="sos"), x)
        elif kind == 6:  # telephone tones
            gate = np.floor(t * rng.uniform(2, 9)) % 2 == 0
            x = (np.sin(2 * np.pi * f * t) + np.sin(2 * np.pi * min(f * rng.uniform(1.1, 2), 7000) * t)) * gate
        else:  # a vowel-like buzz with gliding formants: no word
            pitch = rng.uniform(80, 320) * 2 ** (rng.uniform(-0.5, 0.5) * t)
            x = signal.sawtooth(2 * np.pi * np.cumsum(pitch) / RATE)
            for formant in rng.uniform((250, 700, 2000), (900, 2400, 3400)):
                b, a = signal.iirpeak(formant, rng.uniform(3, 10), fs=RATE)
                x = x + 3 * signal.lfilter(b, a, x)
            x *= np.hanning(n) ** 0.3
        x = x / (np.abs(x).max() + 1e-9)
        yield x.astype(np.float32), UNKNOWN, "sound/synthetic", i % 10 == 9


def together(engine, plans):
    """What an engine makes of plans, several at once: the work is done outside Python."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        return [item for items in pool.map(lambda plan: list(engine(*plan)), plans) for item in items]


def other_voices(rng, recordings, count):
    """Each recording that is not held out, in so many other voices."""
    plans = [(r, rng.uniform(0.85, 1.38), rng.uniform(0.85, 1.2)) for r in recordings if not r[3] for _ in range(count)]
    return together(lambda *plan: [shift(*plan)], plans)


def synthetic(jobs, scratch):
    return together(lambda number, job: [speak((number, job), scratch)], enumerate(jobs))


def kokoro_part(archive, plans, rng):
    """What the voices of Kokoro say of plans(rng, their names)."""
    speaker = kokoro.Speaker(archive)
    return together(functools.partial(natural, speaker), plans(rng, speaker.voices))


def of_digits(items):
    return [item for item in items if item[1] < UNKNOWN]


def load(folder, part):
    """The items of a part: [(samples, label, group, held)]."""
    with np.load(folder / "parts" / f"{part}.npz") as file:
        found = {name: file[name] for name in file.files}
    waves = np.split(found["samples"].astype(np.float32) / 32768, found["start"][1:-1])
    return list(zip(waves, found["label"].tolist(), found["group"].tolist(), found["held"].tolist(), strict=True))


def write(path, items):
    """One array of 16 bit samples end to end, and where each sound starts, its label, group and whether it is held."""
    rows = [np.clip(np.round(32767 * x / max(1, np.abs(x).max())), -32768, 32767).astype(np.int16) for x, *_ in items]
    written = path.with_suffix(".writing.npz")
    np.savez(
        written,
        samples=np.concatenate(rows),
        start=np.cumsum([0] + [len(r) for r in rows]),
        label=np.array([label for _, label, _, _ in items], np.int8),
        group=np.array([group for _, _, group, _ in items]),
        held=np.array([held for *_, held in items]),
    )
    written.replace(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, text in SOURCES.items():
        parser.add_argument("--" + option.replace("_", "-"), type=pathlib.Path, help=text)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("work"))
    parser.add_argument("--voices", type=int, default=560, help="synthetic voices")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    for option, text in SOURCES.items():
        if not (path := getattr(args, option)) or not path.is_file():
            parser.error(f"--{option.replace('_', '-')}: found no such file, expected {text}")
    words = np.array(sorted(set(pathlib.Path(__file__).with_name("words.txt").read_text().split())))
    parts = {
        "recorded": lambda rng: recorded_digits(args.fsdd),
        "shifted": lambda rng: other_voices(rng, load(args.out, "recorded"), 4),
        "spoken": lambda rng: synthetic(speeches(rng, words, args.voices, spoken=10), args.out),
        "festival": lambda rng: together(festival, accents(rng, words, FESTIVAL, args.voices // 28)),
        "abroad": lambda rng: together(abroad, accents(rng, words, ABROAD, args.voices // 28)),
        "apart": lambda rng: taken_apart(rng, load(args.out, "recorded") + load(args.out, "shifted")[::4], 2400),
        "sounds": lambda rng: sounds(rng, 1600),
        "commands": lambda rng: speech_commands(args.commands),
        "one": lambda rng: one_speaker(args.one_speaker),
        "one-shifted": lambda rng: other_voices(rng, load(args.out, "one"), 3),
        "commands-apart": lambda rng: taken_apart(rng, of_digits(load(args.out, "commands")), 800, share=0.15),
    }
    ten = LABELS[:10]

    def natural_digits(rng, names):
        return kokoro.plans(rng, names, 1, ten, words, HELD_VOICES)

    def natural_close(rng, names):
        return kokoro.close_plans(rng, names, ten, COMMANDS, HELD_VOICES, 14)

    parts |= {f"kokoro-{i}": functools.partial(kokoro_part, args.kokoro, natural_digits) for i in range(KOKORO)}
    parts["near"] = lambda rng: synthetic(close_speeches(rng, args.voices, 16), args.out)
    parts |= {f"kokoro-near-{i}": functools.partial(kokoro_part, args.kokoro, natural_close) for i in range(KOKORO)}
    (args.out / "parts").mkdir(parents=True, exist_ok=True)
    for number, (name, make) in enumerate(parts.items()):
        if not (args.out / "parts" / f"{name}.npz").exists():
            started = time.time()
            items = [item for item in make(np.random.default_rng((args.seed, number))) if len(item[0]) >= 400]
            items = [item for item in items if item[0].any()]  # now and then a voice says nothing
            write(args.out / "parts" / f"{name}.npz", items)
            print(f"{name}: {len(items)} sounds in {time.time() - started:.0f} s", flush=True)
    items = [item for name in parts for item in load(args.out, name)]
    write(args.out / "sounds.npz", items)
    print(f"{len(items)} sounds, {sum(len(i[0]) for i in items) / RATE / 60:.0f} minutes -> {args.out / 'sounds.npz'}")


if __name__ == "__main__":
    main()
