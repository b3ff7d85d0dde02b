"""Draw sentences that fit two emotions, or only one, from templates and words."""

import re

import numpy as np

from sample_corpus.emotions import ALIKE, Modality

WORDS = {
    "thing": ["phone", "bag", "car", "coat", "bike", "laptop", "ring", "letter", "key", "camera"],
    "event": ["party", "wedding", "meeting", "concert", "trip", "dinner", "game", "lesson"],
    "person": ["brother", "sister", "mother", "father", "friend", "cousin", "teacher", "uncle"],
    "prize": [
        "first prize",
        "golden ticket",
        "new job",
        "whole scholarship",
        "big award",
        "lead role",
    ],
    "place": ["house", "office", "kitchen", "garden", "room", "shop"],
    "day": ["Monday", "Tuesday", "Friday", "Sunday"],
    "time": ["nine", "noon", "four", "seven"],
}

SHARED: dict[frozenset[str], list[str]] = {
    frozenset({"angry", "sad"}): [
        "They cancelled the {event} without telling me.",
        "You never said goodbye to my {person}.",
        "Nobody listened to a word I said.",
        "My {person} broke the {thing} again.",
        "He forgot my {event} for the second time.",
        "You left me waiting at the {place}.",
        "They sold my {thing} while I was away.",
        "She did not keep her promise about the {event}.",
    ],
    frozenset({"happy", "surprise"}): [
        "I just won the {prize}.",
        "Look who came to the {event}.",
        "You remembered my {event} after all.",
        "They gave my {person} the {prize}.",
        "My {person} is back from the sea today.",
        "There is a new {thing} waiting for me.",
        "You brought the {thing} all the way here.",
        "Our team got the {prize} in the end.",
    ],
    frozenset({"neutral", "worried"}): [
        "The doctor will call on {day}.",
        "The {event} starts at {time} on {day}.",
        "We are waiting for the results from the {place}.",
        "My {person} has not arrived at the {place} yet.",
        "The train to the {event} is running late.",
        "The bank wrote to my {person} on {day}.",
        "I have an interview about the {event} at {time}.",
        "The {thing} is still at the repair shop.",
    ],
}

PLAIN = {
    "angry": [
        "Stop shouting at my {person} right now.",
        "This mess in the {place} is all your fault.",
        "Get out of my {place} at once.",
        "How dare you touch my {thing}.",
        "I hate it when you lie about the {event}.",
    ],
    "sad": [
        "I miss my {person} so much.",
        "I feel so alone in this {place}.",
        "The {thing} was the last gift from my {person}.",
        "I cried all night after the {event}.",
        "Nothing will bring my {person} back.",
    ],
    "happy": [
        "I love this wonderful {thing}.",
        "What a lovely {event} that was.",
        "I am so glad to see my {person}.",
        "This is the best {day} of my life.",
        "We laughed all day at the {event}.",
    ],
    "surprise": [
        "Wow, I never saw that {thing} before.",
        "Is that really your {person}.",
        "I did not expect a {event} on {day}.",
        "How on earth did the {thing} get in here.",
        "No way, you own the {place}.",
    ],
    "neutral": [
        "The {thing} is on the table in the {place}.",
        "The shop opens at {time} on {day}.",
        "I put the {thing} next to the {thing}.",
        "The {place} has two windows and a door.",
        "Lunch is served at {time}.",
    ],
    "worried": [
        "What if my {person} gets lost on {day}.",
        "I am afraid the {thing} was stolen.",
        "I hope nothing bad happened at the {event}.",
        "I am scared we will not reach the {place}.",
        "Please be careful with the {thing}, it is dangerous.",
    ],
}


def make_sentence(emotion: str, plain: bool, rng: np.random.Generator) -> str:
    """Draw a sentence that fits only `emotion` (`plain`), or also the other of its pair."""
    if plain:
        forms = PLAIN[emotion]
    else:
        pair = next(pair for pair in ALIKE[Modality.TEXT] if emotion in pair)
        forms = SHARED[frozenset(pair)]
    return re.sub(r"{(\w+)}", lambda slot: _pick(WORDS[slot[1]], rng), _pick(forms, rng))


def _pick(choices: list[str], rng: np.random.Generator) -> str:
    return choices[int(rng.integers(len(choices)))]
