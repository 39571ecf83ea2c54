"""Makes jianguan/domain/data/working_days_cn.csv. Run by hand when a year's notice is out; not part of the app.

In a throw-away environment:
    pip install chinesecalendar
    python tools/make_working_days.py > jianguan/domain/data/working_days_cn.csv

`chinesecalendar` (MIT) follows the yearly notices of the General Office of the State Council.
"""

from __future__ import annotations

import csv
import sys
from datetime import date

from chinese_calendar.constants import holidays, workdays

# Numbers of the notices, where they are known; the title is the same every year.
NUMBERS = {
    2020: "国办发明电〔2019〕16号",
    2021: "国办发明电〔2020〕27号",
    2022: "国办发明电〔2021〕11号",
    2023: "国办发明电〔2022〕16号",
    2024: "国办发明电〔2023〕7号",
    2025: "国办发明电〔2024〕12号",
    2026: "国办发明电〔2025〕7号",
}


def main() -> None:
    rows = [(day, "holiday") for day in holidays] + [(day, "make-up") for day in workdays]
    rows += [(date(year, 1, 1), "complete") for year in {day.year for day in holidays}]
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(["date", "kind", "year", "source"])
    for day, kind in sorted(rows):
        title = f"国务院办公厅关于{day.year}年部分节假日安排的通知"
        out.writerow([day.isoformat(), kind, day.year, f"{title} {NUMBERS.get(day.year, '')}".strip()])


main()
