"""report.html in a real browser: what a reader does with it, and what must not happen.

    python tests/browser/report_test.py [--screenshots FOLDER] [--axe axe.min.js] [--only NAME] [REPORT.html…]

Without reports, those of documents.py are made and tested; with reports, both. Needs Chromium with its driver, and what
requirements.txt lists. Says every failure, and exits with 1 if there is one.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import traceback
from pathlib import Path

from selenium import webdriver
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

import documents

FIRST_CHART_MS = 2000
PHONE = 360
IN_PAGE = (Path(__file__).parent / "in_page.js").read_text()


class Failure(Exception):
    pass


def check(condition, words):
    if not condition:
        raise Failure(words)


class Page:
    """A report in the browser, with its document."""

    def __init__(self, driver, path):
        self.driver, self.path, self.name = driver, path, path.stem if path.stem != "report" else path.parent.name
        self.open()
        self.document = json.loads(self.js("return document.getElementById('document').textContent"))

    def open(self, width=1280, height=1000, fragment="", mobile=False):
        self.media()
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)
        self.driver.get("about:blank")
        self.driver.get(f"{self.path.as_uri()}{fragment}")
        self.driver.execute_script(IN_PAGE)

    def media(self, media="", scheme="light"):
        self.cdp("Emulation.setEmulatedMedia", media=media, features=[{"name": "prefers-color-scheme", "value": scheme}])

    def cdp(self, command, **parameters):
        return self.driver.execute_cdp_cmd(command, parameters)

    def js(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector):
        found = self.all(selector)
        check(found, f"there is no {selector}")
        return found[0]

    def labelled(self, section, words):
        """The control in a section whose label starts with `words`, or None."""
        return self.js("return inPage.labelled(arguments[0], arguments[1])", section, words)

    def bring(self, selector):
        """Scrolls to the first chart of a section and waits until it is drawn."""
        self.js("document.querySelector(arguments[0]).scrollIntoView({ block: 'center', behavior: 'instant' })", selector)
        self.until(lambda: self.js("return document.querySelector(arguments[0] + '[data-drawn]') !== null", selector), f"{selector} is not drawn")

    def until(self, condition, words):
        try:
            WebDriverWait(self.driver, 10, poll_frequency=0.05).until(lambda _: condition())
        except TimeoutException as timeout:
            raise Failure(words) from timeout

    def click(self, element):
        self.js("arguments[0].scrollIntoView({ block: 'center', behavior: 'instant' })", element)
        element.click()

    def painted(self):
        """Waits until what was changed has been painted."""
        self.driver.execute_async_script("const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 50)))")

    def problems_in_console(self):
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


# What every report is checked for. A check that does not apply to a document returns at once.

def opens_without_a_problem(page):
    check(not page.all(".problem"), f"the page says: {[element.text for element in page.all('.problem')]}")
    problems = page.problems_in_console()
    check(not problems, f"the console says: {problems[:3]}")
    check(page.js("return window.hacked === undefined"), "text of the document was executed")
    check(page.js("return document.querySelectorAll('#main img, #main iframe, header img').length") == 0, "text of the document became an element")


def shows_the_sections_it_has_data_for(page):
    document = page.document
    curves = [curve for curve in document["curves"] if curve["series"]]
    there = {
        "verdicts": document["claims"], "leaderboard": document["leaderboard"]["rows"],
        "curves": [curve for curve in curves if curve["metric"] not in ("lr", "step_lr")], "rates": [curve for curve in curves if curve["metric"] in ("lr", "step_lr")],
        "layers": [layer for layer in document["layers"] if layer["maps"] and len(layer["layers"]) > 1 and layer["epochs"]],
        "network": [layer for layer in document["layers"] if layer["maps"] and len(layer["layers"]) == 1 and layer["epochs"]],
        "effects": [effect for effect in document["effects"]["main"] + document["effects"]["interactions"] if effect["effect"] is not None],
        "claims": [claim for claim in document["claims"] if claim["effect"] is not None],
        "throughput": (document["throughput"] or {}).get("rows"), "scaling": (document["scaling"] or {}).get("rows"),
        "failures": document["failures"], "runs": document["runs"]["rows"], "provenance": True,
    }
    expected = [name for name, data in there.items() if data]
    shown = page.js("return [...document.querySelectorAll('main > section')].map((section) => section.id)")
    check(shown == expected, f"sections are {shown}, expected {expected}")
    linked = page.js("return [...document.querySelectorAll('#contents a')].map((a) => a.getAttribute('href').slice(1))")
    check(linked == expected, f"the contents name {linked}")
    for claim, shown in zip(document["claims"], page.all(".verdicts li")):
        check(claim["verdict"] in shown.text and " ".join(claim["text"].split()) in " ".join(shown.text.split()), f"the verdict of {claim['text']!r} is not told: {shown.text!r}")


def sorts_by_click_and_by_keyboard(page):
    table = page.document["leaderboard"]
    metric = f"{page.document['metric']['name']}_mean"
    at = next((at for at, column in enumerate(table["columns"]) if column["key"] == metric), None)
    known = [row[at] for row in table["rows"] if at is not None and row[at] is not None]
    if len(set(known)) < 2:
        return
    button = f"#leaderboard th button[data-key='{metric}']"
    state = lambda: page.js("const th = document.querySelector(arguments[0]).closest('th'); return [th.getAttribute('aria-sort'), inPage.column('#leaderboard', th.cellIndex), inPage.rows('#leaderboard')]", button)
    before = state()
    page.click(page.one(button))
    ascending = state()
    page.one(button).send_keys(Keys.ENTER)
    descending = state()
    page.one(button).send_keys(Keys.SPACE)
    check([before[0], ascending[0], descending[0], state()[0]] == ["none", "ascending", "descending", "none"], "aria-sort does not follow")
    check(page.js("return document.activeElement.dataset.key") == metric, "the focus is lost by sorting")
    check(state()[2] == before[2], "the third turn does not bring the order of ranks back")
    page_size = len(ascending[1])
    unknown = len(table["rows"]) - len(known)
    for name, cells, expected in [("ascending", ascending[1], sorted(known)), ("descending", descending[1], sorted(known, reverse=True))]:
        order = page.js("return arguments[0].map((cell) => [inPage.parsed(cell), inPage.resolution(cell)])", cells)
        order = [[value, last_digit] for value, last_digit in order if value is not None]
        check(len(order) == min(page_size, len(known)), f"{name}: {len(order)} values of {len(known)} are shown, {unknown} are unknown")
        for (shown, last_digit), value in zip(order, expected):
            check(abs(shown - value) <= 0.51 * last_digit, f"{name}: {shown} stands where {value} belongs")


def filters_rows(page):
    table = page.document["runs"]
    if len(table["rows"]) < 6:
        return
    box = page.labelled("#runs", "Filter")
    status = lambda: page.one("#runs [role=status]").text
    before = status()
    for word in [str(table["rows"][-1][0]), "FINISHED", "no such run at all"]:
        page.js("arguments[0].value = ''", box)
        box.send_keys(Keys.END, word)
        expected = sum(word.lower() in "\0".join(documents_cell(cell) for cell in row if cell is not None).lower() for row in table["rows"])
        said = status()
        check(page.js("return inPage.parsed(arguments[0])", said.split(" of ")[0]) == expected, f"filtered by {word!r} it says {said!r}, expected {expected}")
        check(len(page.js("return inPage.rows('#runs')")) == min(expected, 50), "the rows shown are not those counted")
    box.send_keys(Keys.CONTROL, "a", Keys.NULL, Keys.BACKSPACE)
    check(status() == before, "the rows do not come back")


def documents_cell(cell):
    return str(cell).lower() if isinstance(cell, bool) else str(cell)


def turns_pages(page):
    rows = page.document["runs"]["rows"]
    if len(rows) <= 50:
        return
    first = page.js("return inPage.rows('#runs')")
    following = next(button for button in page.all("#runs .pages button") if button.text == "Next")
    page.click(following)
    second = page.js("return inPage.rows('#runs')")
    check(len(second) == min(50, len(rows) - 50) and second[0] != first[0], "the next page is not shown")
    check(page.js("return document.activeElement.textContent") == "Next" or len(rows) <= 100, "the focus is lost by turning the page")


def chooses_columns_and_copies(page):
    table = page.document["leaderboard"]
    if not table["rows"]:
        return
    page.click(page.one("#leaderboard .chooser summary"))
    page.until(lambda: page.all("#leaderboard .chooser input"), "no columns are offered")
    boxes = page.all("#leaderboard .chooser input")
    off = next(box for box in boxes if not box.is_selected())
    heads = lambda: page.js("return [...document.querySelectorAll('#leaderboard thead th')].map((th) => th.innerText)")
    before = len(heads())
    page.click(off)
    check(len(heads()) == before + 1, "a chosen column is not shown")
    page.click(page.one("#leaderboard .chooser summary"))
    page.js("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    page.click(next(button for button in page.all("#leaderboard .controls button") if button.text == "Copy as CSV"))
    page.until(lambda: "copied" in page.one("#leaderboard [role=status]").text, "nothing says that the table was copied")
    import csv, io
    rows = list(csv.reader(io.StringIO(page.js("return window.copied"))))
    check(len(rows) == len(table["rows"]) + 1, f"{len(rows)} lines were copied")
    check(all(len(row) == len(rows[0]) for row in rows), "the copied rows differ in length")
    metric = f"{page.document['metric']['name']}_mean"
    if metric in rows[0]:
        at = [column["key"] for column in table["columns"]].index(metric)
        copied = [row[rows[0].index(metric)] for row in rows[1:]]
        check(all((cell == "") if row[at] is None else float(cell) == row[at] for cell, row in zip(copied, table["rows"])), "the copied numbers are not the document's")
    check(not any(cell[:1] in ("=", "@") for row in rows for cell in row), "a copied cell is a formula")


def draws_the_target_where_it_belongs(page):
    metric = page.document["metric"]
    target, of = metric["target"], metric["target_of"]
    if page.all("#leaderboard table"):
        lines = len(page.all("#leaderboard td svg.interval .null"))
        told = "The dotted line is the target" in page.one("#leaderboard .lead").text
        means = len(page.all("#leaderboard td svg.interval .mean"))
        belongs = target is not None and of == metric["name"] and means > 0
        check(told == belongs, f"the leaderboard by {metric['name']} {'has' if told else 'lacks'} words of the target of {of}")
        check(belongs or lines == 0, f"the leaderboard by {metric['name']} has {lines} lines at the target of {of}")
        check(not belongs or lines == means, f"{lines} of {means} rows have a line at the target")
    show = page.labelled("#curves", "Show") if has_curves(page) else None
    if show is None:
        return
    page.bring("#curves .chart")
    for option in Select(show).options:
        name = option.get_attribute("value")
        Select(show).select_by_value(name)
        drawn = [text for text in chart(page)["texts"] if text.startswith("target ")]
        check(bool(drawn) == (target is not None and of == name), f"the curves of {name} have {drawn}, the target {target} is of {of}")
    Select(show).select_by_index(0)


def says_how_many_seeds_reached_the_target(page):
    table = page.document["leaderboard"]
    keys = [column["key"] for column in table["columns"]]
    first = next((row for row in table["rows"] if row[keys.index("rank")] == 1), None)
    if first is None or not page.document["metric"]["name"].endswith("_to_target"):
        return
    n, reached = (first[keys.index(key)] for key in ("n", "target_reached"))
    words = f"({reached} of {n} seeds reached it)" if reached < n else f"({n} seeds)"
    check(words in page.one(".best").text, f"the best is said to be {page.one('.best').text!r}, expected {words!r}")


def shows_what_ranks_beside_the_rank(page):
    if not page.document["leaderboard"]["rows"]:
        return
    for width in [1400, 390]:
        page.open(width, mobile=width < 600)
        hidden = page.js("return inPage.outOfSight('#leaderboard', ['rank', arguments[0]])", f"{page.document['metric']['name']}_mean")
        check(not hidden, f"at {width} px {hidden} of the leaderboard are out of sight")
    page.open()


def draws_claims_against_what_they_are_tested_against(page):
    for claim in page.document["claims"]:
        if claim["effect"] is not None and claim["is_ratio"] and claim["null"] is not None:
            words = f"tested against ×{claim['null']:.3g}"
            check(words in page.one("#claims").text, f"{claim['text']!r}: the value of the line is not told: {words}")
    for width in [1400, PHONE]:
        page.open(width, mobile=width == PHONE)
        page.painted()
        touching = page.js("return inPage.touchingTicks()")
        check(not touching, f"at {width} px labels of ticks touch: {touching[:5]}")
    page.open()


def has_curves(page):
    return any(curve["series"] for curve in page.document["curves"] if curve["metric"] not in ("lr", "step_lr"))


def chart(page, section="#curves"):
    return page.js("return inPage.chart(arguments[0])", section)


def switches_to_a_logarithmic_axis(page):
    if not has_curves(page):
        return
    page.bring("#curves .chart")
    show = page.labelled("#curves", "Show")
    if show is not None and any(option.get_attribute("value") == "val_loss" for option in Select(show).options):
        Select(show).select_by_value("val_loss")
    straight = lambda: page.js("return inPage.axisFit('#curves')")
    before = straight()
    page.click(page.labelled("#curves", "Logarithmic"))
    after = straight()
    check(before["linear"] < 2, f"the axis is not linear at first: {before}")
    check(after["ticks"] < 3 or after["logarithmic"] < 2, f"the axis is not logarithmic: {after}")
    page.click(page.labelled("#curves", "Logarithmic"))
    check(straight() == before, "the linear axis does not come back")


def chooses_a_metric_and_a_range(page):
    if not has_curves(page):
        return
    page.bring("#curves .chart")
    show = page.labelled("#curves", "Show")
    if show is not None:
        for option in Select(show).options:
            Select(show).select_by_value(option.get_attribute("value"))
            caption = page.one("#curves figcaption strong").text
            check(" ".join(option.text.lower().split()) in " ".join(caption.lower().split()), f"{option.text!r} was chosen, the caption says {caption!r}")
        Select(show).select_by_index(0)
    begin = page.labelled("#curves", "from")
    if begin is not None:
        before = chart(page)["texts"]
        begin.clear()
        middle = (float(begin.get_attribute("min")) + float(begin.get_attribute("max"))) // 2
        begin.send_keys(f"{middle:.0f}", Keys.ENTER)
        check(chart(page)["texts"] != before, "the range that is typed in is not drawn")
        begin.clear()
        begin.send_keys(Keys.ENTER)


def switches_configurations_on_and_off(page):
    if not has_curves(page):
        return
    page.bring("#curves .chart")
    keys = page.all("#curves .key")
    pressed = [key for key in keys if key.get_attribute("aria-pressed") == "true"]
    check(pressed, "no configuration is shown at first")
    check(len(pressed) == len(keys) or len(pressed) == 6, f"{len(pressed)} of {len(keys)} are shown at first")
    before = chart(page)["lines"]
    if before == 0:
        return
    page.js("arguments[0].scrollIntoView({ block: 'center', behavior: 'instant' }); arguments[0].focus()", pressed[0])
    pressed[0].send_keys(Keys.SPACE)
    check(pressed[0].get_attribute("aria-pressed") == "false" and chart(page)["lines"] == before - 1, f"{before} lines became {chart(page)['lines']} when one was switched off")
    page.click(pressed[0])
    check(chart(page)["lines"] == before, "the line does not come back")


def maps_the_layers(page):
    if not page.all("#layers"):
        return
    page.bring("#layers .chart")
    measure = [layer for layer in page.document["layers"] if len(layer["layers"]) > 1]
    shown = page.labelled("#layers", "Show")
    if shown is not None and "gradient_norm_min" in [layer["measurement"] for layer in measure]:
        check(Select(shown).first_selected_option.get_attribute("value") == "gradient_norm_min", "gradients that vanish within an epoch are not what is shown first")
    for entry in measure if shown is not None else []:
        Select(shown).select_by_value(entry["measurement"])
        values = [value for map_ in entry["maps"] for row in map_["values"] for value in row if value is not None]
        check((page.labelled("#layers", "Logarithmic") is not None) == (min(values) >= 0 and len({value for value in values if value > 0}) > 1), f"logarithmic colours are offered for {entry['measurement']} wrongly")
    details = page.one("#layers details.numbers")
    page.click(details.find_element(By.TAG_NAME, "summary"))
    page.until(lambda: page.all("#layers details.numbers tbody tr"), "the heat map has no table")


def describes_charts_in_words(page):
    labels = page.js("return [...document.querySelectorAll('.chart')].map((chart) => [chart.getAttribute('role'), chart.getAttribute('aria-label')])")
    check(all(role == "img" and label and len(label) > 20 for role, label in labels), f"a chart is not described: {labels}")


def draws_throughput_and_scaling(page):
    for section in ["#throughput", "#scaling"]:
        if not page.all(f"{section} .chart"):
            continue
        page.bring(f"{section} .chart")
        check(chart(page, section)["lines"] > 0 or chart(page, section)["bars"] > 0, f"nothing is drawn in {section}")
        for label in ["Show", "By", "Scaling", "Up to"]:
            select = page.labelled(section, label)
            for option in Select(select).options if select is not None else []:
                Select(select).select_by_visible_text(option.text)
                check("NaN" not in page.js("return document.querySelector(arguments[0] + ' svg').outerHTML", f"{section} .chart"), f"{section}, {label} {option.text}: NaN is drawn")
            if select is not None:
                Select(select).select_by_index(0)


def writes_no_number_that_is_none(page):
    for word in ["NaN", "undefined", "[object", "Infinity"]:
        if word in json.dumps(page.document) or word in page.path.name:
            continue
        check(word not in page.js("return document.body.innerText"), f"the page says {word}")


def is_dark_where_that_is_wanted(page):
    if has_curves(page):
        page.bring("#curves .chart")
    colours = lambda: page.js("return [getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color, inPage.firstTextColour()]")
    light = colours()
    page.media(scheme="dark")
    page.until(lambda: all(one != other or one is None for one, other in zip(light, colours())), f"the dark scheme leaves something of {light}")
    page.painted()
    dark = colours()
    page.media()
    page.until(lambda: colours() == light, "the light scheme does not come back")
    button = page.one("#theme button")
    for expected, word in [(light, "light"), (dark, "dark"), (light, "auto")]:
        page.click(button)
        page.until(lambda: colours() == expected, f"the button's {word} is not {expected}: {colours()}")
        check(button.text.endswith(word), "the button does not say what it did")


def fits_a_phone(page):
    page.open(PHONE, 740, mobile=True)
    page.js("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
    for selector in [".chart", "main > section:last-child"]:
        for element in page.all(selector):
            page.js("arguments[0].scrollIntoView({ behavior: 'instant' })", element)
    width = page.js("return document.documentElement.scrollWidth")
    wide = page.js("return inPage.widerThan(arguments[0])", PHONE)
    check(width <= PHONE, f"the page is {width} px wide on a phone: {wide}")
    page.open()


def prints(page):
    page.media(media="print", scheme="dark")
    page.until(lambda: page.js("return [...document.querySelectorAll('.chart')].every((chart) => chart.querySelector('svg') !== null || chart.closest('[hidden]') !== null)"), "not all charts are on paper")
    check(page.js("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)", "paper is not white")
    controls = page.js("return [...document.querySelectorAll('.controls, #theme, .skip, nav')].filter((element) => element.checkVisibility()).length")
    check(controls == 0, f"{controls} controls are printed")
    cut = page.js("return [...document.querySelectorAll('.chart svg')].filter((svg) => svg.checkVisibility() && svg.getBoundingClientRect().width > svg.closest('.chart').getBoundingClientRect().width + 1).length")
    check(cut == 0, f"{cut} charts are cut off on paper")
    # The browser leaves buttons out of headings that it repeats on the next sheet.
    headings = page.js("return [...document.querySelectorAll('table.data thead th')].map((th) => [th.innerText.trim(), th.textContent, [...th.querySelectorAll('button')].some((button) => button.checkVisibility())])")
    check(not any(button for _, _, button in headings), "headings are printed as buttons")
    check(all(text for text, whole, _ in headings if "drawn" not in whole), "a heading is not printed")
    touching = page.js("return inPage.touchingTicks()")
    check(not touching, f"on paper labels of ticks touch: {touching[:5]}")
    page.media()
    pdf = page.cdp("Page.printToPDF", printBackground=False, paperWidth=8.27, paperHeight=11.69)
    check(len(pdf["data"]) > 10_000, "printing gives nothing")


def is_reached_by_the_keyboard(page):
    if len(page.document["configurations"]) > 60:
        return
    page.js("document.activeElement.blur(); window.scrollTo(0, 0)")
    expected = page.js("return inPage.controls()")
    reached, hidden = set(), []
    body = page.one("body")
    for _ in range(len(expected) + 40):
        page.driver.switch_to.active_element.send_keys(Keys.TAB)
        name, visible = page.js("return inPage.focused()")
        if name is None:
            break
        reached.add(name)
        if not visible:
            hidden.append(name)
    check(body is not None and not set(expected) - reached, f"not reached with the tab key: {sorted(set(expected) - reached)[:5]}")
    check(not hidden, f"the focus cannot be seen on {hidden[:5]}")


def skips_to_the_results(page):
    page.js("window.scrollTo(0, 0); document.activeElement.blur()")
    page.one("body").send_keys(Keys.TAB)
    check(page.js("return document.activeElement.className") == "skip", "the first stop is not the skip link")
    page.driver.switch_to.active_element.send_keys(Keys.ENTER)
    check(page.js("return document.activeElement.id") == "main", "the skip link does not lead to the results")


def is_accessible(page):
    for scheme in ["light", "dark"]:
        page.media(scheme=scheme)
        page.painted()
        page.js("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
        for words in page.js("return inPage.faults()"):
            raise Failure(f"{scheme}: {words}")
    page.media()


def passes_axe(page):
    if page.axe is None:
        return
    page.js(page.axe)
    # The lists of a page this long are axe's own limit, not the page's.
    if len(page.document["runs"]["rows"]) > 1000:
        return
    result = page.driver.execute_async_script("const done = arguments[arguments.length - 1]; axe.run(document, { resultTypes: ['violations'] }).then((result) => done(result.violations.map((one) => `${one.id}: ${one.nodes[0].html.slice(0, 200)} (${one.nodes.length})`)), (error) => done([String(error)]))")
    check(not result, f"axe says: {result}")


def shows_a_chart_soon(page):
    section = next((name for name in ["curves", "throughput"] if page.all(f"#{name} .chart")), None)
    if section is None:
        return
    times = []
    for _ in range(3):
        page.open(fragment=f"#{section}")
        page.until(lambda: page.js("return document.documentElement.dataset.firstChart !== undefined"), "no chart is drawn")
        times.append(page.js("return [Number(document.documentElement.dataset.shown), Number(document.documentElement.dataset.firstChart)]"))
    shown, first = min(times, key=lambda pair: pair[1])
    size = page.path.stat().st_size / 1e6
    page.told.append(f"{len(page.document['runs']['rows'])} runs, {size:.1f} MB: all sections after {shown:.0f} ms, first chart after {first:.0f} ms")
    check(first < FIRST_CHART_MS, f"the first chart is drawn after {first:.0f} ms")
    page.open()


def is_readable_without_scripts(page):
    page.cdp("Emulation.setScriptExecutionDisabled", value=True)
    try:
        page.cdp("Emulation.setDeviceMetricsOverride", width=1280, height=1000, deviceScaleFactor=1, mobile=False)
        page.driver.get(page.path.as_uri())
        text = " ".join(page.one("body").text.split())
        rows = len(page.all("#leaderboard tbody tr"))
        expected = min(200, len(page.document["leaderboard"]["rows"]))
        check(rows == expected, f"without scripts the leaderboard has {rows} rows, expected {expected}")
        for claim in page.document["claims"]:
            check(" ".join(claim["sentence"].split()) in text, f"without scripts {claim['sentence']!r} is not there")
        check(" ".join(page.document["sweep"]["name"].split()) in text, "without scripts there is no title")
    finally:
        page.cdp("Emulation.setScriptExecutionDisabled", value=False)
        page.open()


CHECKS = [opens_without_a_problem, shows_the_sections_it_has_data_for, sorts_by_click_and_by_keyboard, filters_rows, turns_pages, chooses_columns_and_copies,
          draws_the_target_where_it_belongs, says_how_many_seeds_reached_the_target, shows_what_ranks_beside_the_rank, draws_claims_against_what_they_are_tested_against,
          switches_to_a_logarithmic_axis, chooses_a_metric_and_a_range, switches_configurations_on_and_off, maps_the_layers, describes_charts_in_words, draws_throughput_and_scaling,
          writes_no_number_that_is_none, is_dark_where_that_is_wanted, fits_a_phone, prints, is_reached_by_the_keyboard, skips_to_the_results, is_accessible, passes_axe,
          shows_a_chart_soon, is_readable_without_scripts, opens_without_a_problem]


def screenshots(page, folder):
    """The whole page, as a reader sees it: on a desk, in the dark, on a phone, on paper."""
    import base64
    for name, width, scheme, media in [("light", 1280, "light", ""), ("dark", 1280, "dark", ""), ("phone", PHONE, "light", ""), ("print", 760, "light", "print")]:
        page.open(width, 1000, mobile=width == PHONE)
        page.media(media=media, scheme=scheme)
        height = min(9000, page.js("return document.documentElement.scrollHeight"))
        page.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width == PHONE)
        page.until(lambda: page.js("return [...document.querySelectorAll('.chart')].every((chart) => chart.dataset.drawn || chart.getBoundingClientRect().top > innerHeight || chart.clientWidth === 0)"), "not all charts are drawn")
        picture = page.cdp("Page.captureScreenshot", format="png")
        (folder / f"{page.name}-{name}.png").write_bytes(base64.b64decode(picture["data"]))
    page.open()


def browser():
    options = webdriver.ChromeOptions()
    for argument in ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage", "--hide-scrollbars", "--force-prefers-reduced-motion"]:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.binary_location = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome") or ""
    return webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", nargs="*", type=Path)
    parser.add_argument("--screenshots", type=Path)
    parser.add_argument("--axe", type=Path)
    parser.add_argument("--only", help="of the generated documents")
    arguments = parser.parse_args()
    failures = checked = 0
    with tempfile.TemporaryDirectory() as made:
        paths = [path.resolve() for path in arguments.reports]
        for name in [arguments.only] if arguments.only else [] if arguments.only == "" else documents.DOCUMENTS:
            paths.append(Path(made) / f"{name}.html")
            paths[-1].write_text(documents.page(documents.DOCUMENTS[name]()), encoding="utf-8")
        for path in paths:
            # A browser of its own for each: what one page leaves behind is no other's trouble.
            driver = browser()
            try:
                page = Page(driver, path)
                page.told, page.axe = [], arguments.axe.read_text() if arguments.axe else None
                for one in CHECKS:
                    checked += 1
                    try:
                        one(page)
                    except Exception as error:
                        failures += 1
                        what = str(error) if isinstance(error, Failure) else "".join(traceback.format_exception(error)[-3:])
                        print(f"{page.name}: {one.__name__.replace('_', ' ')}: {what}", file=sys.stderr)
                        page.open()
                print(f"{page.name}: {'; '.join(page.told) or 'looked at'}", flush=True)
                if arguments.screenshots:
                    arguments.screenshots.mkdir(parents=True, exist_ok=True)
                    screenshots(page, arguments.screenshots)
            finally:
                driver.quit()
    print(f"{checked} checks of {len(paths)} reports, {failures} failed")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
