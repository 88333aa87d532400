"""Reads a workbook of `gridlane leaderboard` back with openpyxl, beside the CSVs of the same sweep.

    pip install -r requirements.txt
    python workbook.py GRIDLANE runs/smoke
"""

import csv
import math
import pathlib
import subprocess
import sys
import tempfile

import openpyxl


def same(cell, text, column):
    """Is the cell of the workbook what the CSV has there?"""
    if text == "":
        return cell.value is None
    if cell.data_type == "n":
        return math.isclose(cell.value, float(text), rel_tol=1e-15)
    # Texts, with the apostrophe that only a CSV needs.
    return cell.data_type == "s" and text in (cell.value, "'" + cell.value)


def check(sheet, path):
    with open(path, newline="", encoding="utf-8") as file:
        header, *rows = list(csv.reader(file))
    cells = list(sheet.iter_rows())
    assert [cell.value for cell in cells[0]] == header, (sheet.title, header)
    assert all(cell.font.bold for cell in cells[0]), sheet.title
    assert sheet.freeze_panes == "A2", (sheet.title, sheet.freeze_panes)
    assert sheet.auto_filter.ref, sheet.title
    assert len(cells) == len(rows) + 1, (sheet.title, len(cells), len(rows))
    numbers = 0
    for line, (found, expected) in enumerate(zip(cells[1:], rows), start=2):
        for cell, text, column in zip(found, expected, header):
            assert cell.data_type != "f", f"{sheet.title}!{cell.coordinate} is a formula"
            assert same(cell, text, column), (sheet.title, cell.coordinate, column, cell.value, text)
            numbers += cell.data_type == "n" and cell.value is not None
    return len(rows), numbers


def main():
    gridlane, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as place:
        path = pathlib.Path(place, "sweep.xlsx")
        subprocess.run([gridlane, "leaderboard", str(folder), "-o", str(path)], check=True)
        book = openpyxl.load_workbook(path)
        for sheet in book:
            rows, numbers = check(sheet, folder / f"{sheet.title}.csv")
            print(f"{sheet.title}: {rows} rows, {numbers} numbers, as in the CSV")
        assert {"leaderboard", "runs"} <= set(book.sheetnames), book.sheetnames


main()
