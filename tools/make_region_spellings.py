"""Makes the letters by which Chinese regions are looked for (jianguan/domain/data/region_spellings_cn.csv).

    pip install pypinyin
    python tools/make_region_spellings.py > jianguan/domain/data/region_spellings_cn.csv

`pypinyin` (MIT) spells the names in regions_cn.csv, without tones. They are for finding only and are never shown: an
odd reading of a character does no harm. Needed again when the list of regions has changed.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from pypinyin import lazy_pinyin

REGIONS = Path(__file__).parent.parent / "jianguan/domain/data/regions_cn.csv"


def main() -> None:
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(["code", "spelling"])
    with REGIONS.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            out.writerow([row["code"], "".join(lazy_pinyin(row["name_zh"])).lower()])


main()
