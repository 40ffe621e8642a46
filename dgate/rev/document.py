"""The page docs/rev.md: what the previews are for, and their options out of their declarations."""

from __future__ import annotations

import click

from dgate.rev.cli import COMMANDS

_PAGE = """\
# Previews for the ReV viewer

The tables of options on this page are generated from their declarations.

A *ReV library* is a tree of DICOM files by age at scan, `YY-yr/MM-mo/XX-ex/SERIES`: years, months beyond them, and a
running number for each study of that age. `dgate rev` turns it into pictures, JSON and static pages that any web server
hands out to the ReV viewer; nothing runs at viewing time. It does what pfdicom_rev does, with the same options, names
and JSON, without any program besides itself, on every transfer syntax, and in a fraction of the time.

```sh
dgate rev -I /srv/rev/library-anon -O %inputDir                # write into the library itself
dgate rev -I sorted/ -O /srv/rev/library-anon                  # into another tree, with links to the DICOM files
dgate rev -I sorted/ -O /srv/rev/library-anon --tagSeed SECRET \\
    -T '{"PatientID": "%_md5|8_PatientID", "PatientName": "%_name|patientID_PatientName", "re:.*hysician": "anon"}'
dgate rev nearest /srv/rev/library-anon --year 2 --month 9     # which example is closest to that age
dgate --rev:/srv/rev/library-anon,PATIENTID                    # studies of the archive, as a job of the server
```

With `RevLibrary` in `dicom.ini` every study that the server stores goes into that library, `RevDelay` seconds after its
last object. Objects are copied, so that nothing done to a library touches the archive; a study that has neither birth
date nor date has no place there, and its job says so.

## What is written

| where | file | content | stage |
|---|---|---|---|
| library | `map.json`, `rev-index.json` | the examples: for the viewer, and with more about each for programs | 4 |
| library | `rev.css`, `rev.js` | style and script of the pages, which load nothing from elsewhere | 2, 3 |
| month | `ex.json`, `index.html` | middle images of the examples; the page with their strips | 1, 3 |
| example | `SERIES-series.json` | descriptor of a series | 1 |
| example | `description.json`, `index.html` | descriptor of the study; the page that leads to the viewer | 2 |
| series | `preview.jpg`, `raw-preview.jpg` | strips of 96x96 and of large images | 1 |
| series | `dcm2jpgRaw/`, `dcm2jpgResize/`, `dcm2jpgDCMresize/` | each image in its own size, 96x96 and large | 1 |
| series | `tag-raw.txt` | the elements of its first file | 1 |
| series | `.rev-state.json` | sizes and times of its files, so that only what has changed is made again | 1 |

Slices are ordered by position, else by instance number, else by name. They are shown as their object says: first
window, VOI LUT, or for all frames of a series that say nothing one window between percentiles 0.5 and 99.5. A strip
that would be higher than a JPEG can be shows as many images as fit, spread evenly. Frames are decoded in processes of
their own: one that crashes its codec is told of and costs nothing but itself. A series without image gets a dark tile.

The month page is leafed through with the mouse, with a finger, or with the keyboard (Tab, arrows, Enter, T); pages work
from a disk and under `Content-Security-Policy: default-src 'self'`.

## Anonymising

`-T` takes a JSON object: a DICOM keyword, or `re:` and an expression that keywords match from their start, and a
template. A template is text with references, read from left to right; `%%` is a percent sign.

| reference | stands for |
|---|---|
| `%PatientID` | the value |
| `%_md5\\|8_PatientID` | the first 8 hexadecimal digits of its MD5; without `\\|8` all 32 |
| `%_strmsk\\|******01_PatientBirthDate` | the value with the characters of the mask that are no `*` |
| `%_nospc\\|-_StudyDescription` | its words of letters, digits and `_`, joined by `-` or by nothing |
| `%_name\\|patientID_PatientName` | an invented name, the same for every object with that PatientID and `--tagSeed` |
| `#tag` | under `re:`, the keyword that matched |

Replacing happens at every level of sequences; a value inside an item refers to values of that item first. What is
absent counts as empty (`--strictTags`: is an error). Text is cut to what its VR takes; a date that is none is an error,
and that file is left out. UIDs and private elements stay (`--removePrivateTags` takes the latter out), pixels always.
PatientIdentityRemoved and DeidentificationMethod tell what was done, so that no file is replaced twice. **MD5 of a
short ID can be found by trying; text burnt into pixels stays.** Source files are written over with `-O %inputDir` only.

## Options

"""

_END = """
## Where it differs from pfdicom_rev

| | pfdicom_rev 3.0.4 | dgate rev |
|---|---|---|
| exit status | 0 whatever failed; 1 for help | 0, 1 some series failed, 2 usage, 3 a stage is missing, 4 disk |
| `-O` of another tree | stage 1 alone writes there | all of it, with links to DICOM files; the input stays |
| `-e` | ignored | a suffix; without it files are taken by content |
| a second run | an error | only what has changed is made |
| windows | the first; without one a drawn figure | PS3.3 C.11.2; one automatic window for a series |
| number in picture names | frame, or number of the file | always the frame, with as many digits as the last |
| order, middle | by name, as the shell sorts; whatever comes first | by position; image n/2 of that order |
| `ex.json` | absolute paths, longer with each run | paths below the root, made anew |
| `map.json` | may hold anything | six digits a path; ages above 99 years are left out with a warning |
| pages | script from elsewhere, names unescaped | nothing from elsewhere, strict policy, keyboard and touch |
| `--outputLeafDir` | evaluated as code | `%s` and nothing else |
| tagStruct | top level, numbers fail, absent references stay | every level, any value, absent is empty, `re:` keys |
| `--json` | four documents, always true | one document that is true when all is well |
| fewer than three series | the viewer never finishes loading | the last one repeated (`--minSeries`) |
"""


def page() -> str:
    """The page as it is written."""
    parts = []
    for command in COMMANDS:
        rows = ["| option | meaning |", "|---|---|"]
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                names = ", ".join(f"`{name}{_value(parameter)}`" for name in parameter.opts)
                rows.append(f"| {names} | {_cell(parameter.help or '')} |")
        parts.append("\n".join([f"### `{command.name}`", "", *rows, ""]))
    return _PAGE + "\n".join(parts) + _END


def _value(option: click.Option) -> str:
    """What is written behind the name."""
    if option.is_flag or option.name in ("version", "help"):
        return ""
    if isinstance(option.type, click.Choice):
        return f" {'|'.join(option.type.choices)}".replace("|", "\\|")
    return f" {option.metavar}" if option.metavar else f" {(option.name or '').upper()}"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
