"""ECMF: from a folder of video clips to an emotion-recognition model with scores and intervals.

A stage's verb is a package, what can be chosen in that stage the plural noun beside it, and a few
packages below serve all. A choice may use its package; a package loads a choice by its name and
never imports it. `errors`, `config`, `media`, `metrics`, `probabilities`, `registry` and `params`
are the words that every package uses.
"""
