"""Runs a notebook as its reader would, from the first cell to the last, and prints what each cell answered, as texts.

Usage: notebook.py NOTEBOOK DATABASE_URL [--write]: with --write the notebook keeps the answers.
"""

import json
import os
import sys

import nbformat
from nbclient import NotebookClient


def main(path: str, url: str, write: str = "") -> None:
    os.environ["LABLET_ANALYST_DATABASE_URL"] = url
    book = nbformat.read(path, as_version=4)
    # An error in a cell ends it here.
    NotebookClient(book, timeout=120, kernel_name="python3").execute()
    if write:
        for cell in book.cells:
            cell.metadata.pop("execution", None)
        nbformat.write(book, path)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    print(json.dumps([[output["data"]["text/plain"] for output in cell.outputs] for cell in code]))


main(*sys.argv[1:])
