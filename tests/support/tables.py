"""Read a csv file as a list of rows."""

import csv
import io


def read_table(path):
    return list(csv.DictReader(io.StringIO(path.read_text())))
