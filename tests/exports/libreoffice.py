"""Opens every CSV of a sweep in LibreOffice, as a person would, and looks at what it made of the cells.

    pip install -r requirements.txt
    python libreoffice.py runs/smoke

Each CSV is opened as UTF-8, comma-separated and English, and saved as a workbook, headless. Where the CSV has
a number, the workbook must have that number; where it has `true` or `false`, that truth value; where it has another
text, that text; and nowhere a formula.
"""

import csv
import math
import pathlib
import shutil
import subprocess
import sys
import tempfile

import openpyxl

# Field separator, text delimiter, character set (UTF-8), first line, columns, language (en-US).
FILTER = "CSV:44,34,76,1,,1033"


def number(text):
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def check(book, path):
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    cells = list(openpyxl.load_workbook(book).active.iter_rows())
    counts = {"numbers": 0, "truth values": 0, "texts": 0}
    for line, expected in enumerate(rows):
        for place, text in enumerate(expected):
            cell = cells[line][place] if line < len(cells) and place < len(cells[line]) else None
            value = cell.value if cell is not None else None
            where = (path.name, line + 1, rows[0][place], text, value)
            if text == "":
                assert value is None, where
            elif number(text) is not None:
                assert cell.data_type == "n", where
                # A spreadsheet keeps 15 digits.
                assert math.isclose(value, number(text), rel_tol=1e-14), where
                counts["numbers"] += 1
            elif text in ("true", "false"):
                assert cell.data_type == "b" and value == (text == "true"), where
                counts["truth values"] += 1
            else:
                assert cell.data_type == "s" and value == text, where
                counts["texts"] += 1
    return len(rows) - 1, counts


def main():
    office = shutil.which("soffice") or shutil.which("libreoffice")
    assert office, "LibreOffice is not here"
    paths = sorted(pathlib.Path(sys.argv[1]).glob("*.csv"))
    assert paths, f"no CSV in {sys.argv[1]}"
    with tempfile.TemporaryDirectory() as place:
        command = [
            office, "--headless", "--norestore", f"-env:UserInstallation=file://{place}/profile",
            f"--infilter={FILTER}", "--convert-to", "xlsx", "--outdir", place, *map(str, paths),
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=300)
        for path in paths:
            rows, counts = check(pathlib.Path(place, f"{path.stem}.xlsx"), path)
            told = ", ".join(f"{count} {what}" for what, count in counts.items())
            print(f"{path.name}: {rows} rows, {told}: all as they stand")


main()
