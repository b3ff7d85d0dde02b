"""The embedded sample corpus: drawn actors speak sentences with an emotion, as mp4 files.

Everything is generated from one seed. No single modality distinguishes all emotions, but all three
together do: a good score shows that the pipeline works, and is no evidence about real faces.

    seeding     one random generator per purpose
    emotions    the six emotions, and the pairs each modality confuses
    plan        the list of clips: actor, split, emotion, sentence, label, annotators, missing part
    sentences   texts by emotion
    prosody     voice parameters by emotion         expression   facial expression by emotion
    actors      looks and voice of an actor
    espeak, babble, speech                          synthesis of the voice
    drawing, patch, haircuts, head, eyes, mouth     drawing of the face
    animation, scene                                movement and camera
    video_file  encoding as mp4
    tables      clips.csv and the ground truth
    rendering   the files of one actor's clips
"""
