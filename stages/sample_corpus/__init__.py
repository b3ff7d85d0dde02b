"""The embedded sample corpus: drawn actors who speak a sentence with an emotion, as mp4 files.

Everything is made from one seed, on the spot. That no modality tells the emotions apart by itself
while all three together do is put in by us: a model that scores well here shows that the pipeline
works, and is no evidence about real faces.

    settings   what can be chosen
    chance     one random generator per purpose
    emotions   the six emotions, and which of them each modality mixes up
    plan       which clip: actor, split, emotion, sentence, given label, annotators, what is missing
    sentences  what is said
    prosody    how each emotion sounds             expression   how each emotion looks
    casting    what an actor looks and sounds like
    espeak, babble, speech                         the voice
    drawing, patch, haircuts, head, eyes, mouth    the face
    performance, scene                             what moves, and the camera
    movie      pictures and sound -> mp4
    tables     clips.csv and the truth
    shooting   one actor's clips, from plan to files
"""
